"""The three generators of the paper: Fourier, Regular and Dilated.

Each is one ``nn.Sequential`` in the attribute ``model``, laid out like the published networks,
so that the keys of a published state dict fit as they are:

    pad, 7x7 conv | n downsamplings (stride 2) | residual blocks | n upsamplings | pad, 7x7 conv

Input: masked image and mask, (B, 4, H, W), hole = 1 and black. Output: (B, 3, H, W) in [0, 1];
H and W multiples of ``2 ** downsamplings``. The paper calls the Fourier network with 18 blocks
Big LaMa-Fourier. Sources: Suvorov et al., WACV 2022, sections 2.1 and 3; Wang et al., pix2pixHD,
CVPR 2018 (the Regular layout).
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ffc import FFCBlock, FFCResidualBlock, GlobalBranch, Halves

SPECTRAL_OPTIONS = ("lfu", "position", "squeeze_excitation")  # of LaMa's own global branch


@dataclass(frozen=True)
class GeneratorConfig:
    """What a generator is made of. The defaults are LaMa-Fourier.

    Attributes:
        kind: "fourier", "regular" or "dilated" residual blocks.
        blocks: number of residual blocks.
        width: channels after the first convolution; doubled by each downsampling.
        downsamplings: number of stride-2 convolutions (and of upsamplings).
        max_width: upper limit of the doubling.
        ratio: share of the global half in Fourier blocks.
        lfu, gated, position, squeeze_excitation: options of the FFC, all off in LaMa.
        spectral: the global branch, a name known to :mod:`lama_ref.spectral.variants`; "ffc" is
            LaMa's. "unregistered" says that a network's branch has no name; it cannot be saved.
        dilations: of the four parallel convolutions of Dilated blocks.
        output: "sigmoid" (published), "tanh" or "none".
    """

    kind: Literal["fourier", "regular", "dilated"] = "fourier"
    blocks: int = 9
    width: int = 64
    downsamplings: int = 3
    max_width: int = 1024
    ratio: float = 0.75
    lfu: bool = False
    gated: bool = False
    position: bool = False
    squeeze_excitation: bool = False
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    output: Literal["sigmoid", "tanh", "none"] = "sigmoid"
    spectral: str = "ffc"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dilations", tuple(self.dilations))  # JSON gives a list
        choices = {"kind": ("fourier", "regular", "dilated"), "output": ("sigmoid", "tanh", "none")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {getattr(self, name)!r}")
        for name, least in {"blocks": 0, "width": 1, "downsamplings": 0, "max_width": 1}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio must lie in [0, 1], not {self.ratio!r}")
        if not self.dilations or any(not isinstance(d, int) or d < 1 for d in self.dilations):
            raise ValueError(f"dilations must be integers of at least 1, not {self.dilations!r}")
        if self.spectral != "ffc":
            if self.kind != "fourier":
                raise ValueError(
                    f"spectral {self.spectral!r} needs kind 'fourier', not {self.kind!r}"
                )
            if given := [n for n in SPECTRAL_OPTIONS if getattr(self, n)]:
                raise ValueError(
                    f"{given} are of spectral 'ffc'; {self.spectral!r} has no such options"
                )

    @property
    def multiple(self) -> int:
        """Input sides must be multiples of this many pixels."""
        return 2**self.downsamplings

    @property
    def smallest(self) -> int:
        """Smallest input side: reflect padding needs maps larger than the padding."""
        pad = max(self.dilations) if self.kind == "dilated" else 1
        bottleneck = pad + 1 if self.blocks else 1
        # at least 4, as the 7x7 convolutions pad by 3
        return max(bottleneck, math.ceil(4 / self.multiple)) * self.multiple


PRESETS: dict[str, GeneratorConfig] = {
    "lama-fourier": GeneratorConfig(),
    "lama-fourier-shallow": GeneratorConfig(blocks=6),
    "big-lama": GeneratorConfig(blocks=18),
    "lama-regular": GeneratorConfig(kind="regular"),
    "lama-regular-deep": GeneratorConfig(kind="regular", blocks=15),
    "lama-dilated": GeneratorConfig(kind="dilated"),
    # Small enough for one CPU. Two downsamplings: three would leave a narrow bottleneck.
    "mini-fourier": GeneratorConfig(blocks=6, width=32, downsamplings=2),
    "mini-regular": GeneratorConfig(kind="regular", blocks=6, width=32, downsamplings=2),
    "mini-dilated": GeneratorConfig(kind="dilated", blocks=6, width=32, downsamplings=2),
    "trio-fourier": GeneratorConfig(blocks=6, width=16, downsamplings=2),
    "trio-regular": GeneratorConfig(kind="regular", blocks=6, width=16, downsamplings=2),
    "trio-dilated": GeneratorConfig(kind="dilated", blocks=6, width=16, downsamplings=2),
    "trio-fourier-shallow": GeneratorConfig(blocks=4, width=16, downsamplings=2),
    "trio-regular-deep": GeneratorConfig(kind="regular", blocks=10, width=16, downsamplings=2),
}
"""The paper's configurations (``lama-*``, ``big-lama``), small ones (``mini-*``), and three that
differ in nothing but the kind and are trained alike (``trio-*``), with a shallow and a deep one for
Table 2 (blocks 6, 4, 10 where the paper has 9, 6, 15)."""


class Generator(nn.Module):
    """A LaMa generator; see the module's documentation for shapes.

    Args:
        config: what to build.
        global_branch: for the Fourier kind, a factory that replaces the spectral transform in
            every residual block (and in the downsampling before them where it has channels), like
            ``config.spectral``; its registered name, if it has one, goes into the config.

    Raises:
        ValueError, TypeError: no variant of that name, or one that gives no module or other shapes.
    """

    def __init__(self, config: GeneratorConfig, *, global_branch: GlobalBranch | None = None):
        super().__init__()
        if global_branch is not None:
            config = replace(config, spectral="unregistered")  # refuses options of LaMa's branch
        if config.spectral != "ffc":
            from .spectral import contract, variants  # which import the layers below this file

            branch = global_branch or variants.find_spectral(config.spectral)
            config = replace(config, spectral=variants.name_of(branch) or "unregistered")
            contract.shapes(branch)
            global_branch = None if config.spectral == "ffc" else branch
        self.config = config
        steps = range(config.downsamplings + 1)
        widths = [min(config.max_width, config.width * 2**i) for i in steps]
        if config.kind == "fourier":
            layers = _fourier_body(config, widths, global_branch)
        else:
            layers = _plain_body(config, widths)
        for a, b in zip(widths[:0:-1], widths[-2::-1]):
            layers += [
                nn.ConvTranspose2d(a, b, 3, 2, padding=1, output_padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(widths[0], 3, 7)]
        layers += {"sigmoid": [nn.Sigmoid()], "tanh": [nn.Tanh()], "none": []}[config.output]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4, H, W) masked image and mask -> (B, 3, H, W)."""
        c = self.config
        if x.ndim != 4 or x.shape[1] != 4:
            raise ValueError(
                f"a generator takes (B, 4, H, W), image * (1 - mask) and mask; got {tuple(x.shape)}"
            )
        if any(side % c.multiple or side < c.smallest for side in x.shape[-2:]):
            raise ValueError(
                f"height and width must be multiples of {c.multiple} and at least {c.smallest} "
                f"for this {c.kind} generator, not {tuple(x.shape[-2:])}: pad the input, "
                "or use lama_ref.Inpainter, which does"
            )
        return self.model(x)


