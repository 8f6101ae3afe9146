"""Variants of the global branch by name: published ones, controls, and your own.

A variant is a factory ``(c_in, c_out, *, stride, groups) -> module`` that maps real (B, c_in, H, W)
to (B, c_out, H / stride, W / stride), registered by :func:`register_spectral`. Its name then goes
wherever a generator is described: ``GeneratorConfig(spectral="dct")``, ``lama-ref train --spectral
dct``. The first line of its docstring is its formula, the last names its source. z are the
coefficients of a map x, k a frequency; see :mod:`.kit` for the block around them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ..ffc import GlobalBranch, SpectralTransform
from .controls import CONTROLS
from .filters import GlobalFilter, LowModes, times
from .kit import Mixer, Pointwise, SpectralBlock, Spectrum, Transform
from .transforms import DCT, FFT, Haar, Hartley, WindowedFFT

VARIANTS: dict[str, GlobalBranch] = {}
"""Registered factories by name. "ffc" is LaMa's."""


def register_spectral(name: str) -> Callable[[GlobalBranch], GlobalBranch]:
    """Decorator: the factory is found by ``name`` from now on, in this process.

    Registering the same definition again (a notebook cell that is run twice) replaces it.

    Raises:
        ValueError: the name is empty, has other characters than a-z, 0-9, "-", "_" and ".", or
            belongs to a variant that ships.
        TypeError: what is registered cannot be called.
    """
    if not name or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-_."):
        raise ValueError(f"a variant's name has a-z, 0-9, '-', '_' and '.' alone, not {name!r}")
    if name in SHIPPED:
        raise ValueError(f"{name!r} is a variant that ships with lama_ref: choose another name")

    def register(factory: GlobalBranch) -> GlobalBranch:
        if not callable(factory):
            raise TypeError(f"a variant is a factory, not a {type(factory).__name__}")
        VARIANTS[name] = factory
        return factory

    return register


def find_spectral(name: str) -> GlobalBranch:
    """The factory of a name.

    Raises:
        ValueError: none of that name is registered in this process.
    """
    if name not in VARIANTS:
        raise ValueError(
            f"no spectral variant {name!r} is registered: import the module that registers it "
            f"(on the command line --plugin MODULE.py), or choose from {', '.join(VARIANTS)}"
        )
    return VARIANTS[name]


def name_of(factory: GlobalBranch) -> str | None:
    """The name under which a factory is registered, or None."""
    return next((name for name, other in VARIANTS.items() if other is factory), None)


SHIPPED: tuple[str, ...] = ()  # while those below register themselves


# --- the published layer and its options ----------------------------------------------------------

register_spectral("ffc")(SpectralTransform)


