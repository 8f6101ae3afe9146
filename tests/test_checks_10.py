"""Every check of notebook 10: right and wrong answers."""

from dataclasses import replace

import torch
from check_suite import check_suite
from torch import nn

from lama_ref.spectral import transforms
from lama_ref.spectral.kit import Spectrum, Transform
from lama_ref.spectral.variants import VARIANTS


# --- right answers ----------------------------------------------------------------------------
def magnitudes(spectrum):
    return torch.linalg.vector_norm(spectrum.values, dim=2)


def low_pass(spectrum, cutoff):
    keep = torch.hypot(*torch.broadcast_tensors(spectrum.ky, spectrum.kx)) <= cutoff
    return replace(spectrum, values=spectrum.values * keep)


class OneAxis(Transform):
    parts, norm, twice, size_too, factor = 2, "ortho", True, True, 1.0

    def forward(self, x):
        z = torch.fft.rfft(x, norm=self.norm)
        h, w = x.shape[-2:]
        weights = transforms.halves(w, x) if self.twice else x.new_ones(1, z.shape[-1])
        ky, kx = x.new_zeros(h, 1), torch.fft.rfftfreq(w, dtype=x.dtype)[None] * self.factor
        return Spectrum(torch.stack([z.real, z.imag], 2), ky, kx, weights, (h, w))

    def inverse(self, spectrum):
        z = torch.complex(*spectrum.values.unbind(2))
        return torch.fft.irfft(z, n=spectrum.size[1] if self.size_too else None, norm=self.norm)


class Gate(nn.Module):
    """Scales coefficients by a number that depends on their size, and keeps their phase."""

    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__()
        self.down = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.conv, self.gate = nn.Conv2d(c_in, c_out, 1), nn.Conv2d(c_out, c_out, 1)
        self.transform = transforms.FFT()

    def forward(self, x):
        x = self.conv(self.down(x))
        with torch.autocast("cpu", enabled=False):
            spectrum = self.transform(x.to(self.conv.weight.dtype))
            size = torch.log1p(spectrum.values.square().sum(2))
            scale = torch.sigmoid(self.gate(size))[:, :, None]
            return self.transform.inverse(replace(spectrum, values=spectrum.values * scale))


RIGHT = {"magnitudes": magnitudes, "low_pass": low_pass, "one_axis": OneAxis, "own_variant": Gate}
ALSO_RIGHT = [
    ("magnitudes", lambda s: s.values.pow(2).sum(2).sqrt()),
    ("own_variant", Gate, "Gate", "keeps the contract"),
]


# --- wrong answers ----------------------------------------------------------------------------
def low_pass_by_index(spectrum, cutoff):
    h, w = spectrum.values.shape[-2:]
    keep = torch.hypot(torch.arange(h)[:, None] / h, torch.arange(w)[None] / w) <= cutoff
    return replace(spectrum, values=spectrum.values * keep)


def low_pass_square(spectrum, cutoff):
    keep = (spectrum.ky.abs() <= cutoff) & (spectrum.kx.abs() <= cutoff)
    return replace(spectrum, values=spectrum.values * keep)


def low_pass_in_place(spectrum, cutoff):
    spectrum.values.mul_(torch.hypot(spectrum.ky, spectrum.kx) <= cutoff)
    return spectrum


def with_changes(**changes):
    return type("Changed", (OneAxis,), changes)


class Deep(OneAxis):
    def forward(self, x):
        spectrum = super().forward(x)
        return replace(spectrum, values=torch.complex(*spectrum.values.unbind(2)))


class Local(nn.Module):
    def __init__(self, c_in, c_out, *, stride, groups):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, padding=1)

    def forward(self, x):
        return self.conv(x)


class WithTheBatch(Gate):
    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0, keepdim=True)


class EvenAlone(Gate):
    def forward(self, x):
        x = self.conv(self.down(x))
        return torch.fft.irfft2(torch.fft.rfft2(x))


WRONG = [
    ("magnitudes", lambda s: s.values.abs().sum(2), "largest difference"),
    ("magnitudes", lambda s: s.values[:, :, 0].abs(), "largest difference"),
    ("magnitudes", lambda s: s.values.square().sum(2), "largest difference"),
    ("magnitudes", lambda s: s.values.norm(dim=1), "shape .* expected"),
    ("low_pass", low_pass_by_index, "cutoff 0.2: largest difference"),
    ("low_pass", low_pass_square, "largest difference"),
    ("low_pass", low_pass_in_place, "the spectrum that you were given"),
    ("low_pass", lambda s, c: s.values * (s.ky.hypot(s.kx) <= c), "return a Spectrum"),
    ("low_pass", lambda s, c: replace(s, values=s.values * (s.kx.abs() <= c)), "largest diff"),
    ("one_axis", transforms.FFT, "values: largest difference"),
    ("one_axis", with_changes(norm="backward"), "values: largest difference"),
    ("one_axis", with_changes(twice=False), "the energy .do the weights count twice"),
    ("one_axis", with_changes(size_too=False), "inverse: shape"),
    ("one_axis", with_changes(factor=2.0), "kx, in cycles per pixel"),
    ("one_axis", Deep, "values must be real"),
    ("own_variant", VARIANTS["dct"], "a variant that ships"),
    ("own_variant", Local, "that is a local layer"),
    ("own_variant", WithTheBatch, "batch independence"),
    ("own_variant", EvenAlone, "the contract is not kept"),
    ("own_variant", lambda a, b, *, stride, groups: None, "must return an nn.Module"),
]
TestChecks = check_suite("10", RIGHT, ALSO_RIGHT, WRONG)