def _fourier_body(
    config: GeneratorConfig, widths: Sequence[int], branch: GlobalBranch | None
) -> list[nn.Module]:
    options: dict = {"gated": config.gated, "global_branch": branch}
    if branch is None:
        options |= {name: getattr(config, name) for name in SPECTRAL_OPTIONS}
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3),
        FFCBlock(4, widths[0], 7, 0, 0 if config.downsamplings else config.ratio, **options),
    ]
    for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
        # Only the last downsampling has a global half to give to the residual blocks.
        ratio = config.ratio if i == config.downsamplings else 0
        layers.append(FFCBlock(a, b, 3, 0, ratio, stride=2, padding=1, **options))
    layers += [FFCResidualBlock(widths[-1], config.ratio, **options) for _ in range(config.blocks)]
    return [*layers, ConcatHalves()]


class ConcatHalves(nn.Module):
    """(local, global) -> one map, local channels first."""

    def forward(self, x: Halves) -> Tensor:
        return torch.cat([half for half in x if half is not None], 1)


def _plain_body(config: GeneratorConfig, widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_conv_bn_relu(4, widths[0], 7)]
    for a, b in zip(widths, widths[1:]):  # zero padding here, unlike the Fourier network
        layers += _conv_bn_relu(a, b, 3, stride=2, padding=1)
    return layers + [ResidualBlock(widths[-1], config) for _ in range(config.blocks)]