@register_spectral("ffc-lfu")
def local_fourier_unit(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
    """y = conv2(x + FU(x) + LFU(x)): a second unit sees the four quadrants of the map.

    The number of hidden channels must be a multiple of 4.
    Chi, Jiang, Mu, "Fast Fourier Convolution", NeurIPS 2020.
    """
    return SpectralTransform(c_in, c_out, stride=stride, groups=groups, lfu=True)


def pointwise(transform: Transform, **options) -> GlobalBranch:
    """LaMa's unit around another transform: a factory."""

    def factory(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
        def mixer(channels: int) -> Mixer:
            return Pointwise(channels, channels, transform.parts, groups=groups, **options)

        return SpectralBlock(
            c_in, c_out, stride=stride, groups=groups, mixer=mixer, transform=transform
        )

    return factory


@register_spectral("ffc-no-bn")
def without_batchnorm(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
    """z' = LeakyReLU(W z + b): no statistics of the batch in the spectrum.

    Zhang et al., "SwinFIR", arXiv 2208.11247 (its spectral branch).
    """
    branch = pointwise(FFT(), norm=False, activation=partial(nn.LeakyReLU, 0.2))
    return branch(c_in, c_out, stride=stride, groups=groups)


class Complex(Mixer):
    """z' = ReLU(BN((A + iB) z)): one complex number per pair of channels, [[A, -B], [B, A]]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 1, bias=False)
        self.b = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * channels)

    def forward(self, spectrum: Spectrum) -> Spectrum:
        real, imaginary = spectrum.values.unbind(2)
        turned = (self.a(real) - self.b(imaginary), self.a(imaginary) + self.b(real))
        z = torch.stack(turned, 2).flatten(1, 2)  # (B, 2C, Hk, Wk)
        return spectrum.with_channels(F.relu(self.bn(z)))


class Position(Pointwise):
    """z' = ReLU(BN(W [z; |ky|; kx])): told at which frequency it is, in cycles per pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 2)
        self.conv_layer = nn.Conv2d(2 * channels + 2, 2 * channels, 1, bias=False)

    def forward(self, spectrum: Spectrum) -> Spectrum:
        z = spectrum.channels()
        ramps = torch.broadcast_tensors(spectrum.ky.abs(), spectrum.kx)
        z = torch.cat([torch.stack(ramps).to(z).expand(len(z), -1, -1, -1), z], 1)
        return spectrum.with_channels(self.relu(self.bn(self.conv_layer(z))))


class Gated(Pointwise):
    """z' = (W z) sigmoid(V z + b): how much of each coefficient passes depends on the others."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 2, norm=False, activation=nn.Identity)
        self.gate = nn.Conv2d(2 * channels, 2 * channels, 1)

    def forward(self, spectrum: Spectrum) -> Spectrum:
        z = spectrum.channels()
        return spectrum.with_channels(self.conv_layer(z) * torch.sigmoid(self.gate(z)))


# --- multilayer mixers ----------------------------------------------------------------------------


class BlockMLP(Mixer):
    """z' = z + S(W2 ReLU(W1 z)): block-diagonal layers shared by all k; S shrinks softly."""

    def __init__(self, channels: int, blocks: int = 4, shrink: float = 0.01) -> None:
        super().__init__()
        blocks = blocks if channels % blocks == 0 else 1
        self.shrink = shrink
        self.first = nn.Conv2d(2 * channels, 2 * channels, 1, groups=blocks)
        self.second = nn.Conv2d(2 * channels, 2 * channels, 1, groups=blocks)

    def forward(self, spectrum: Spectrum) -> Spectrum:
        z = spectrum.channels()
        new = F.softshrink(self.second(F.relu(self.first(z))), self.shrink)
        return spectrum.with_channels(z + new)


class AdaptiveFilter(BlockMLP):
    """z' = S(MLP(z)) z: the filter for each coefficient is read off the input's own spectrum."""

    def forward(self, spectrum: Spectrum) -> Spectrum:
        z = spectrum.channels()
        mask = F.softshrink(self.second(F.relu(self.first(z))), self.shrink)
        filters = mask.unflatten(1, (-1, 2))
        return spectrum.with_channels(times(filters, spectrum.values).flatten(1, 2))


class Unbiased(Mixer):
    """z' = s z + (1 - s) W2 * ReLU(W1 [z; k]): the spectrum as a map, with 3 x 3 neighbourhoods.

    Its zero frequency is moved to the middle of the rows for the convolution. UFFC's map of
    positions and clipping depend on the size and the batch it was made for; here the frequencies
    themselves take the map's place, and nothing is clipped.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * channels + 2, 2 * channels, 1)
        self.second = nn.Conv2d(2 * channels, 2 * channels, 3, padding=2, dilation=2)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, spectrum: Spectrum) -> Spectrum:
        z = spectrum.channels()
        ramps = torch.stack(torch.broadcast_tensors(spectrum.ky, spectrum.kx)).to(z)
        hidden = F.relu(self.first(torch.cat([z, ramps.expand(len(z), -1, -1, -1)], 1)))
        middle = z.shape[-2] // 2
        mixed = self.second(hidden.roll(middle, -2)).roll(-middle, -2)
        s = self.share.sigmoid()
        return spectrum.with_channels(s * z + (1 - s) * mixed)


def _register(name: str, mixer: Callable[[int], Mixer], source: str, **options) -> None:
    """A variant that differs in its mixer alone; formula and source become its docstring."""

    def factory(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
        return SpectralBlock(
            c_in, c_out, stride=stride, groups=groups, mixer=mixer, transform=FFT(), **options
        )

    factory.__doc__ = f"{(mixer.__doc__ or '').strip()}\n\n{source}"
    register_spectral(name)(factory)


_register("ffc-complex", Complex, "Own control; a complex W as in Trabelsi et al., ICLR 2018.")
_register("ffc-position", Position, "LaMa's option, with true frequencies in place of row numbers.")
_register("ffc-gated", Gated, "Own control; gating after Dauphin et al., ICML 2017.")
_register("gfnet", GlobalFilter, 'Rao et al., "Global Filter Networks", NeurIPS 2021.')
_register("fno", LowModes, 'Li et al., "Fourier Neural Operator", ICLR 2021.')
_register("afno", BlockMLP, "After Guibas et al., ICLR 2022; real blocks.", skip=False)
_register("aff", AdaptiveFilter, "After Huang et al., ICCV 2023; real blocks.")
_register("uffc", Unbiased, "After Chu et al., ICCV 2023.")


# --- other transforms -----------------------------------------------------------------------------


def _register_transform(name: str, transform: type[Transform], source: str) -> None:
    factory, about = pointwise(transform()), (transform.__doc__ or "").partition("\n")[0]
    factory.__doc__ = f"z' = ReLU(BN(W z)) with another transform. {about}\n\n{source}"
    register_spectral(name)(factory)


_register_transform("dct", DCT, "Own control: no wrap-around at the border.")
_register_transform("hartley", Hartley, "Real transform as in Wong et al., arXiv 2310.04466.")
_register_transform("wavelet", Haar, "After Finder et al., ECCV 2024; one level, pointwise.")
_register_transform("windowed", WindowedFFT, "Own control: as LaMa's, within tiles of 8 pixels.")


# --- controls without a spectrum ------------------------------------------------------------------

for _name, _factory in CONTROLS.items():
    register_spectral(_name)(_factory)

SHIPPED = tuple(VARIANTS)
