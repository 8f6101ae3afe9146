"""Two discriminators: image -> maps of scores, one score for each patch, and hidden features.

:class:`Discriminator` is LaMa's, and learns everything from the pictures that it is shown.
:class:`ProjectedDiscriminator` learns to judge what a network that already knows photographs sees
in them; in the hours that a CPU has, it alone learns. Both see the image alone: the mask enters
through the labels of the loss, not through the input.

Sources: LaMa section 2.2.2; layout of Wang et al., pix2pixHD, CVPR 2018; Sauer et al., Projected
GANs converge faster, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .perceptual import Features


class Discriminator(nn.Module):
    """4x4 convolutions: ``layers`` of stride 2, one of stride 1, one to a single channel.

    Image (B, 3, H, W) -> logits (B, 1, h, w) and the list of ``layers + 1`` feature maps that
    the feature-matching loss compares. 256 px give 19 x 19 logits, 64 px give 7 x 7.

    Args:
        width: channels of the first layer; doubled by each layer, up to ``max_width``.
        layers: number of stride-2 convolutions; the published networks have 4.
        max_width: upper limit of the doubling.
    """

    def __init__(self, width: int = 64, layers: int = 4, max_width: int = 512):
        super().__init__()
        if min(width, layers, max_width) < 1:
            raise ValueError(
                "width, layers and max_width must be at least 1, "
                f"not {width}, {layers} and {max_width}"
            )
        self.width, self.layers, self.max_width = width, layers, max_width
        widths = [min(max_width, width * 2**i) for i in range(layers)]
        widths.append(min(max_width, 2 * widths[-1]))
        stages = [nn.Sequential(nn.Conv2d(3, widths[0], 4, 2, 2), nn.LeakyReLU(0.2, inplace=True))]
        for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            stride = 2 if i < layers else 1
            stages.append(
                nn.Sequential(
                    nn.Conv2d(a, b, 4, stride, 2),
                    nn.BatchNorm2d(b),
                    nn.LeakyReLU(0.2, inplace=True),
                )
            )
        stages.append(nn.Sequential(nn.Conv2d(widths[-1], 1, 4, 1, 2)))
        for i, stage in enumerate(stages):  # names of the published checkpoints: model0, ...
            self.add_module(f"model{i}", stage)

    def grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Sides [(h, w)] of the map of logits for pictures of height x width pixels."""
        for _ in range(self.layers):  # kernel 4, stride 2, padding 2
            height, width = height // 2 + 1, width // 2 + 1
        return [(height + 2, width + 2)]  # two of stride 1, padding 2

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"a discriminator takes (B, 3, H, W) images, not {tuple(image.shape)}")
        features = [image]
        for stage in self.children():
            features.append(stage(features[-1]))
        return features[-1], features[1:-1]


class ProjectedDiscriminator(nn.Module):
    """Small heads on the frozen features of a network: one map of scores from each layer.

    Image (B, 3, H, W) -> logits, a list of (B, 1, h, w), one for each layer of ``features`` and
    of its size, and the heads' hidden maps, for the feature-matching loss. Each head sees its
    layer through a random 1x1 convolution that is never trained: it mixes the channels, so that
    no few of them decide. Spectral normalisation keeps a head's slope, and so the game, in bounds.

    Args:
        features: image -> feature maps of about unit variance, such as
            :class:`~lama_ref.perceptual.EfficientNetLite`. It is neither trained nor saved here;
            None for one that :meth:`look_through` sets later.
        channels: of each of its maps.
        width: channels within a head.
    """

    def __init__(self, features: Features | None, channels: Sequence[int], width: int = 64):
        super().__init__()
        self.look_through(features)
        self._grids: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.channels, self.width = tuple(channels), width
        self.heads = nn.ModuleList(_Head(c, width) for c in channels)

    def look_through(self, features: Features | None) -> None:
        """Set the network whose features are judged."""
        self._features = (features,)  # a tuple hides it: not one of this module's parts

    def grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Sides [(h, w), ...] of the maps of logits for pictures of height x width pixels."""
        if (height, width) not in self._grids:
            with torch.no_grad():
                device = next(self.parameters()).device
                maps = self._seen(torch.zeros(1, 3, height, width, device=device))
            self._grids[height, width] = [(m.shape[-2], m.shape[-1]) for m in maps]
        return self._grids[height, width]

    def _seen(self, image: Tensor) -> list[Tensor]:
        (features,) = self._features
        if features is None:
            raise ValueError("this ProjectedDiscriminator has no features: see look_through")
        return features(image)

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        judged = [head(seen) for head, seen in zip(self.heads, self._seen(image))]
        return [logits for logits, _ in judged], [x for _, hidden in judged for x in hidden]


class _Head(nn.Module):
    """Features (B, C, h, w) -> logits (B, 1, h, w) and the two hidden maps before them."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        mix = nn.Conv2d(channels, width, 1, bias=False).weight.detach()
        self.register_buffer("mix", nn.init.kaiming_normal_(mix))  # a buffer: never trained
        self.conv1 = norm(nn.Conv2d(width, width, 3, 1, 1))
        self.conv2 = norm(nn.Conv2d(width, width, 3, 1, 1))
        self.last = norm(nn.Conv2d(width, 1, 1))

    def forward(self, seen: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = F.leaky_relu(self.conv1(F.conv2d(seen, self.get_buffer("mix"))), 0.2)
        y = F.leaky_relu(self.conv2(x), 0.2)
        return self.last(y), [x, y]


def build_discriminator(width: int = 64, layers: int = 4, max_width: int = 512) -> Discriminator:
    """The published patch discriminator with fresh weights (6.96 M parameters by default)."""
    return Discriminator(width, layers, max_width)