def _conv_bn_relu(c_in: int, c_out: int, kernel: int, **options) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, **options), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """x + conv-BN-ReLU-conv-BN(x): the Regular block, or with dilated convolutions."""

    def __init__(self, channels: int, config: GeneratorConfig):
        super().__init__()

        def conv_bn() -> list[nn.Module]:
            norm = nn.BatchNorm2d(channels)
            if config.kind == "dilated":
                return [MultiDilatedConv(channels, channels, config.dilations), norm]
            return [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm]

        self.conv_block = nn.Sequential(*conv_bn(), nn.ReLU(inplace=True), *conv_bn())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class MultiDilatedConv(nn.Module):
    """The sum of 3x3 convolutions with different dilations, each of its share of the channels.

    (B, c_in, H, W) -> (B, c_out, H, W); H and W must exceed the largest dilation. This is the
    published code's "cat_in", the one of its four ways to combine them that LaMa-Dilated takes.
    """

    def __init__(self, c_in: int, c_out: int, dilations: Sequence[int] = (1, 2, 4, 8)):
        super().__init__()
        share, rest = divmod(c_in, len(dilations))
        if rest:
            raise ValueError(
                f"{c_in} input channels cannot be shared equally by {len(dilations)} dilations"
            )
        self.convs = nn.ModuleList(
            nn.Conv2d(share, c_out, 3, padding=d, dilation=d, padding_mode="reflect")
            for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.convs, x.chunk(len(self.convs), 1))
        return functools.reduce(torch.add, [conv(part) for conv, part in parts])


def resolve_config(config: str | GeneratorConfig, **changes) -> GeneratorConfig:
    """A preset's name or a config, with fields replaced; ``ValueError`` names what is unknown.

    A name may bring changes along: "mini-fourier:blocks=4,ratio=0.5,spectral=dct".
    """
    if isinstance(config, str):
        name, _, text = config.partition(":")
        if name not in PRESETS:
            raise ValueError(f"no generator preset {name!r}: choose from {', '.join(PRESETS)}")
        config = PRESETS[name]
        for part in re.split(r",(?=\w+=)", text) if text else ():
            key, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"{part!r} after {name!r} is not FIELD=VALUE")
            changes.setdefault(key, _parsed(value))
    known = [f.name for f in fields(GeneratorConfig)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(f"a generator has no setting {unknown}: it has {', '.join(known)}")
    return replace(config, **changes)


def _parsed(text: str) -> Any:
    """A number, true or false, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_text(config: GeneratorConfig) -> str:
    """A preset's name, with changes if need be: :func:`resolve_config` makes this config of it."""
    for name, preset in PRESETS.items():
        if preset == config:
            return name
    changed = {k: v for k, v in asdict(config).items() if v != getattr(PRESETS["lama-fourier"], k)}
    return "lama-fourier:" + ",".join(f"{k}={json.dumps(v)}" for k, v in changed.items())


def build_generator(
    config: str | GeneratorConfig = "lama-fourier",
    *,
    global_branch: GlobalBranch | None = None,
    **changes,
) -> Generator:
    """A generator with fresh weights, in training mode.

    ``config`` is a name from :data:`PRESETS` or a :class:`GeneratorConfig`, ``changes`` are fields
    of it to replace, such as ``blocks=4``; ``global_branch``: see :class:`Generator`.

    Raises:
        ValueError: unknown preset or field, or a value out of range.
    """
    return Generator(resolve_config(config, **changes), global_branch=global_branch)


def inpaint_batch(
    generator: Callable[[Tensor], Tensor], image: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a generator on images with holes: (prediction, composite), both (B, 3, H, W).

    The composite takes the hole from the prediction and every known pixel from the image.
    """
    prediction = generator(torch.cat([image * (1 - mask), mask], 1))
    return prediction, torch.where(mask > 0.5, prediction, image)


def pad_to(x: Tensor, multiple: int, smallest: int = 1) -> Tensor:
    """Pad below and to the right to multiples of ``multiple`` and at least ``smallest``.

    Mirrors the picture where it is large enough, else repeats its last row or column.
    """
    height, width = x.shape[-2:]
    below, right = (
        max(-(-side // multiple) * multiple, smallest) - side for side in (height, width)
    )
    x = F.pad(x, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return F.pad(x, (0, 0, 0, below), mode="reflect" if below < height else "replicate")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; parts that were frozen within a training network stay so."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
