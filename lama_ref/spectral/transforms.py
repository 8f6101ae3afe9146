"""Transforms of maps into spectra and back: FFT, windowed FFT, DCT, Hartley, Haar wavelet.

Every one is orthonormal, and has two backends that agree: ``"fft"`` is quick, ``"matmul"`` is a
product with a cosine and a sine matrix, which runs and exports anywhere. Shapes: :mod:`.kit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ffc import inverse_real_fft, real_fft
from .kit import Backend, Spectrum, Transform


class FFT(Transform):
    """Half spectrum F(ky, kx), kx = 0 .. W // 2, as real and imaginary part; LaMa's.

    The inverse takes the Hermitian part of the columns that are their own mirror image, as
    :func:`lama_ref.ffc.inverse_real_fft` does; as a product that is the real part.
    """

    parts = 2

    def forward(self, x: Tensor) -> Spectrum:
        h, w = x.shape[-2:]
        if self.backend == "fft":
            values = real_fft(x).unflatten(1, (-1, 2))
        else:
            (cy, sy), (cx, sx) = dft(h, x), dft(w, x)
            cx, sx = cx[: w // 2 + 1].T, sx[: w // 2 + 1].T
            real, imaginary = x @ cx, -(x @ sx)  # rows: (B, C, H, K)
            values = torch.stack([cy @ real + sy @ imaginary, cy @ imaginary - sy @ real], 2)
        ky, kx, weights = _half_grid(h, w, values.dtype, x.device)
        return Spectrum(values, ky, kx, weights, (h, w))

    def inverse(self, spectrum: Spectrum) -> Tensor:
        h, w = spectrum.size
        if self.backend == "fft":
            return inverse_real_fft(spectrum.channels(), (h, w))
        z = spectrum.values * spectrum.weights
        (cy, sy), (cx, sx) = dft(h, z), dft(w, z)
        real, imaginary = z.unbind(2)  # (B, C, H, K)
        a, b = cy @ real - sy @ imaginary, cy @ imaginary + sy @ real  # columns transformed back
        return a @ cx[: w // 2 + 1] - b @ sx[: w // 2 + 1]  # the real part


class WindowedFFT(FFT):
    """FFT of each tile of ``window`` pixels, side by side in the batch; borders padded with 0."""

    def __init__(self, window: int = 8, backend: Backend = "fft") -> None:
        super().__init__(backend)
        self.window = window

    def forward(self, x: Tensor) -> Spectrum:
        (h, w), n, c = x.shape[-2:], self.window, x.shape[1]
        x = F.pad(x, (0, -w % n, 0, -h % n))
        x = x.unflatten(-1, (-1, n)).unflatten(-3, (-1, n))  # (B, C, H/n, n, W/n, n)
        tiles = x.permute(0, 2, 4, 1, 3, 5).reshape(-1, c, n, n)
        return replace(super().forward(tiles), size=(h, w))

    def inverse(self, spectrum: Spectrum) -> Tensor:
        (h, w), n = spectrum.size, self.window
        tiles = super().inverse(replace(spectrum, size=(n, n)))
        x = tiles.unflatten(0, (-1, math.ceil(h / n), math.ceil(w / n)))  # (B, H/n, W/n, C, n, n)
        return x.permute(0, 3, 1, 4, 2, 5).flatten(-2).flatten(2, 3)[..., :h, :w]


class DCT(Transform):
    """DCT-II: cosines of an even extension, so that the map does not wrap around its border."""

    def forward(self, x: Tensor) -> Spectrum:
        h, w = x.shape[-2:]
        values = self._along(self._along(x, -1), -2)[:, :, None]
        ky, kx = (torch.arange(n, device=x.device, dtype=x.dtype) / (2 * n) for n in (h, w))
        return Spectrum(values, ky[:, None], kx[None], torch.ones_like(kx)[None], (h, w))

    def inverse(self, spectrum: Spectrum) -> Tensor:
        return self._back(self._back(spectrum.values[:, :, 0], -1), -2)

    def _along(self, x: Tensor, axis: int) -> Tensor:
        x = x.movedim(axis, -1)
        n = x.shape[-1]
        if self.backend == "matmul":
            return (x @ cosines(n, x).T).movedim(-1, axis)
        twice = torch.fft.rfft(torch.cat([x, x.flip(-1)], -1))[..., :n]
        real, imaginary = torch.view_as_real(twice).unbind(-1)
        c, s, scale = _phases(n, x)  # Re(F(k) exp(-i pi k / 2n)), orthonormal
        return ((real * c + imaginary * s) * scale / 2).movedim(-1, axis)

    def _back(self, z: Tensor, axis: int) -> Tensor:
        z = z.movedim(axis, -1)
        n = z.shape[-1]
        if self.backend == "matmul":
            return (z @ cosines(n, z)).movedim(-1, axis)
        c, s, scale = _phases(n, z)
        pairs = torch.stack([z * c, z * s], -1) * (2 / scale)[:, None]
        pairs = F.pad(pairs, (0, 0, 0, 1))  # F(n) = 0
        twice = torch.fft.irfft(torch.view_as_complex(pairs.contiguous()), n=2 * n)
        return twice[..., :n].movedim(-1, axis)


class Hartley(Transform):
    """H(k) = Re F(k) - Im F(k) on the whole grid: real, and its own inverse."""

    def forward(self, x: Tensor) -> Spectrum:
        ky, kx = signed(x.shape[-2], x)[:, None], signed(x.shape[-1], x)[None]
        values = self._transform(x)[:, :, None]
        return Spectrum(values, ky, kx, torch.ones_like(kx), (x.shape[-2], x.shape[-1]))

    def inverse(self, spectrum: Spectrum) -> Tensor:
        return self._transform(spectrum.values[:, :, 0])

    def _transform(self, x: Tensor) -> Tensor:
        if self.backend == "fft":
            real, imaginary = torch.view_as_real(torch.fft.fft2(x, norm="ortho")).unbind(-1)
            return real - imaginary
        (cy, sy), (cx, sx) = dft(x.shape[-2], x), dft(x.shape[-1], x)
        return cy @ x @ (cx + sx) + sy @ x @ (cx - sx)  # cas(a + b) = cos a cas b + sin a cas(-b)


class Haar(Transform):
    """One level of the Haar wavelet: mean and three differences of 2 x 2 pixels, over 2.

    Odd sides are padded by a row or column of zeros.
    """

    parts = 4

    def forward(self, x: Tensor) -> Spectrum:
        h, w = x.shape[-2:]
        x = F.pad(x, (0, w % 2, 0, h % 2))
        quads = F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))  # (B, C, 4, H/2, W/2)
        values = torch.einsum("ij,bcjhw->bcihw", _haar(x), quads)
        zero = x.new_zeros(())  # coefficients belong to places here, not to frequencies
        ky, kx = zero.expand(values.shape[-2], 1), zero.expand(1, values.shape[-1])
        return Spectrum(values, ky, kx, torch.ones_like(kx), (h, w))

    def inverse(self, spectrum: Spectrum) -> Tensor:
        h, w = spectrum.size
        quads = torch.einsum("ij,bcihw->bcjhw", _haar(spectrum.values), spectrum.values)
        return F.pixel_shuffle(quads.flatten(1, 2), 2)[..., :h, :w]


TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "fft": FFT,
    "windowed-fft": WindowedFFT,
    "dct": DCT,
    "hartley": Hartley,
    "haar": Haar,
}


# --- matrices ---------------------------------------------------------------------------------


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept may serve training later
def _matrices(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    k = torch.arange(n, dtype=torch.float64)
    angle = 2 * math.pi / n * (k[:, None] * k % n)  # k j modulo n keeps the angle exact
    fourier = angle.cos() / math.sqrt(n), angle.sin() / math.sqrt(n)
    rows = (math.pi / n * k[:, None] * (k + 0.5)).cos() * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    cos, sin, dct = (m.to(device, dtype) for m in (*fourier, rows))
    return cos, sin, dct


def dft(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi j k / n, over sqrt(n): two matrices (n, n); F = (cos - i sin) x."""
    return _matrices(n, like.dtype, like.device)[:2]


