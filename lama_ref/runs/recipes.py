"""Recipes: everything that determines a training run, and recipes by name.

Small networks and short runs need help that the published recipe does without. Each helping
choice is a field of :class:`TrainConfig`; the presets "lama-fourier" and "big-lama" use none.

Source: the published training configurations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..generator import GeneratorConfig, as_text, resolve_config
from ..losses import LossWeights
from ..runtime import at_least
from ..training import StepConfig


@dataclass(frozen=True)
class TrainConfig(StepConfig):
    """Everything that determines a run, up to the photographs themselves.

    Attributes:
        generator: preset name, with changes if need be: "mini-fourier:blocks=4,ratio=0.5"; a
            ``GeneratorConfig`` becomes such a text. With ``start`` that file's is taken instead.
        spectral: global branch in place of the generator's, by its registered name.
        data: sources, "scenes", "periodic" (scenes of one pattern) or a folder of photographs, each
            with ":" and its share.
        augmentations: of ``lama_ref.pictures.augment.AUGMENTATIONS``.
        zoom: side of the square cut out of a photograph, relative to the crop's: least, most.
        masks: mask preset.
        stages: (share of the steps done, crop side in pixels, batch size): small crops first,
            which a CPU affords many of, large ones later. The batch is that of all processes.
        l1_until: share of the run with L1 as the only loss: blurred, but of the right hue.
        weights: of the loss terms; without weight on what needs a discriminator there is none.
        features: network of the perceptual loss, a shipped one by name, such as
            "segmentation-dilated", or a file; None leaves the term out.
        features_batchnorm: "train" normalises its features by the batch, as was published.
        feature_stages: of EfficientNet-Lite, which of its seven; a network of ours has four layers.
        discriminator: "patch" is LaMa's; "projected" looks through the network ``features``.
        discriminator_width: channels of the first layer of "patch", of each head of "projected".
        discriminator_stages: as ``feature_stages``, for "projected".
        mask_labels: which patches are fakes, "nearest" as was published, or "maxpool".
        freeze_batchnorm: BatchNorm keeps the statistics that it starts with: for fine-tuning
            with small batches.
        start: weights or a run's folder to begin with; its discriminator too, if there is one.
        settle: batches at the end over which BatchNorm statistics are averaged anew.
        save_every, log_every, panel_every: steps between checkpoints, lines of the log, panels.
        panels: folder of photographs for the panels; None takes sample photographs.
        workers: processes that prepare batches; None is 0 on a CPU, most cores on a GPU.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of everything random.
        minutes: train for this long: once a step's time is known, ``steps`` becomes the number
            that fits, at most what it was, and warm-up and decay follow. With one stage only.

    Raises:
        ValueError: a setting out of range.
    """

    generator: str = "mini-fourier"
    spectral: str | None = None
    data: tuple[str, ...] = ("scenes",)
    augmentations: tuple[str, ...] = ("flip", "colour")
    zoom: tuple[float, float] = (1.0, 4.0)
    masks: str = "train-wide"
    stages: tuple[tuple[float, int, int], ...] = ((0.0, 64, 16), (0.5, 96, 12), (0.8, 128, 8))
    l1_until: float = 0.6
    weights: LossWeights = field(
        default_factory=lambda: LossWeights(
            l1_hole=10, adversarial=3, feature_matching=30, perceptual=1
        )
    )
    features: str | None = "segmentation-dilated"
    features_batchnorm: Literal["eval", "train"] = "eval"
    feature_stages: tuple[int, ...] = (1, 2, 3, 5, 6)
    discriminator: Literal["patch", "projected"] = "patch"
    discriminator_width: int = 32
    discriminator_stages: tuple[int, ...] = (1, 2, 3, 5, 6)
    mask_labels: Literal["nearest", "maxpool"] = "nearest"
    freeze_batchnorm: bool = False
    start: str | None = None
    settle: int = 50
    save_every: int = 500
    log_every: int = 20
    panel_every: int = 500
    panels: str | None = None
    workers: int | None = None
    device: str = "auto"
    seed: int = 0
    minutes: float | None = None

    def __post_init__(self) -> None:
        at_least(self, steps=1, warmup=1, save_every=1, log_every=1, panel_every=1, settle=0)
        at_least(self, discriminator_width=1, workers=0)
        shares = [share for share, _, _ in self.stages]
        if shares[:1] != [0] or shares != sorted(set(shares)) or shares[-1] >= 1:
            raise ValueError(f"stages must start at 0 and at growing shares below 1, not {shares}")
        if isinstance(self.generator, GeneratorConfig):
            object.__setattr__(self, "generator", as_text(self.generator))
        multiple = self.architecture.multiple
        for _, size, n in self.stages:
            if size < 1 or size % multiple or n < 1:
                raise ValueError(
                    f"stage ({size} px, batches of {n}): crops must be multiples of {multiple} px "
                    f"for {self.generator}, batches at least 1"
                )
        if not self.clip > 0 or min(asdict(self.weights).values()) < 0:
            raise ValueError(
                f"clip must be above 0 and weights not below, not {self.clip}, {self.weights}"
            )
        for name in ("l1_until", "decay_from", "average"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {value}")
        if self.minutes is not None and (not self.minutes > 0 or len(self.stages) > 1):
            raise ValueError(
                f"minutes must be above 0, and goes with one stage: not {self.minutes} with "
                f"{len(self.stages)} stages"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {self.precision!r}")

    @property
    def architecture(self) -> GeneratorConfig:
        """What ``generator`` and ``spectral`` describe."""
        config = resolve_config(self.generator)
        return config if self.spectral is None else replace(config, spectral=self.spectral)

    @property
    def adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return self.weights.adversarial > 0 or self.weights.feature_matching > 0

    def stage(self, step: int) -> tuple[int, int]:
        """(crop side, batch size) of a step."""
        done = [s for s in self.stages if s[0] * self.steps <= step]
        return done[-1][1:]


_TRIO = TrainConfig(
    stages=((0.0, 64, 8),),
    steps=3000,
    l1_until=0.85,
    warmup=100,
    discriminator_width=16,
    precision="bfloat16",
)
_PROJECTED = TrainConfig(  # how the shipped weights were finished
    stages=((0.0, 192, 8),),
    l1_until=0.0,
    lr=1e-3,
    lr_discriminator=1e-3,
    warmup=50,
    decay_from=0.05,
    weights=LossWeights(
        l1_hole=15, adversarial=0.3, feature_matching=0, perceptual=0.5, r1=0, l1_coarse=40
    ),
    features="efficientnet-lite0",
    feature_stages=(2, 3, 5, 6),
    discriminator="projected",
    discriminator_width=64,
    discriminator_stages=(3, 4, 5, 6),
    mask_labels="maxpool",
    average=0.995,
    precision="bfloat16",
    start="mini-fourier",
)
_PUBLISHED = TrainConfig(
    generator="lama-fourier",
    data=("places",),
    augmentations=("flip", "perspective", "affine", "contrast", "colour"),
    zoom=(1.0, 1.0),
    stages=((0.0, 256, 30),),  # 10 on each of 3 GPUs
    steps=1_000_000,
    l1_until=0.0,
    lr=1e-3,
    lr_discriminator=1e-4,
    warmup=1,
    decay_from=1.0,
    clip=1.0,
    weights=LossWeights(),
    features="ade20k-resnet50-dilated",
    features_batchnorm="train",
    discriminator_width=64,
    double_forward=True,
    average=None,
    settle=0,
    save_every=5000,
    panel_every=5000,
)
PRESETS: dict[str, TrainConfig] = {
    "mini": TrainConfig(),
    "mini-projected": _PROJECTED,
    "trio-fourier": replace(_TRIO, generator="trio-fourier"),
    "trio-regular": replace(_TRIO, generator="trio-regular"),
    "trio-dilated": replace(_TRIO, generator="trio-dilated"),
    "trio-fourier-shallow": replace(_TRIO, generator="trio-fourier-shallow"),
    "trio-regular-deep": replace(_TRIO, generator="trio-regular-deep"),
    "lama-fourier": _PUBLISHED,
    "big-lama": replace(_PUBLISHED, generator="big-lama", stages=((0.0, 256, 120),)),
}
"""Runs by name: ``lama-ref train FOLDER --preset NAME``; "mini" is the default."""


def fitting(config: TrainConfig, marks: Sequence[float]) -> TrainConfig:
    """The settings with as many steps as fit ``config.minutes``.

    Args:
        marks: seconds at the start, after ``log_every`` steps and after twice as many; with fewer,
            nothing changes. A twentieth of the time is kept for the end.
    """
    if config.minutes is None or len(marks) < 3:
        return config
    begun, once, twice = marks
    left = 0.95 * 60 * config.minutes - (twice - begun)
    more = max(1, int(left / (twice - once) * config.log_every))
    return replace(config, steps=min(config.steps, 2 * config.log_every + more))


def from_dict(values: dict) -> TrainConfig:
    """The settings of a run's ``config.json``; a setting that came later is as by default."""
    given: dict[str, Any] = {name: _tuples(value) for name, value in values.items()}
    for gone in ("composite", "sync_batchnorm"):  # of runs from before they were taken out
        if given.pop(gone, False):
            raise ValueError(f"{gone} is no setting any more")
    given["weights"] = LossWeights(**given["weights"])
    return TrainConfig(**given)


def _tuples(value: Any) -> Any:
    """What JSON made lists of."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
