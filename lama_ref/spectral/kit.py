"""What variants of the global branch are made of: a transform, a mixer, and the block around them.

    Spectrum        coefficients as real channels, with the frequency that each belongs to
    Transform       map -> Spectrum -> map; those that there are: :mod:`.transforms`
    Mixer           Spectrum -> Spectrum: what is learned
    SpectralBlock   conv1, x + inverse(mixer(transform(x))), conv2: LaMa's global branch around them

Published variants of the fast Fourier convolution differ in one of these three places, so each is
about ten lines (:mod:`.variants`). No complex tensor leaves a transform: autocast, compilers and
export know real numbers only.

Shapes: B batch, C channels, H x W pixels; r real parts per coefficient (FFT 2, DCT and Hartley 1,
Haar 4), Hk x Wk coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

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
        transform: of :data:`.transforms.TRANSFORMS`, or one of your own.
        skip: whether x itself is added.
        extra: builds a further branch (B, C, H, W) -> (B, C, H, W), from the number of channels.
    """

    def __init__(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1,
        mixer: Callable[[int], nn.Module], transform: Transform, skip: bool = True,
        extra: Callable[[int], nn.Module] | None = None,
    ):  # fmt: skip
        super().__init__()
        hidden = max(1, c_out // 2)
        self.skip, self.transform = skip, transform
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
