"""Controls for the race: global branches without a spectrum, in the same block."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..ffc import GlobalBranch


class Spatial(nn.Module):
    """The block of LaMa around something that works on pixels: conv2(x + branch(x))."""

    def __init__(
        self, c_in: int, c_out: int, *, stride: int, groups: int,
        branch: Callable[[int], nn.Module], resolution_free: bool = True,
    ):  # fmt: skip
        super().__init__()
        hidden = max(1, c_out // 2)
        self.downsample = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        conv = nn.Conv2d(c_in, hidden, 1, groups=groups, bias=False)
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True))
        self.branch = branch(hidden)
        self.conv2 = nn.Conv2d(hidden, c_out, 1, groups=groups, bias=False)
        self.resolution_free, self.batch_independent = resolution_free, True

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.downsample(x))
        return self.conv2(x + self.branch(x))


class Attention(nn.Module):
    """softmax(Q K^T) V over a grid of at most 16 x 16 means, enlarged to the map."""

    def __init__(self, channels: int, grid: int = 16) -> None:
        super().__init__()
        self.grid = grid
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        coarse = F.adaptive_avg_pool2d(x, (min(h, self.grid), min(w, self.grid)))
        q, k, v = self.qkv(coarse).flatten(2).transpose(1, 2).chunk(3, -1)  # (B, N, C)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        seen = seen.unflatten(2, coarse.shape[-2:])
        return F.interpolate(seen, size=(h, w), mode="bilinear", align_corners=True)


def large_kernel(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
    """y = conv2(x + W1 ReLU(BN(D x))), D a depthwise 13 x 13 convolution: far, but not global.

    Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022.
    """

    def branch(channels: int) -> nn.Module:
        depthwise = nn.Conv2d(channels, channels, 13, padding=6, groups=channels, bias=False)
        return nn.Sequential(
            depthwise, nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )

    return Spatial(c_in, c_out, stride=stride, groups=groups, branch=branch)


def attention(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
    """y = conv2(x + softmax(Q K^T) V): every place asks every other, on a coarse grid.

    Vaswani et al., NeurIPS 2017.
    """
    return Spatial(c_in, c_out, stride=stride, groups=groups, branch=Attention)


def identity(c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
    """y = conv2(2 x): the block without its spectrum, which tells what the spectrum is worth.

    Own control.
    """
    return Spatial(c_in, c_out, stride=stride, groups=groups, branch=lambda channels: nn.Identity())


CONTROLS: dict[str, GlobalBranch] = {
    "large-kernel": large_kernel,
    "attention": attention,
    "identity": identity,
}
