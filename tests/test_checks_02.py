"""Every check of notebook 02: right and wrong answers."""

import torch
import torch.nn.functional as F
from check_suite import check_suite
from torch import nn

from lama_ref import ffc
from lama_ref.course.fields import gradient_map, share_within
from lama_ref.generator import MultiDilatedConv, inpaint_batch


# --- right answers ----------------------------------------------------------------------------
def formula(c_in, c_out, k, ratio_in, ratio_out, *, cut=int, fourier=4, norms=6, bias=0):
    g_in, g_out = cut(c_in * ratio_in), cut(c_out * ratio_out)
    l_in, l_out = c_in - g_in, c_out - g_out
    total = (l_in * l_out + l_in * g_out + g_in * l_out) * k**2 + bias * c_out
    h = g_out // 2 if g_in else 0
    return total + g_in * h + fourier * h * h + norms * h + h * g_out


def fill(generator, image, mask, multiple, *, mode="replicate", order=1, keep=True, where=0):
    h, w = image.shape[-2:]
    pads = (0, -w % multiple, 0, -h % multiple)
    pads = pads if not where else (pads[1], 0, pads[3], 0)
    x, m = F.pad(image, pads, mode=mode), F.pad(mask, pads, mode=mode)
    y = generator(torch.cat([x * (1 - m), m][::order], 1))
    y = y[..., -h:, -w:] if where == "cropped alike" else y[..., :h, :w]
    return torch.where(mask > 0.5, y, image) if keep else y


def multi_dilated(x, weights, biases, dilations, *, mode="reflect", share=None, mean=False):
    n = len(dilations)
    parts = [x[:, i::n] for i in range(n)] if share == "strided" else x.chunk(n, 1)
    results = [
        F.conv2d(F.pad(part, (d,) * 4, mode=mode), weight, bias, dilation=d)
        for part, weight, bias, d in zip(parts, weights, biases, dilations)
    ]
    return sum(results) / (n if mean else 1)


