"""The checks of notebook 01 accept the reference, recognise the stub, and name what is wrong."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lama_ref import checks, ffc


def stub(*args, **kwargs):
    raise NotImplementedError("Exercise 1.x")


# --- right answers ----------------------------------------------------------------------------


def right_pair(weight):
    a, b, c, d = weight[::2, ::2], weight[::2, 1::2], weight[1::2, ::2], weight[1::2, 1::2]
    return torch.complex(a + d, c - b) / 2, torch.complex(a - d, c + b) / 2


def from_complex(p):
    times_i = torch.tensor([[0, -1], [1, 0]], dtype=p.real.dtype)
    return torch.kron(p.real, torch.eye(2, dtype=p.real.dtype)) + torch.kron(p.imag, times_i)


def large_kernel(c_in, c_out, *, stride, groups):
    pool = nn.AvgPool2d(stride)
    return nn.Sequential(pool, nn.Conv2d(c_in, c_out, 5, padding=2), nn.BatchNorm2d(c_out))


def lazy_pair(weight):  # torch only notes the conjugation
    p, q = right_pair(weight)
    return p.conj().resolve_conj().conj(), q


RIGHT = [
    ("1.1", checks.spectral_channels, ffc.real_fft),
    ("1.2", checks.hermitian_projection, ffc.hermitian),
    ("1.3", checks.complex_pair, right_pair),
    ("1.3", checks.complex_pair, lazy_pair),
    ("1.4", checks.shift_equivariant, lambda w: from_complex(right_pair(w)[0])),
    ("1.5", checks.global_branch, ffc.SpectralTransform),
    ("1.5", checks.global_branch, large_kernel),
]


@pytest.mark.parametrize("number, check, answer", RIGHT)
def test_right_answers_pass(number, check, answer, capsys):
    check(answer)
    assert capsys.readouterr().out == f"Exercise {number}: passed\n"


@pytest.mark.parametrize("number, check", {(n, c) for n, c, _ in RIGHT})
def test_stubs_are_not_attempted(number, check, capsys):
    check(stub)
    assert capsys.readouterr().out == f"Exercise {number}: not attempted yet\n"
    with pytest.raises(AssertionError, match=f"not passed: {number}"):
        checks.require_all(number)


# --- wrong answers ----------------------------------------------------------------------------


def grouped_channels(x):
    s = torch.fft.rfft2(x, norm="ortho")
    return torch.cat([s.real, s.imag], 1)


def rfft_along_height(x):
    return ffc.real_fft(x.mT).mT


def full_spectrum(x):
    return torch.view_as_real(torch.fft.fft2(x, norm="ortho")).movedim(-1, 2).flatten(1, 2)


def detached(x):
    return ffc.real_fft(x.detach())


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
    return torch.where(ffc.hermitian(s, width) == s, s, (s + s.flip(-2).roll(1, -2)) / 2)


def in_place(s, width):
    return s.copy_(ffc.hermitian(s, width))


def dropped_imaginary(s, width):  # before the transform along H, which is too early
    s = s.clone()
    s[..., 0] = s[..., 0].real + 0j
    return s


def transposed_pair(weight):
    p, q = right_pair(weight)
    return p.conj(), q.conj()


def no_tie(c_in, c_out, *, stride, groups):
    return nn.Conv2d(c_in, c_out, 3, padding=1)  # forgets the stride


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
    (checks.spectral_channels, grouped_channels, "alternate"),
    (checks.spectral_channels, lambda x: ffc.real_fft(x, "backward"), "'backward'"),
    (checks.spectral_channels, rfft_along_height, "half spectrum lies along the height"),
    (checks.spectral_channels, full_spectrum, r"shape \(1, 2, 4, 4\), expected \(1, 2, 4, 3\)"),
    (checks.spectral_channels, detached, "no gradient"),
    (checks.spectral_channels, lambda x: None, "returned None"),
    (checks.spectral_channels, lambda x: ffc.real_fft(x.add_(1)), "black image"),
    (checks.hermitian_projection, all_columns, "every column was projected"),
    (checks.hermitian_projection, only_dc, "even width was left"),
    (checks.hermitian_projection, last_column_always, "odd width was projected"),
    (checks.hermitian_projection, without_roll, r"\(H - ky\) % H"),
    (checks.hermitian_projection, without_conj, "not conjugated"),
    (checks.hermitian_projection, in_place, "in place"),
    (checks.hermitian_projection, dropped_imaginary, "largest difference"),
    (checks.hermitian_projection, lambda s, width: s, "largest difference"),
    (checks.complex_pair, lambda w: right_pair(w)[::-1], "swapped"),
    (checks.complex_pair, lambda w: tuple(2 * m for m in right_pair(w)), "twice too large"),
    (checks.complex_pair, transposed_pair, "wrong sign"),
    (checks.complex_pair, lambda w: (right_pair(w)[0], 0 * right_pair(w)[1]), "Q is missing"),
    (checks.complex_pair, lambda w: right_pair(w)[0], "two matrices"),
    (checks.complex_pair, lambda w: (w[::2, ::2], w[1::2, ::2]), "complex"),
    (checks.shift_equivariant, lambda w: w, "as it was"),
    (checks.shift_equivariant, lambda w: 2 * from_complex(right_pair(w)[0]), "twice"),
    (checks.shift_equivariant, lambda w: w[:, ::2], "shape"),
    (checks.shift_equivariant, lambda w: w - from_complex(right_pair(w)[0]), "must go"),
    (
        checks.shift_equivariant,
        lambda w: from_complex(right_pair(w)[0].real + 0j),
        "Hilbert transform",
    ),
    (
        checks.shift_equivariant,
        lambda w: from_complex(torch.complex(w[::2, ::2], w[1::2, ::2])),
        "nearer",
    ),
    (checks.shift_equivariant, lambda w: w.zero_(), "in place"),
    (checks.global_branch, no_tie, r"stride 2.*expected"),
    (checks.global_branch, OverBatch, "alone against the same image in a batch"),
    (checks.global_branch, EvenOnly, "maps of 9 x 7: shape"),
    (checks.global_branch, DividesByPower, "NaN"),
    (checks.global_branch, UnusedParameter, "forgotten"),
    (checks.global_branch, Complex, "must be real"),
    (checks.global_branch, HiddenWeight, "state dict"),
    (checks.global_branch, lambda c_in, c_out: nn.Conv2d(c_in, c_out, 1), "TypeError"),
    (checks.global_branch, lambda c_in, c_out, *, stride, groups: torch.relu, "module"),
]


@pytest.mark.parametrize("check, answer, message", WRONG)
def test_wrong_answers_are_told_what_differs(check, answer, message):
    with pytest.raises(AssertionError, match=message):
        check(answer)
