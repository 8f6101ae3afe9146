"""What variants of the global branch are made of: a transform, a mixer, and the block around them.

    Spectrum        coefficients as real channels, with the frequency that each belongs to
    Transform       map -> Spectrum -> map: FFT, WindowedFFT, DCT, Hartley, Haar
    Mixer           Spectrum -> Spectrum: what is learned
    SpectralBlock   conv1, x + inverse(mixer(transform(x))), conv2: LaMa's global branch around them

Published variants of the fast Fourier convolution differ in one of these three places, so each is
about ten lines (:mod:`.variants`). No complex tensor leaves a transform: autocast, compilers and
export know real numbers only. Every transform is orthonormal, and has two backends that agree:
``"fft"`` is quick, ``"matmul"`` is a product with a cosine and a sine matrix, which runs anywhere.

Shapes: B batch, C channels, H x W pixels; r real parts per coefficient (FFT 2, DCT and Hartley 1,
Haar 4), Hk x Wk coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ffc import inverse_real_fft, real_fft

Size = tuple[int, int]
Backend = Literal["fft", "matmul"]


@dataclass(frozen=True)
class Spectrum:
    """The coefficients of a map: a value that transforms make and mixers map.

    Attributes:
        values: (B, C, r, Hk, Wk) real; B counts the windows of a windowed transform as well.
        ky, kx: (Hk, 1), (1, Wk) frequencies in cycles per pixel, signed where the transform
            tells directions apart: -1/2 to 1/2.
        weights: (1, Wk) how often a coefficient counts in the energy of the map (Parseval): 2 for
            columns of a half spectrum whose mirror image is left out, else 1.
        size: (H, W) of the map.
    """

    values: Tensor
    ky: Tensor
    kx: Tensor
    weights: Tensor
    size: Size

    def channels(self) -> Tensor:
        """The values as a map of real channels, (B, C r, Hk, Wk): channel c has parts c r + i."""
        return self.values.flatten(1, 2)

    def with_channels(self, z: Tensor) -> Spectrum:
        """The same frequencies with other values, given as :meth:`channels`."""
        return replace(self, values=z.unflatten(1, (-1, self.values.shape[2])))

    def energy(self) -> Tensor:
        """Sum of squares of the map, read off its coefficients: scalar."""
        return (self.weights * self.values.square()).sum()


class Transform(nn.Module):
    """A map (B, C, H, W) to its :class:`Spectrum`, and back with ``inverse``; any H, W >= 1.

    A transform of your own gives ``parts`` (r), ``forward`` and ``inverse``.
    """

    parts = 1

    def __init__(self, backend: Backend = "fft") -> None:
        super().__init__()
        if backend not in ("fft", "matmul"):
            raise ValueError(f"the backend must be 'fft' or 'matmul', not {backend!r}")
        self.backend = backend

    def inverse(self, spectrum: Spectrum) -> Tensor:
        """(B, C, H, W): the map that has these coefficients."""
        raise NotImplementedError


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
        ky, kx = signed(h, x)[:, None], (signed(w, x).abs()[: w // 2 + 1])[None]
        return Spectrum(values, ky, kx, halves(w, x), (h, w))

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


class Mixer(nn.Module):
    """Spectrum -> Spectrum; what a variant learns. Says of itself what the contract then tests.

    Attributes:
        resolution_free: works alike on maps of any size.
        batch_independent: in evaluation mode, each sample is treated as if it were alone.
        reference_size: (H, W) to which weights tied to frequencies belong; they are resized.
    """

    resolution_free = True
    batch_independent = True
    reference_size: Size | None = None


class Pointwise(Mixer):
    """z' = act(norm(W z)) at every frequency, with one W for all: LaMa's Fourier unit.

    Attributes are named as in published checkpoints.
    """

    def __init__(
        self, c_in: int, c_out: int, parts: int, *, groups: int = 1, norm: bool = True,
        activation: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True),
    ):  # fmt: skip
        super().__init__()
        self.conv_layer = nn.Conv2d(parts * c_in, parts * c_out, 1, groups=groups, bias=not norm)
        self.bn = nn.BatchNorm2d(parts * c_out) if norm else nn.Identity()
        self.relu = activation()

    def forward(self, spectrum: Spectrum) -> Spectrum:
        return spectrum.with_channels(self.relu(self.bn(self.conv_layer(spectrum.channels()))))


class SpectralBlock(nn.Module):
    """y = conv2(x + inverse(mixer(transform(x))) + extra(x)), x = ReLU(BN(conv1(input))).

    (B, c_in, H, W) -> (B, c_out, H / stride, W / stride), rounded up. Whatever autocast says, the
    spectrum is computed in float32 (or the weights' float64): its DC sums H W values.

    Args:
        mixer: builds the mixer, from the number of channels: ``mixer(channels) -> Mixer``.
        transform: of :data:`TRANSFORMS`, or one of your own.
        skip: whether x itself is added.
        extra: builds a further branch (B, C, H, W) -> (B, C, H, W), from the number of channels.
    """

    def __init__(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1,
        mixer: Callable[[int], nn.Module], transform: Transform | None = None, skip: bool = True,
        extra: Callable[[int], nn.Module] | None = None,
    ):  # fmt: skip
        super().__init__()
        hidden = max(1, c_out // 2)
        self.skip, self.transform = skip, FFT() if transform is None else transform
        self.downsample = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        conv = nn.Conv2d(c_in, hidden, 1, groups=groups, bias=False)
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True))
        self.fu = mixer(hidden)
        self.lfu = extra(hidden) if extra is not None else None
        self.conv2 = nn.Conv2d(hidden, c_out, 1, groups=groups, bias=False)
        self.resolution_free = getattr(self.fu, "resolution_free", True)
        self.batch_independent = getattr(self.fu, "batch_independent", True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.downsample(x))
        y = self._global(x)
        y = x + y if self.skip else y
        return self.conv2(y if self.lfu is None else y + self.lfu(x))

    def _global(self, x: Tensor) -> Tensor:
        dtype = self.conv2.weight.dtype
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._global(x.to(dtype))
        return self.transform.inverse(self.fu(self.transform(x)))


# --- matrices ---------------------------------------------------------------------------------


@lru_cache(maxsize=64)
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
