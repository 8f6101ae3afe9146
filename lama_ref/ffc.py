"""Fast Fourier convolution (FFC): one layer whose global branch sees the whole image.

Read from top to bottom; each part is used by the next:

    FourierUnit         1x1 convolution, BatchNorm and ReLU on the spectrum
    SpectralTransform   FourierUnit between two 1x1 convolutions: the global branch
    FFC                 four paths between a local and a global half of the channels
    FFCBlock            FFC, then BatchNorm and activation for each half
    FFCResidualBlock    x + FFCBlock(FFCBlock(x)), the unit that generators repeat

Shapes: B batch, C channels, H x W pixels, K = W // 2 + 1 columns of the half spectrum. A map
split in halves travels as the pair ``(local, global)``; a half without channels is ``None``.
Attributes are named as in the published checkpoints, so that a state dict fits as it is.
Sources: Chi, Jiang, Mu, "Fast Fourier Convolution", NeurIPS 2020; LaMa, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Halves: TypeAlias = tuple[Tensor | None, Tensor | None]
GlobalBranch: TypeAlias = Callable[..., nn.Module]
"""``factory(c_in, c_out, *, stride, groups)`` giving a module that maps real (B, c_in, H, W)
to (B, c_out, H / stride, W / stride): the plug-in point for variants of the FFC."""


def split_channels(channels: int, ratio: float) -> tuple[int, int]:
    """Numbers of (local, global) channels; the global share is truncated, as published."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"the global ratio must lie in [0, 1], not {ratio}")
    c_global = int(channels * ratio)
    return channels - c_global, c_global


