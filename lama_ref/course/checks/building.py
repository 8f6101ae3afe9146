"""Checks of notebook 02, the generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import ffc
from ...generator import FFCResidualBlock, GeneratorConfig, MultiDilatedConv, build_generator
from ..fields import gradient_map, share_within
from .core import by_hand, compare, exercise, expect, returned, uniform

__all__ = [
    "ffc_parameters",
    "fill_hole",
    "multi_dilated",
    "effective_radius",
    "branch_in_generator",
]


# --------------------------------------------------------------------------- 2.1
@exercise("2.1")
def ffc_parameters(answer: Callable[[int, int, int, float, float], int]) -> None:
    """``answer(c_in, c_out, kernel, ratio_in, ratio_out)``: parameters of ``ffc.FFC``."""
    answer = by_hand(answer, ffc.FFC.__init__)
    cases = (
        (64, 128, 3, 0, 0),  # an ordinary convolution
        (256, 512, 3, 0, 0.75),  # the last downsampling: no global input
        (512, 512, 3, 0.75, 0.75),
        (8, 12, 3, 0.5, 0),
        (8, 8, 1, 1, 1),  # nothing but the spectral transform
        (10, 14, 5, 0.75, 0.75),  # int(7.5) = 7 and int(10.5) = 10
        (13, 22, 3, 0.5, 0.25),  # g_out = 5 is odd: g_out // 2 = 2
    )
    for c_in, c_out, kernel, *ratios in cases:
        with torch.device("meta"):
            layer = ffc.FFC(c_in, c_out, kernel, *ratios)
        expected = sum(p.numel() for p in layer.parameters())
        what = f"FFC({c_in}, {c_out}, kernel={kernel}, ratios {ratios[0]} and {ratios[1]})"
        got = answer(c_in, c_out, kernel, *ratios)
        returned(got, what)
        expect(got == expected, f"{what} has {expected:,} parameters, not {got:,}")


# --------------------------------------------------------------------------- 2.2
class _Pixelwise(nn.Module):
    """A generator whose every output pixel depends on its own input pixel alone."""

    def __init__(self, multiple: int):
        super().__init__()
        self.multiple = multiple
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        expect(
            x.ndim == 4 and x.shape[1] == 4,
            f"the generator got shape {tuple(x.shape)}, expected (B, 4, H, W): 3 + the mask",
        )
        expect(
            not any(side % self.multiple for side in x.shape[-2:]),
            f"the generator got {tuple(x.shape[-2:])} pixels: no multiples of {self.multiple}",
        )
        self.inputs.append(x.detach().clone())
        h, w = x.shape[-2:]
        place = torch.arange(h)[:, None] / h * 0.3 + torch.arange(w) / w * 0.2
        return torch.sigmoid(x[:, :3] - 0.7 * x[:, 3:] + place)


@exercise("2.2")
def fill_hole(answer: Callable[[nn.Module, Tensor, Tensor, int], Tensor]) -> None:
    """``answer(generator, image, mask, multiple)``: the image with its hole filled."""
    for shape, multiple in (((1, 3, 16, 24), 8), ((3, 3, 13, 22), 8), ((2, 3, 9, 5), 4)):
        image = uniform(*shape, seed=shape[2])
        mask = torch.zeros(shape[0], 1, *shape[2:])
        mask[..., 2:7, 1:4] = 1
        what = f"batch of {shape[0]}, {shape[2]} x {shape[3]} px, multiples of {multiple}"
        generator = _Pixelwise(multiple)
        before = image.clone(), mask.clone()
        got = answer(generator, image, mask, multiple)
        expect(bool(generator.inputs), f"{what}: your function did not call the generator")
        expect(
            torch.equal(image, before[0]) and torch.equal(mask, before[1]),
            f"{what}: your function changed its inputs; work on copies",
        )
        x = generator.inputs[-1]
        size = [-(-side // multiple) * multiple for side in shape[2:]]
        expect(
            list(x.shape[-2:]) == size,
            f"{what}: the generator got {list(x.shape[-2:])} pixels, {size} are enough",
        )
        h, w = shape[2:]
        compare(x[:, 3:, :h, :w], mask, f"{what}: channel 3 of the generator's input, the mask")
        compare(
            x[:, :3, :h, :w],
            image * (1 - mask),
            f"{what}: channels 0 to 2 of the generator's input, the image black in the hole",
        )
        expect(
            isinstance(got, Tensor) and got.shape == image.shape,
            f"{what}: the result is {tuple(got.shape) if isinstance(got, Tensor) else got}, "
            f"expected {tuple(image.shape)}",
        )
        known = (mask == 0).expand_as(image)
        expect(
            torch.equal(got[known], image[known]),
            f"{what}: known pixels are not bit-identical to the image's",
        )
        wanted = _Pixelwise(multiple)(x)[..., :h, :w]
        compare(got[~known], wanted[~known], f"{what}: pixels of the hole")


# --------------------------------------------------------------------------- 2.3
@exercise("2.3")
def multi_dilated(answer: Callable[..., Tensor]) -> None:
    """``answer(x, weights, biases, dilations)`` against ``MultiDilatedConv``, "cat_in"."""
    answer = by_hand(answer, MultiDilatedConv.forward)
    cases = (
        ((1, 4, 12, 12), 3, (1, 2, 4, 8)),
        ((3, 4, 9, 14), 8, (1, 2, 4, 8)),
        ((2, 6, 7, 5), 2, (1, 3)),
        ((1, 3, 4, 3), 1, (2,)),
    )
    for shape, c_out, dilations in cases:
        torch.manual_seed(shape[-1])
        layer = MultiDilatedConv(shape[1], c_out, dilations)
        convs = [conv for conv in layer.convs if isinstance(conv, nn.Conv2d)]
        weights = [conv.weight.detach() for conv in convs]
        biases = [conv.bias.detach() for conv in convs if conv.bias is not None]
        impulse = torch.zeros(shape)
        impulse[..., shape[2] // 2, shape[3] // 2] = 1
        inputs = {
            "zeros": torch.zeros(shape),
            "ones": torch.ones(shape),
            "an impulse": impulse,
            "random numbers": uniform(*shape, seed=1),
        }
        for name, x in inputs.items():
            what = f"{name} of shape {shape}, {c_out} outputs, dilations {dilations}"
            compare(answer(x, weights, biases, dilations), layer(x), what)
        x, y = (inputs["random numbers"].clone().requires_grad_() for _ in range(2))
        answer(x, weights, biases, dilations).square().sum().backward()
        layer(y).square().sum().backward()
        compare(x.grad, y.grad, f"gradient for shape {shape}, dilations {dilations}", 1e-4)


# --------------------------------------------------------------------------- 2.4
def _linear(kernel: Tensor) -> Callable[[Tensor], Tensor]:
    pads = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    return lambda x: F.conv2d(x, kernel, padding=pads)


@exercise("2.4")
def effective_radius(answer: Callable[..., int]) -> None:
    """``answer(model, x, share)``: radius around the centre that holds a share of the gradient."""
    answer = by_hand(answer, gradient_map, share_within)
    generator = torch.Generator().manual_seed(0)
    jump = torch.zeros(1, 1, 1, 9)
    jump[..., 0] = 1  # each output reads the pixel 4 to its left
    signs = torch.randn(2, 3, 7, 7, generator=generator)
    signs -= signs.mean(1, keepdim=True)  # channels cancel unless absolute values come first
    opposite = torch.tensor([1.0, -1.0]).view(1, 1, 2, 1) * torch.ones(1, 1, 2, 3)
    opposite = F.pad(opposite, (1, 1, 1, 2))  # rows cancel unless absolute values come first
    cancel = torch.tensor([[1.0, 0, 0, 5, 0, 0, 1], [1.0, 0, 0, -5, 0, 0, 1]]).view(1, 2, 1, 7)

    def mixed(x: Tensor) -> Tensor:  # the first picture is copied, the others are shifted
        return torch.cat([x[:1], 3 * x[1:].roll(3, -1)])

    cases: list[tuple[str, Callable[[Tensor], Tensor], tuple[int, ...]]] = [
        ("the identity", lambda x: x, (1, 1, 8, 8)),
        ("a jump of 4 columns", _linear(jump), (1, 1, 11, 12)),
        ("a 7 x 7 convolution with mixed signs", _linear(signs), (3, 3, 16, 13)),
        ("a difference of two rows", _linear(opposite), (1, 1, 9, 10)),
        ("two input channels of opposite sign", _linear(cancel), (1, 2, 8, 9)),
        ("a network that treats pictures differently", mixed, (3, 1, 10, 9)),
        ("a global mean", lambda x: x + x.mean((-2, -1), keepdim=True), (2, 2, 12, 6)),
        ("a saturating network", lambda x: torch.tanh(4 * _linear(signs)(x)), (3, 3, 9, 16)),
    ]
    for name, model, shape in cases:
        for share in (0.5, 0.9, 0.99):
            x = uniform(*shape, seed=3)
            expected = int((share_within(gradient_map(model, x)) < share).sum())
            got = answer(model, x, share)
            what = f"{name}, input {shape}, share {share}"
            returned(got, what)
            expect(int(got) == expected, f"{what}: radius {got}, expected {expected}")
            expect(not x.requires_grad, f"{what}: your function changed x; work on a copy")


# --------------------------------------------------------------------------- 2.5
@exercise("2.5")
def branch_in_generator(answer: Callable[..., nn.Module]) -> None:
    """The contract of a global branch, alone and in a generator; prints reach and parameters."""
    for c_in, c_out, stride, size in ((6, 6, 1, (8, 8)), (6, 10, 1, (7, 9)), (8, 16, 2, (6, 8))):
        torch.manual_seed(0)
        branch = answer(c_in, c_out, stride=stride, groups=1)
        expect(
            isinstance(branch, nn.Module),
            f"your factory returned {type(branch).__name__}, expected a torch.nn.Module",
        )
        for batch in (1, 3):
            x = (uniform(batch, c_in, *size) - 0.5).requires_grad_()
            what = f"({batch}, {c_in}, {size[0]}, {size[1]}) to {c_out} channels, stride {stride}"
            y = branch.train(batch > 1)(x)
            shape = (batch, c_out, size[0] // stride, size[1] // stride)
            expect(isinstance(y, Tensor), f"{what}: the result is no tensor")
            expect(y.shape == shape, f"{what}: shape {tuple(y.shape)}, expected {shape}")
            expect(y.dtype == torch.float32, f"{what}: result is {y.dtype}, expected torch.float32")
            expect(bool(y.isfinite().all()), f"{what}: the result has NaN or infinite values")
            (y * (uniform(*y.shape, seed=1) - 0.5)).sum().backward()
            expect(
                x.grad is not None and bool((x.grad != 0).any()),
                f"{what}: no gradient reaches the input",
            )
    expect(
        type(branch) is not ffc.SpectralTransform,
        "this is LaMa's own spectral transform: build another branch that sees far",
    )
    config = GeneratorConfig(blocks=2, width=8, downsamplings=2)
    report = []
    for name, factory in {"yours": answer, "LaMa's": ffc.SpectralTransform}.items():
        torch.manual_seed(0)
        g = build_generator(config, global_branch=factory).eval()
        if name == "yours":
            y = g(uniform(2, 4, 36, 44))
            expect(y.shape == (2, 3, 36, 44), f"in a generator: output {tuple(y.shape)}")
            expect(bool(y.isfinite().all()), "in a generator: NaN or infinite values")
        first = next(i for i, b in enumerate(g.model) if isinstance(b, FFCResidualBlock))
        x = uniform(1, 4, 96, 96, seed=2).requires_grad_()
        local, glob = g.model[: first + 1](x)
        (gradient,) = torch.autograd.grad(local[..., 12, 12].sum() + glob[..., 12, 12].sum(), x)
        reach = (gradient.abs().sum(1) > 0).float().mean().item()
        expect(
            reach > 0.95,
            f"one block with your branch sees {reach:.0%} of a picture of 96 x 96 px: that is a "
            "local branch; let every place hear of all others, as means of rows and columns do",
        )
        block = sum(p.numel() for p in g.model[first].parameters())
        report.append(f"{name:7s} one block sees {reach:6.1%} of 96 x 96 px, {block:,} parameters")
    print("\n".join(report))
