"""Mixers whose weights belong to frequencies: a global filter, and a matrix for each low one."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kit import Mixer, Size, Spectrum


class GlobalFilter(Mixer):
    """z'(k) = K(k) z(k): a complex number for each channel and frequency, resized to the map's.

    K belongs to the frequencies of ``reference_size``; on another map each coefficient takes the
    value at its own frequency in cycles per pixel, between neighbours bilinearly.
    """

    def __init__(self, channels: int, reference_size: Size = (32, 32)) -> None:
        super().__init__()
        self.reference_size, (h, w) = reference_size, reference_size
        self.weight = nn.Parameter(0.02 * torch.randn(1, 2 * channels, h, w // 2 + 1))

    def forward(self, spectrum: Spectrum) -> Spectrum:
        h, w = self.reference_size or spectrum.size
        row = (spectrum.ky * h + h // 2) * 2 / (h - 1) - 1  # -1 .. 1: first to last row of K
        column = spectrum.kx * w * 2 / (w // 2) - 1
        grid = torch.stack(torch.broadcast_tensors(column, row), -1)[None].to(self.weight)
        k = F.grid_sample(self.weight, grid, padding_mode="border", align_corners=True)
        return spectrum.with_channels(times(k.unflatten(1, (-1, 2)), spectrum.values).flatten(1, 2))


class LowModes(Mixer):
    """z'_o(k) = sum_i R_oi(k) z_i(k) for |ky| and kx below ``modes``, 0 elsewhere.

    A matrix of its own for each low frequency, counted in periods per picture: of any size of map
    the same ``modes`` are kept.
    """

    def __init__(self, channels: int, modes: int = 6) -> None:
        super().__init__()
        self.modes = modes
        shape = (2, channels, channels, 2 * modes - 1, modes)  # rows -modes + 1 .. modes - 1
        self.weight = nn.Parameter(torch.randn(shape) / channels)

    def forward(self, spectrum: Spectrum) -> Spectrum:
        h, w = spectrum.values.shape[-2:]
        up, across = min(self.modes, (h + 1) // 2), min(self.modes, w)
        rows = torch.arange(1 - up, up, device=spectrum.values.device)
        a, b = self.weight[..., rows + self.modes - 1, :across]
        real, imaginary = spectrum.values[..., rows % h, :across].unbind(2)

        def mix(matrix: Tensor, z: Tensor) -> Tensor:
            return torch.einsum("oihw,bihw->bohw", matrix, z)

        low = mix(a, real) - mix(b, imaginary), mix(a, imaginary) + mix(b, real)
        values = torch.zeros_like(spectrum.values)
        values[..., rows % h, :across] = torch.stack(low, 2)
        return replace(spectrum, values=values)


def times(a: Tensor, b: Tensor) -> Tensor:
    """Product of complex numbers given as (B, C, 2, Hk, Wk), real and imaginary part."""
    (ar, ai), (br, bi) = a.unbind(2), b.unbind(2)
    return torch.stack([ar * br - ai * bi, ar * bi + ai * br], 2)
