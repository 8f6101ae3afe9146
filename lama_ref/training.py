"""Training: one step that fits on a screen, and a loop that can be interrupted.

The step follows the published order, generator first and then the discriminator, both with
Adam. Small networks on a CPU need help that the published recipe does without; each helping
choice is a field of :class:`TrainConfig`.

Source: LaMa section 3 and the published training configurations.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import masks
from .data import folders, scenes
from .discriminator import build_discriminator
from .generator import build_generator, inpaint_batch, resolve_config
from .losses import LaMaLoss, LossWeights, Terms


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run, up to the photographs themselves.

    Attributes:
        generator: preset name.
        photos: folder with training photographs, or None for scenes alone.
        scene_share: share of procedural scenes in each batch (1 without photographs).
        masks: mask preset.
        stages: (share of the steps done, crop side in pixels, batch size): small crops first,
            which a CPU affords many of, large ones later.
        steps: optimiser steps in all.
        lr, lr_discriminator: Adam step sizes.
        warmup: steps over which the step size rises to its full value.
        decay_from: share of the run after which it falls, linearly to 0.
        clip: largest gradient norm of either network.
        weights: of the loss terms; without weight on what needs a discriminator there is none.
        features: network of the perceptual loss, a shipped one by name, such as
            "segmentation-dilated", or the path of a file; None leaves the term out.
        discriminator_width: channels of the discriminator's first layer.
        start: a weights file of the same generator, or a published checkpoint, to begin with.
        settle: batches at the end over which BatchNorm statistics are averaged anew.
        save_every: steps between checkpoints.
        seed: of everything random.
    """

    generator: str = "mini-fourier"
    photos: str | None = None
    scene_share: float = 0.3
    masks: str = "train-wide"
    stages: tuple[tuple[float, int, int], ...] = ((0.0, 64, 16), (0.5, 96, 12), (0.8, 128, 8))
    steps: int = 10_000
    lr: float = 2e-3
    lr_discriminator: float = 4e-4
    warmup: int = 200
    decay_from: float = 0.6
    clip: float = 5.0
    weights: LossWeights = field(
        default_factory=lambda: LossWeights(l1_hole=10.0, adversarial=0.0, feature_matching=0.0)
    )
    features: str | None = None
    discriminator_width: int = 32
    start: str | None = None
    settle: int = 50
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.stages or self.stages[0][0] != 0:
            raise ValueError(
                f"training needs steps >= 1 and stages that start at 0, not steps={self.steps}, "
                f"stages={self.stages}"
            )
        for name in ("save_every", "warmup", "discriminator_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        multiple = resolve_config(self.generator).multiple
        for _, size, n in self.stages:
            if size < 1 or size % multiple or n < 1:
                raise ValueError(
                    f"stage ({size} px, batches of {n}): crops must be multiples of {multiple} px "
                    f"for {self.generator}, batches at least 1"
                )
        if not 0 <= self.scene_share <= 1:
            raise ValueError(f"scene_share must lie in [0, 1], not {self.scene_share}")

    def stage(self, step: int) -> tuple[int, int]:
        """(crop side, batch size) of a step."""
        done = [s for s in self.stages if s[0] * self.steps <= step]
        return done[-1][1:]

    def speed(self, step: int) -> float:
        """Factor of the learning rate at a step: warm-up, plateau, linear decay."""
        remaining = (self.steps - step) / max(1.0, (1 - self.decay_from) * self.steps)
        return min(1.0, (step + 1) / max(1, self.warmup), max(0.0, remaining))


def batches(
    config: TrainConfig, photos: folders.Photos | None, first_step: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (image, mask) batches: (B, 3, S, S) in [0, 1] and (B, 1, S, S), 1 = hole.

    Each step draws from a generator seeded by (seed, step), so that a resumed run continues
    with the data that it would have seen.
    """
    step = first_step
    while True:
        rng = np.random.default_rng((config.seed, step))
        size, n = config.stage(step)
        n_scenes = round(n * config.scene_share) if photos else n
        parts = [scenes.batch(n_scenes, size, rng)[0]]
        if photos:
            parts.append(photos.crops(n - n_scenes, size, rng))
        mask = masks.sample(config.masks, (size, size), n, rng)
        yield torch.from_numpy(np.concatenate(parts)), masks.to_tensor(mask)
        step += 1


@dataclass
class TrainState:
    """The networks of a run, their optimisers, and how far it is."""

    generator: nn.Module
    optimizer: torch.optim.Optimizer
    discriminator: nn.Module | None
    optimizer_d: torch.optim.Optimizer | None
    step: int = 0

    def state_dict(self) -> dict:
        d = {"step": self.step}
        for name in ("generator", "optimizer", "discriminator", "optimizer_d"):
            part = getattr(self, name)
            if part is not None:
                d[name] = part.state_dict()
        return d

    def load_state_dict(self, saved: dict) -> None:
        self.step = saved["step"]
        for name in ("generator", "optimizer", "discriminator", "optimizer_d"):
            part = getattr(self, name)
            if part is not None and name in saved:
                part.load_state_dict(saved[name])


def training_step(
    state: TrainState, loss: LaMaLoss, image: Tensor, mask: Tensor, clip: float
) -> Terms:
    """One step of the generator, then one of the discriminator; returns the weighted terms."""
    g, d = state.generator, state.discriminator

    # 1. generator: make a prediction that the losses like; the discriminator stands still
    if d is not None:
        d.requires_grad_(False)
    prediction, _ = inpaint_batch(g, image, mask)
    total, terms = loss.generator(image, mask, prediction)
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(g.parameters(), clip)
    state.optimizer.step()

    # 2. discriminator: tell hole patches of that prediction from real ones
    if d is not None and state.optimizer_d is not None:
        d.requires_grad_(True)
        total_d, terms_d = loss.discriminator(image, mask, prediction)  # detaches it
        state.optimizer_d.zero_grad(set_to_none=True)
        total_d.backward()
        nn.utils.clip_grad_norm_(d.parameters(), clip)
        state.optimizer_d.step()
        terms |= {f"d_{name}": value for name, value in terms_d.items()}

    state.step += 1
    return {name: value.detach() for name, value in terms.items()} | {
        "gradient_norm": norm,
        "hole_l1": ((prediction.detach() - image).abs() * mask).sum() / (3 * mask.sum() + 1e-6),
    }


@torch.no_grad()
def settle_batchnorm(
    generator: nn.Module, data: Iterator[tuple[Tensor, Tensor]], batches: int
) -> None:
    """Replace BatchNorm's running statistics by their mean over some batches; weights stay.

    The running average trails behind weights that still move. At a large step size that shift
    is the whole difference between a right and a wrong hue in the hole (0.236 against 0.107
    hole L1 in the middle of the run of the first shipped weights).
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average instead of an exponential one
    generator.train()
    for _ in range(batches):
        inpaint_batch(generator, *next(data))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    generator.eval()


def train(config: TrainConfig, folder: str | Path, *, progress: bool = True) -> Path:
    """Train, or continue the run in ``folder``; returns the path of the final weights.

    Writes ``config.json``, ``log.jsonl`` (one line per 20 steps), ``checkpoint.pt`` every
    ``config.save_every`` steps, and at the end ``weights.safetensors``.

    Raises:
        FileNotFoundError, ValueError: no photographs in the folder, or a setting out of range.
        FloatingPointError: the loss is not a number any more; the last checkpoint is kept.
    """
    from tqdm import tqdm

    from .data import weights as weight_files

    torch.manual_seed(config.seed)
    generator = build_generator(config.generator)
    adversarial = config.weights.adversarial > 0 or config.weights.feature_matching > 0
    discriminator = build_discriminator(config.discriminator_width) if adversarial else None
    folder = Path(folder)
    state = TrainState(
        generator,
        torch.optim.Adam(generator.parameters(), config.lr),
        discriminator,
        discriminator and torch.optim.Adam(discriminator.parameters(), config.lr_discriminator),
    )
    photos = folders.Photos(config.photos) if config.photos else None  # complains early
    features = weight_files.load_features(config.features) if config.features else None
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    try:
        if checkpoint.exists():
            state.load_state_dict(torch.load(checkpoint, weights_only=True))
        elif config.start:
            generator.load_state_dict(weight_files.load_generator(config.start).state_dict())
    except Exception as error:
        source = checkpoint if checkpoint.exists() else config.start
        raise ValueError(
            f"cannot continue from {source}: it is damaged, or of another configuration; "
            f"use another folder or file ({error})"
        ) from error
    weight_files.write_json(folder / "config.json", asdict(config))

    loss = LaMaLoss(discriminator, features, config.weights)
    sums: dict[str, float] = {}
    count = 0
    start, first = time.time(), state.step
    data = batches(config, photos, state.step)
    bar = tqdm(total=config.steps, initial=state.step, disable=not progress, unit="step")
    with open(folder / "log.jsonl", "a") as log:
        while state.step < config.steps:
            for optimizer, lr in (
                (state.optimizer, config.lr),
                (state.optimizer_d, config.lr_discriminator),
            ):
                if optimizer is not None:
                    optimizer.param_groups[0]["lr"] = lr * config.speed(state.step)
            terms = training_step(state, loss, *next(data), config.clip)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value)
                if not np.isfinite(sums[name]):  # before it can reach a checkpoint
                    raise FloatingPointError(
                        f"{name} is not a number at step {state.step}: lower lr ({config.lr}); "
                        f"the last good state, if any, is {checkpoint}"
                    )
            count += 1
            bar.update()
            if state.step % 20 == 0 or state.step == config.steps:
                sums = {name: value / count for name, value in sums.items()}
                bar.set_postfix(hole_l1=f"{sums['hole_l1']:.3f}")
                line = {"step": state.step, "crop": config.stage(state.step - 1)[0]}
                line |= {"seconds": round(time.time() - start, 1), "first_step": first}
                log.write(json.dumps(line | {k: round(v, 5) for k, v in sums.items()}) + "\n")
                log.flush()
                sums, count = {}, 0
            if state.step % config.save_every == 0 or state.step == config.steps:
                with weight_files.atomic(checkpoint) as temporary:
                    torch.save(state.state_dict(), temporary)
    bar.close()
    if config.settle:
        settle_batchnorm(generator, data, config.settle)
    return weight_files.save(generator, folder / "weights.safetensors")