def real_fft(x: Tensor, norm: str = "ortho") -> Tensor:
    """Half spectrum of a real map, as real channels: (B, C, H, W) -> (B, 2C, H, K).

    Channels 2c and 2c + 1 hold the real and the imaginary part of channel c. Half precision is
    widened to float32 first: a DC coefficient sums H * W values.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    pairs = torch.view_as_real(torch.fft.rfft2(x, norm=norm))  # (B, C, H, K, 2)
    return pairs.movedim(-1, 2).flatten(1, 2)  # (B, 2C, H, K)


def inverse_real_fft(z: Tensor, size: tuple[int, int], norm: str = "ortho") -> Tensor:
    """Inverse of :func:`real_fft`, defined for every input: (B, 2C, H, K) -> (B, C, H, W).

    After a ReLU the columns kx = 0 and (even W) kx = W / 2 need no longer belong to a real
    image, and vendors' libraries then return different images. Projecting those columns onto
    the nearest ones that do changes nothing on a CPU beyond rounding, and makes all devices
    agree. ``size`` is (H, W): the width cannot be read off K = W // 2 + 1.
    """
    if z.shape[-2:] != (size[0], size[1] // 2 + 1):
        raise ValueError(f"a {tuple(z.shape[-2:])} half spectrum is not that of {tuple(size)}")
    z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    pairs = z.unflatten(1, (-1, 2)).movedim(2, -1).contiguous()  # (B, C, H, K, 2)
    spectrum = hermitian(torch.view_as_complex(pairs), size[1])  # (B, C, H, K) complex
    return torch.fft.irfft2(spectrum, s=size, norm=norm)  # (B, C, H, W)


def hermitian(spectrum: Tensor, width: int) -> Tensor:
    """Make the self-conjugate columns of a half spectrum those of a real image.

    F(ky) <- (F(ky) + conj F(-ky)) / 2 for kx = 0 and, when ``width`` is even, kx = width / 2;
    all other columns have their mirror image outside the half spectrum.
    """

    def project(column: Tensor) -> Tensor:  # (B, C, H, 1)
        mirrored = column.flip(-2).roll(1, -2)  # row ky now holds F(-ky)
        return (column + mirrored.conj()) / 2

    first, rest = spectrum.split([1, spectrum.shape[-1] - 1], -1)
    if width % 2:
        return torch.cat([project(first), rest], -1)
    return torch.cat([project(first), rest[..., :-1], project(rest[..., -1:])], -1)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a number in (0, 1) computed from all channel means."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        squeezed = max(1, channels // reduction)
        down = nn.Linear(channels, squeezed, bias=False)
        up = nn.Linear(squeezed, channels, bias=False)
        self.fc = nn.Sequential(down, nn.ReLU(), up, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((-2, -1)))[..., None, None]


class FourierUnit(nn.Module):
    """The spectral heart: z' = ReLU(BN(W z)) at every frequency, with one W for all of them.

    (B, c_in, H, W) -> (B, c_out, H, W), any H, W >= 1.

    Args:
        c_in, c_out: channels of the image maps; W maps 2 c_in to 2 c_out real channels.
        groups: of the 1x1 convolution; ``norm``: normalisation of both transforms.
        position, squeeze_excitation, scale: options of the published code, off in LaMa: two
            more channels that say which frequency it is; spectral channels scaled by their
            means; the unit run on a map resized by this factor.
    """

    def __init__(
        self, c_in: int, c_out: int, *, groups: int = 1, position: bool = False,
        squeeze_excitation: bool = False, scale: float | None = None, norm: str = "ortho",
    ):  # fmt: skip
        super().__init__()
        self.position, self.scale, self.norm = position, scale, norm
        c_spectrum = 2 * c_in + (2 if position else 0)
        self.conv_layer = nn.Conv2d(c_spectrum, 2 * c_out, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(2 * c_out)
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcitation(c_spectrum) if squeeze_excitation else None

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):  # DC can overflow float16
                return FourierUnit.forward(self, x)
        full_size, dtype = x.shape[-2:], self.conv_layer.weight.dtype
        if self.scale is not None:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear")
        z = real_fft(x, self.norm).to(dtype)  # (B, 2 c_in, H, K)
        z = torch.cat([frequency_ramps(z), z], 1) if self.position else z
        z = self.se(z) if self.se is not None else z
        z = self.relu(self.bn(self.conv_layer(z)))  # (B, 2 c_out, H, K)
        y = inverse_real_fft(z, (x.shape[-2], x.shape[-1]), self.norm).to(dtype)
        return y if self.scale is None else F.interpolate(y, size=full_size, mode="bilinear")


def frequency_ramps(z: Tensor) -> Tensor:
    """Row and column index of each frequency, scaled to 0..1: (B, 2, H, K)."""
    axes = [torch.linspace(0, 1, n, device=z.device, dtype=z.dtype) for n in z.shape[-2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(z), -1, -1, -1)


class LocalFourierUnit(FourierUnit):
    """A Fourier unit on the four quadrants of a quarter of the channels (off in LaMa).

    The quadrants are stacked on channels (top left, bottom left, top right, bottom right),
    transformed together, and tiled 2 x 2. Odd sides are padded by repeating the last row or
    column and cropped afterwards. On even square maps this is exactly the published unit,
    which fails on all others.
    """

    def __init__(self, channels: int):
        if channels % 4:
            raise ValueError(f"local Fourier units need channels divisible by 4, not {channels}")
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = F.pad(x[:, : x.shape[1] // 4], (0, w % 2, 0, h % 2), mode="replicate")  # (B, C/4, H, W)
        x = torch.cat(x.chunk(2, -2), 1)  # (B, C/2, H/2, W)
        x = torch.cat(x.chunk(2, -1), 1)  # (B, C, H/2, W/2)
        return super().forward(x).tile(2, 2)[..., :h, :w]  # (B, C, H, W)


class SpectralTransform(nn.Module):
    """The global branch of LaMa: y = conv2(x + FU(x) + LFU(x)), x = ReLU(BN(conv1(input))).

    (B, c_in, H, W) -> (B, c_out, H / stride, W / stride), rounded up; paper, figure 2. It is
    a :data:`GlobalBranch`; ``fourier_options`` go to the Fourier unit.
    """

    def __init__(
        self, c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, lfu: bool = False,
        **fourier_options,
    ):  # fmt: skip
        super().__init__()
        hidden = max(1, c_out // 2)
        self.downsample = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        conv = nn.Conv2d(c_in, hidden, 1, groups=groups, bias=False)
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True))
        self.fu = FourierUnit(hidden, hidden, groups=groups, **fourier_options)
        self.lfu = LocalFourierUnit(hidden) if lfu else None
        self.conv2 = nn.Conv2d(hidden, c_out, 1, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.downsample(x))  # (B, c_out/2, H/stride, W/stride)
        y = x + self.fu(x) if self.lfu is None else x + self.fu(x) + self.lfu(x)
        return self.conv2(y)  # (B, c_out, H/stride, W/stride)


class FFC(nn.Module):
    """Fast Fourier convolution: four paths between the local and the global half.

        local'  = conv_ll(local) + conv_gl(global)
        global' = conv_lg(local) + spectral(global)

    The three conv paths pad by reflection; a path exists where both its ends have channels.

    Args:
        c_in, c_out: total channels; ``ratio_in``, ``ratio_out``: their global shares.
        kernel, stride, padding, dilation, groups: of the local convolutions; stride 1 or 2.
        gated: scale both crossing paths by maps in (0, 1) that a 1x1 convolution of both
            halves yields (off in LaMa).
        global_branch: what replaces :class:`SpectralTransform`; see :data:`GlobalBranch`.
        spectral_options: for :class:`SpectralTransform` (``lfu``, ``position``, ...).
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 3, ratio_in: float = 0.75,
        ratio_out: float = 0.75, *, stride: int = 1, padding: int = 0, dilation: int = 1,
        groups: int = 1, gated: bool = False, global_branch: GlobalBranch | None = None,
        **spectral_options,
    ):  # fmt: skip
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"the stride of an FFC must be 1 or 2, not {stride}")
        if global_branch is not None and spectral_options:
            raise ValueError(f"give {sorted(spectral_options)} to global_branch's factory instead")
        self.stride = stride
        self.channels_in = l_in, g_in = split_channels(c_in, ratio_in)
        l_out, g_out = split_channels(c_out, ratio_out)

        def conv(a: int, b: int) -> nn.Conv2d | None:
            shape = (a, b, kernel, stride, padding, dilation, groups)
            return nn.Conv2d(*shape, bias=False, padding_mode="reflect") if a and b else None

        self.convl2l = conv(l_in, l_out)
        self.convl2g = conv(l_in, g_out)
        self.convg2l = conv(g_in, l_out)
        branch = global_branch or SpectralTransform
        spectral_options |= {"stride": stride, "groups": max(1, groups // 2)}
        self.convg2g = branch(g_in, g_out, **spectral_options) if g_in and g_out else None
        self.gate = nn.Conv2d(c_in, 2, 1) if gated and l_in and g_in and l_out else None

    def forward(self, x: Tensor | Halves) -> Halves:
        local, glob = (x, None) if isinstance(x, Tensor) else x
        given = tuple(0 if half is None else half.shape[1] for half in (local, glob))
        if given != self.channels_in:
            raise ValueError(f"(local, global) channels must be {self.channels_in}, not {given}")
        to_local = to_global = None
        if self.gate is not None and local is not None and glob is not None:
            gates = torch.sigmoid(self.gate(torch.cat([local, glob], 1)))  # (B, 2, H, W)
            to_local, to_global = gates[..., :: self.stride, :: self.stride].split(1, 1)
        return (
            _sum(_apply(self.convl2l, local), _apply(self.convg2l, glob, to_local)),
            _sum(_apply(self.convg2g, glob), _apply(self.convl2g, local, to_global)),
        )


def _apply(path: nn.Module | None, x: Tensor | None, gate: Tensor | None = None) -> Tensor | None:
    if path is None or x is None:
        return None
    return path(x) if gate is None else path(x) * gate


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


class FFCBlock(nn.Module):
    """FFC, then BatchNorm and ``activation`` on each half that exists."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 3, ratio_in: float = 0.75,
        ratio_out: float = 0.75, *,
        activation: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True), **options,
    ):  # fmt: skip
        super().__init__()
        self.ffc = FFC(c_in, c_out, kernel, ratio_in, ratio_out, **options)
        l_out, g_out = split_channels(c_out, ratio_out)
        self.bn_l = nn.BatchNorm2d(l_out) if l_out else None
        self.bn_g = nn.BatchNorm2d(g_out) if g_out else None
        self.act_l, self.act_g = activation(), activation()

    def forward(self, x: Tensor | Halves) -> Halves:
        local, glob = self.ffc(x)
        local = local if self.bn_l is None else self.act_l(self.bn_l(local))
        glob = glob if self.bn_g is None else self.act_g(self.bn_g(glob))
        return local, glob


class FFCResidualBlock(nn.Module):
    """x + FFCBlock(FFCBlock(x)), half by half.

    As published, the ReLU stands *before* the addition and nothing follows it, so the residual
    can only add; the residual block of LaMa-Regular has none there.
    """

    def __init__(self, channels: int, ratio: float = 0.75, *, dilation: int = 1, **options):
        super().__init__()
        options |= {"padding": dilation, "dilation": dilation}
        self.conv1 = FFCBlock(channels, channels, 3, ratio, ratio, **options)
        self.conv2 = FFCBlock(channels, channels, 3, ratio, ratio, **options)

    def forward(self, x: Tensor | Halves) -> Halves:
        x = (x, None) if isinstance(x, Tensor) else x
        local, glob = self.conv2(self.conv1(x))
        return _sum(local, x[0]), _sum(glob, x[1])