def effective_radius(model, x, share=0.9, *, magnitude=True, channels_first=False, border=0):
    x = x.detach().clone().requires_grad_()
    y = model(x)
    h, w = x.shape[-2:]
    (g,) = torch.autograd.grad(y[..., h // 2, w // 2].sum(), x)
    g = g.sum(1, keepdim=True) if channels_first else g
    m = (g.abs() if magnitude else g).sum(1).mean(0).double()
    rows, columns = (torch.arange(n) - n // 2 + border for n in (h, w))
    distance = torch.maximum(rows.abs()[:, None], columns.abs())
    for r in range(max(h, w) + 1):
        if m[distance <= r].sum() >= share * m.sum():
            return r
    raise ArithmeticError("the shares do not add up")


class Strips(nn.Module):
    """Means of rows and columns: a right branch, from which the wrong ones derive."""

    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__()
        self.down = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        self.pixel, self.row, self.column = (nn.Conv2d(c_in, c_out, 1) for _ in range(3))

    def forward(self, x):
        x = self.down(x)
        rows, columns = x.mean(-1, keepdim=True), x.mean(-2, keepdim=True)
        return self.pixel(x) + self.row(rows) + self.column(columns)


RIGHT = {
    "ffc_parameters": formula,
    "fill_hole": fill,
    "multi_dilated": multi_dilated,
    "effective_radius": effective_radius,
    "branch_in_generator": Strips,
}


class Whole(Strips):
    """One mean over the whole picture is enough to see it."""

    def forward(self, x):
        x = self.down(x)
        return self.pixel(x) + self.row(x.mean((-2, -1), keepdim=True))


ALSO_RIGHT = [
    ("fill_hole", lambda *a: fill(*a, mode="constant")),
    ("fill_hole", lambda g, x, m, k: fill(g, x, m, k, keep=False) * m + x * (1 - m)),
    ("branch_in_generator", Whole, "yours", "LaMa's", "100.0%"),
]


# --- wrong answers ----------------------------------------------------------------------------
def built_and_counted(*a):
    with torch.device("meta"):
        return sum(p.numel() for p in ffc.FFC(*a).parameters())


def modules_own_dilated(x, weights, biases, dilations):
    layer = MultiDilatedConv(x.shape[1], len(weights[0]), dilations)
    for conv, weight, bias in zip(layer.convs, weights, biases):
        conv.weight.data, conv.bias.data = weight, bias
    return layer(x)


def modules_own_radius(model, x, share):
    return int((share_within(gradient_map(model, x)) < share).sum())


class NoStride(Strips):
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__(c_in, c_out, stride=1, groups=groups)


class SameChannels(Strips):
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__(c_in, c_in, stride=stride, groups=groups)


class OneSize(Strips):
    def forward(self, x):
        return super().forward(x) + torch.ones(8, 8)


class Complex(Strips):
    def forward(self, x):
        return torch.fft.ifft2(torch.fft.fft2(super().forward(x)))


class Deaf(Strips):
    def forward(self, x):
        return super().forward(torch.zeros_like(x) * x.detach())


class EvenWidth(Strips):
    def forward(self, x):
        return torch.fft.irfft2(torch.fft.rfft2(super().forward(x)))  # no s=: odd sides shrink


def local(kernel, dilation=1):
    """A convolution, which is no global branch."""
    pad = kernel // 2 * dilation
    return lambda c_in, c_out, *, stride, groups: nn.Conv2d(
        c_in, c_out, kernel, stride, pad, dilation, groups, padding_mode="replicate"
    )


def spoil(generator, image, mask, multiple):
    image[mask.expand_as(image) > 0.5] = 0
    return fill(generator, image, mask, multiple)


def unpadded(generator, image, mask, multiple):
    return torch.where(mask > 0.5, generator(torch.cat([image * (1 - mask), mask], 1)), image)


def seen_whole(generator, image, mask, multiple):
    return fill(lambda x: generator(torch.cat([image_of(x, image), x[:, 3:]], 1)), image, mask, 8)


def image_of(x, image):
    pads = (0, x.shape[-1] - image.shape[-1], 0, x.shape[-2] - image.shape[-2])
    return F.pad(image, pads)


def without_padding(x, weights, biases, dilations):
    return multi_dilated(x, weights, biases, [1] * len(dilations))


def concatenated(x, weights, biases, dilations):
    n = len(dilations)
    args = zip(x.chunk(n, 1), weights, biases, dilations)
    return torch.cat([multi_dilated(a, [w], [b], [d]) for a, w, b, d in args], 1)


WRONG = [
    ("ffc_parameters", lambda *a: formula(*a, cut=round), "parameters, not"),
    ("ffc_parameters", lambda *a: formula(*a, fourier=1), r"FFC\(512, 512"),
    ("ffc_parameters", lambda *a: formula(*a, norms=0), "FFC"),
    ("ffc_parameters", lambda *a: formula(*a, bias=1), r"FFC\(64, 128"),
    ("ffc_parameters", lambda a, b, k, *_: a * b * k * k, "FFC"),
    ("ffc_parameters", lambda *a: None, "returned None"),
    ("ffc_parameters", built_and_counted, "lama_ref's own FFC; write that part yourself"),
    ("fill_hole", lambda g, x, m, k: inpaint_batch(g, x, m)[1], "no multiples of 8"),
    ("fill_hole", lambda g, x, m, k: fill(g, x, 1 - m, k), "the mask"),
    ("fill_hole", lambda *a: fill(*a, order=-1), "channel 3"),
    ("fill_hole", lambda *a: fill(*a, keep=False), "known pixels are not bit-identical"),
    ("fill_hole", lambda *a: fill(*a, where="cropped alike"), "13 x 22"),
    ("fill_hole", unpadded, "no multiples of 8"),
    ("fill_hole", seen_whole, "black in the hole"),
    ("fill_hole", spoil, "changed its inputs"),
    ("fill_hole", lambda g, x, m, k: x, "did not call the generator"),
    ("multi_dilated", lambda *a: multi_dilated(*a, mode="constant"), "ones of shape"),
    ("multi_dilated", lambda *a: multi_dilated(*a, share="strided"), "random numbers"),
    ("multi_dilated", lambda *a: multi_dilated(*a, mean=True), "zeros of shape"),
    ("multi_dilated", without_padding, "dilations"),
    ("multi_dilated", concatenated, r"shape \(1, 12, 12, 12\), expected \(1, 3, 12, 12\)"),
    ("multi_dilated", modules_own_dilated, "lama_ref's own MultiDilatedConv.forward"),
    ("effective_radius", modules_own_radius, "lama_ref's own gradient_map and share_within"),
    ("effective_radius", lambda *a: effective_radius(*a, magnitude=False), "radius|raised"),
    ("effective_radius", lambda *a: effective_radius(*a, channels_first=True), "opposite sign"),
    ("effective_radius", lambda *a: effective_radius(*a, border=1), "identity"),
    ("effective_radius", lambda *a: effective_radius(*a) * 2, "jump of 4 columns"),
    ("effective_radius", lambda m, x, s: effective_radius(m, x), "share 0.5"),
    ("effective_radius", lambda m, x, s: effective_radius(m, x[:1], s), "pictures"),
    ("branch_in_generator", ffc.SpectralTransform, "LaMa's own spectral transform"),
    ("branch_in_generator", local(1), "sees [0-9]% of a picture .* local branch"),
    ("branch_in_generator", local(3), "sees [0-9]+% of a picture .* local branch"),
    ("branch_in_generator", local(3, 4), "local branch"),
    ("branch_in_generator", NoStride, "stride 2"),
    ("branch_in_generator", SameChannels, "expected"),
    ("branch_in_generator", OneSize, "raised RuntimeError"),
    ("branch_in_generator", Complex, "complex64, expected torch.float32"),
    ("branch_in_generator", Deaf, "no gradient"),
    ("branch_in_generator", EvenWidth, r"shape \(1, 10, 7, 8\), expected \(1, 10, 7, 9\)"),
    ("branch_in_generator", lambda *_, **__: lambda x: x, "Module"),
]

TestChecks = check_suite("2", RIGHT, ALSO_RIGHT, WRONG)
