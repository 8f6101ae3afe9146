"""Every check of notebook 01: right and wrong answers."""

import torch
import torch.nn.functional as F
from check_suite import check_suite
from torch import nn

from lama_ref import ffc

# --- right answers ----------------------------------------------------------------------------


def one_axis_at_a_time(x):
    s = torch.fft.fft(torch.fft.rfft(x, norm="ortho"), dim=-2, norm="ortho")
    return torch.stack([s.real, s.imag], 2).flatten(1, 2)


def projection(s, width):
    mirrored = s[..., -torch.arange(s.shape[-2]) % s.shape[-2], :].conj()
    own = torch.arange(s.shape[-1]) * 2 % width == 0
    return torch.where(own, (s + mirrored) / 2, s)


def right_pair(weight):
    a, b, c, d = weight[::2, ::2], weight[::2, 1::2], weight[1::2, ::2], weight[1::2, 1::2]
    return torch.complex(a + d, c - b) / 2, torch.complex(a - d, c + b) / 2


def from_complex(p):
    times_i = torch.tensor([[0, -1], [1, 0]], dtype=p.real.dtype)
    return torch.kron(p.real, torch.eye(2, dtype=p.real.dtype)) + torch.kron(p.imag, times_i)


class MeanOfTheMap(nn.Module):  # the simplest branch that sees all and follows shifts
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__()
        self.pool = nn.AvgPool2d(stride)
        self.own, self.mean = nn.Conv2d(c_in, c_out, 1), nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        x = self.pool(x)
        return self.own(x) + self.mean(x.mean((-2, -1), keepdim=True))


class Attention(MeanOfTheMap):  # all pixels, without positions
    def forward(self, x):
        x = self.pool(x)
        q, v = self.own(x).flatten(2), self.mean(x).flatten(2)
        return (v @ torch.softmax(0.1 * q.mT @ q, 1)).view(*v.shape[:2], *x.shape[-2:])


def lazy_pair(weight):  # torch only notes the conjugation
    p, q = right_pair(weight)
    return p.conj().resolve_conj().conj(), q


RIGHT = {
    "spectral_channels": one_axis_at_a_time,
    "hermitian_projection": projection,
    "complex_pair": right_pair,
    "shift_equivariant": lambda w: from_complex(right_pair(w)[0]),
    "global_branch": MeanOfTheMap,
}
ALSO_RIGHT = [("complex_pair", lazy_pair), ("global_branch", Attention)]


# --- wrong answers ----------------------------------------------------------------------------


def grouped_channels(x):
    z = one_axis_at_a_time(x)
    return torch.cat([z[:, ::2], z[:, 1::2]], 1)


def backward_norm(x):
    return one_axis_at_a_time(x) * (x.shape[-2] * x.shape[-1]) ** 0.5


def rfft_along_height(x):
    return one_axis_at_a_time(x.mT).mT


def full_spectrum(x):
    s = torch.fft.fft(torch.fft.fft(x, norm="ortho"), dim=-2, norm="ortho")
    return torch.view_as_real(s).movedim(-1, 2).flatten(1, 2)


def detached(x):
    return one_axis_at_a_time(x.detach())


def in_two_dimensions(x):
    s = torch.fft.rfft2(x, norm="ortho")
    return torch.stack([s.real, s.imag], 2).flatten(1, 2)


def all_columns(s, width):
    return (s + s.flip(-2).roll(1, -2).conj()) / 2


def only_dc(s, width):
    return torch.cat([all_columns(s, width)[..., :1], s[..., 1:]], -1)


def last_column_always(s, width):
    p = all_columns(s, width)
    return torch.cat([p[..., :1], s[..., 1:-1], p[..., -1:]], -1)


def without_roll(s, width):
    p = s.clone()
    for k in [0] + ([width // 2] if width % 2 == 0 else []):
        p[..., k] = (s[..., k] + s[..., k].flip(-1).conj()) / 2
    return p


def without_conj(s, width):
    return torch.where(projection(s, width) == s, s, (s + s.flip(-2).roll(1, -2)) / 2)


def in_place(s, width):
    return s.copy_(projection(s, width))


def dropped_imaginary(s, width):  # before the transform along H, which is too early
    s = s.clone()
    s[..., 0] = s[..., 0].real + 0j
    return s


def transposed_pair(weight):
    p, q = right_pair(weight)
    return p.conj(), q.conj()


def no_tie(c_in, c_out, *, stride, groups):
    return nn.Conv2d(c_in, c_out, 3, padding=1)  # forgets the stride


def large_kernel(c_in, c_out, *, stride, groups):
    pool = nn.AvgPool2d(stride)
    return nn.Sequential(pool, nn.Conv2d(c_in, c_out, 5, padding=2), nn.BatchNorm2d(c_out))


class OneByOne(MeanOfTheMap):
    def forward(self, x):
        return self.own(self.pool(x)) + self.mean(self.pool(x))


class OverBatch(nn.Module):
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)
        self.pool = nn.AvgPool2d(stride)

    def forward(self, x):
        x = self.pool(x)
        return self.conv(x) + self.conv(x).mean(0, keepdim=True)


class EvenOnly(nn.Module):  # irfft2 without s=
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)
        self.pool = nn.AvgPool2d(stride)

    def forward(self, x):
        return self.conv(torch.fft.irfft2(torch.fft.rfft2(self.pool(x))))


