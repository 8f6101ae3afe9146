"""The patch discriminator: a map of scores, one for each overlapping patch, and its features.

Source: LaMa section 2.3; layout of Wang et al., pix2pixHD, CVPR 2018. It sees the image alone:
the mask enters through the labels of the loss, not through the input.
"""

from __future__ import annotations

from torch import Tensor, nn


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

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Sides (h, w) of the map of logits for pictures of height x width pixels."""
        for _ in range(self.layers):  # kernel 4, stride 2, padding 2
            height, width = height // 2 + 1, width // 2 + 1
        return height + 2, width + 2  # two of stride 1, padding 2

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"a discriminator takes (B, 3, H, W) images, not {tuple(image.shape)}")
        features = [image]
        for stage in self.children():
            features.append(stage(features[-1]))
        return features[-1], features[1:-1]


def build_discriminator(width: int = 64, layers: int = 4, max_width: int = 512) -> Discriminator:
    """The published patch discriminator with fresh weights (6.96 M parameters by default)."""
    return Discriminator(width, layers, max_width)