def cosines(n: int, like: Tensor) -> Tensor:
    """The orthonormal matrix (n, n) of the DCT-II; row k is the cosine of k half periods."""
    return _matrices(n, like.dtype, like.device)[2]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _half_grid(h: int, w: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    like = torch.empty(0, dtype=dtype, device=device)
    return signed(h, like)[:, None], signed(w, like).abs()[None, : w // 2 + 1], halves(w, like)


def _phases(n: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    k = torch.arange(n, device=like.device, dtype=like.dtype)
    angle, scale = math.pi * k / (2 * n), torch.full_like(k, math.sqrt(2 / n))
    return angle.cos(), angle.sin(), torch.where(k == 0, scale / math.sqrt(2), scale)


def _haar(like: Tensor) -> Tensor:
    signs = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
    return torch.tensor(signs, device=like.device, dtype=like.dtype) / 2


def signed(n: int, like: Tensor) -> Tensor:
    """Frequencies of an FFT of n pixels in cycles per pixel: 0, 1/n, ..., -1/n."""
    return torch.fft.fftfreq(n, device=like.device, dtype=like.dtype)


def halves(w: int, like: Tensor) -> Tensor:
    """Parseval weights (1, K) of the columns of a half spectrum."""
    weights = torch.full((1, w // 2 + 1), 2.0, device=like.device, dtype=like.dtype)
    weights[:, 0] = 1
    if w % 2 == 0:
        weights[:, -1] = 1
    return weights