class DividesByPower(OverBatch):
    def forward(self, x):
        x = self.pool(x)
        s = torch.fft.rfft2(x)
        return self.conv(torch.fft.irfft2(s / s.abs(), s=x.shape[-2:]))


class UnusedParameter(OverBatch):
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__(c_in, c_out, stride=stride, groups=groups)
        self.forgotten = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.conv(self.pool(x))


class Complex(OverBatch):
    def forward(self, x):
        return torch.fft.fft2(self.conv(self.pool(x)))


class HiddenWeight(OverBatch):
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__(c_in, c_out, stride=stride, groups=groups)
        self.weight = torch.randn(c_out, c_in, 1, 1)  # neither a parameter nor a buffer

    def forward(self, x):
        return self.conv(self.pool(x)) + F.conv2d(self.pool(x), self.weight)


WRONG = [
    ("spectral_channels", grouped_channels, "alternate"),
    ("spectral_channels", backward_norm, "'backward'"),
    ("spectral_channels", rfft_along_height, "half spectrum lies along the height"),
    ("spectral_channels", full_spectrum, r"shape \(1, 2, 4, 4\), expected \(1, 2, 4, 3\)"),
    ("spectral_channels", ffc.real_fft, "which transform one axis"),
    ("spectral_channels", lambda x: ffc.real_fft(x), "which transform one axis"),
    ("spectral_channels", in_two_dimensions, "which transform one axis"),
    ("spectral_channels", detached, "no gradient"),
    ("spectral_channels", lambda x: None, "returned None"),
    ("spectral_channels", lambda x: one_axis_at_a_time(x.add_(1)), "black image"),
    ("hermitian_projection", ffc.hermitian, "write the projection yourself"),
    ("hermitian_projection", lambda s, w: ffc.hermitian(s, w), "write the projection yourself"),
    ("hermitian_projection", all_columns, "every column was projected"),
    ("hermitian_projection", only_dc, "even width was left"),
    ("hermitian_projection", last_column_always, "odd width was projected"),
    ("hermitian_projection", without_roll, r"\(H - ky\) % H"),
    ("hermitian_projection", without_conj, "not conjugated"),
    ("hermitian_projection", in_place, "in place"),
    ("hermitian_projection", dropped_imaginary, "largest difference"),
    ("hermitian_projection", lambda s, width: s, "largest difference"),
    ("complex_pair", lambda w: right_pair(w)[::-1], "swapped"),
    ("complex_pair", lambda w: tuple(2 * m for m in right_pair(w)), "twice too large"),
    ("complex_pair", transposed_pair, "wrong sign"),
    ("complex_pair", lambda w: (right_pair(w)[0], 0 * right_pair(w)[1]), "Q is missing"),
    ("complex_pair", lambda w: right_pair(w)[0], "two matrices"),
    ("complex_pair", lambda w: (w[::2, ::2], w[1::2, ::2]), "complex"),
    ("shift_equivariant", lambda w: w, "as it was"),
    ("shift_equivariant", lambda w: 2 * from_complex(right_pair(w)[0]), "twice"),
    ("shift_equivariant", lambda w: w[:, ::2], "shape"),
    ("shift_equivariant", lambda w: w - from_complex(right_pair(w)[0]), "must go"),
    ("shift_equivariant", lambda w: from_complex(right_pair(w)[0].real + 0j), "Hilbert transform"),
    (
        "shift_equivariant",
        lambda w: from_complex(torch.complex(w[::2, ::2], w[1::2, ::2])),
        "nearer",
    ),
    ("shift_equivariant", lambda w: w.zero_(), "in place"),
    ("global_branch", ffc.SpectralTransform, "does not follow circular shifts"),
    ("global_branch", OneByOne, "reaches only 1 of 256"),
    ("global_branch", large_kernel, "reaches only"),
    ("global_branch", no_tie, r"stride 2.*expected"),
    ("global_branch", OverBatch, "alone against the same image in a batch"),
    ("global_branch", EvenOnly, "maps of 9 x 7: shape"),
    ("global_branch", DividesByPower, "NaN"),
    ("global_branch", UnusedParameter, "forgotten"),
    ("global_branch", Complex, "must be real"),
    ("global_branch", HiddenWeight, "state dict"),
    ("global_branch", lambda c_in, c_out: nn.Conv2d(c_in, c_out, 1), "TypeError"),
    ("global_branch", lambda c_in, c_out, *, stride, groups: torch.relu, "module"),
]

TestChecks = check_suite("1", RIGHT, ALSO_RIGHT, WRONG)
