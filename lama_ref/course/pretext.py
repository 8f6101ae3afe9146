"""Pretext tasks: what the small feature networks of the perceptual loss are trained for.

Both tasks see the same scenes and the same labels. *Segmentation* is told the label of every
pixel. *Classification* is told which labels occur anywhere in the picture, so it may decide by
any clue at any place: the difference that Table 3 of the paper is about.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..perceptual import FeatureConfig, FeatureNet
from ..pictures import scenes
from ..runs import disk
from ..runtime import at_least
from ..weights import format
from ..weights.names import load_features

PRESENT = 0.01  # share of a picture from which on a label counts as occurring


@dataclass(frozen=True)
class PretextConfig:
    """Everything that determines a run.

    Attributes:
        kind: architecture, see :class:`lama_ref.perceptual.FeatureConfig`.
        pretext: what the network learns to tell.
        steps: optimiser steps in all.
        stages: (share of the steps done, picture side in pixels, batch size).
        lr: Adam step size; rises over 100 steps and falls linearly to 0 over the last half.
        held_out: scenes on which the card's accuracies are measured.
        seed: of everything random.
    """

    kind: Literal["dilated", "regular", "fourier"] = "dilated"
    pretext: Literal["segmentation", "classification"] = "segmentation"
    steps: int = 4000
    stages: tuple[tuple[float, int, int], ...] = ((0.0, 64, 16), (0.6, 128, 6))
    lr: float = 2e-3
    held_out: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, steps=1, held_out=1)
        if not self.stages or self.stages[0][0] != 0:
            raise ValueError(f"stages must start at 0, not {self.stages}")
        if self.pretext not in ("segmentation", "classification"):
            raise ValueError(f"no pretext {self.pretext!r}: segmentation or classification")


def scores(network: FeatureNet, image: Tensor) -> Tensor:
    """Scores at the picture's resolution: (B, 3, H, W) -> (B, classes, H, W)."""
    return F.interpolate(network.scores(image), image.shape[-2:], mode="bilinear")


def occurring(labels: Tensor, classes: int) -> Tensor:
    """Which labels occur: (B, H, W) -> (B, classes), 1 where one covers 1 % of the picture."""
    return (F.one_hot(labels, classes).float().mean((1, 2)) >= PRESENT).float()


def pretext_loss(network: FeatureNet, pretext: str, image: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per pixel, or binary cross-entropy per picture and label.

    Args:
        network: with as many classes as there are labels.
        pretext: "segmentation" or "classification".
        image: (B, 3, H, W) in [0, 1].
        labels: (B, H, W) int64.
    """
    if pretext == "segmentation":
        return F.cross_entropy(scores(network, image), labels)
    if pretext == "classification":
        mean = network.scores(image).mean((2, 3))
        return F.binary_cross_entropy_with_logits(mean, occurring(labels, mean.shape[1]))
    raise ValueError(f"pretext must be 'segmentation' or 'classification', not {pretext!r}")


def train(config: PretextConfig, folder: str | Path, *, progress: bool = True) -> Path:
    """Train a feature network on scenes; writes ``PRETEXT-KIND.safetensors``, card and log.

    Raises:
        FloatingPointError: the loss is not a number any more; nothing is written.
    """
    from tqdm import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = FeatureNet(FeatureConfig(config.kind, len(scenes.LABELS)))
    optimizer = torch.optim.Adam(network.parameters(), config.lr)
    lines, losses, start = [], [], time.time()
    for step in tqdm(range(config.steps), disable=not progress, unit="step"):
        rng = np.random.default_rng((config.seed, step))
        size, n = [s for s in config.stages if s[0] * config.steps <= step][-1][1:]
        image, labels = map(torch.from_numpy, scenes.batch(n, size, rng))
        speed = min((step + 1) / 100, 2 * (1 - step / config.steps), 1)
        optimizer.param_groups[0]["lr"] = config.lr * speed
        loss = pretext_loss(network, config.pretext, image, labels.long())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"loss not a number at step {step}: lower lr ({config.lr})")
        if len(losses) == 50 or step == config.steps - 1:
            lines.append({"step": step + 1, "size": size, "loss": round(np.mean(losses), 4)})
            losses = []
    path = folder / f"{config.pretext}-{config.kind}.safetensors"
    format.save(network.eval(), path, half=True)
    disk.write_card(
        path,
        network,
        training=asdict(config),
        data="procedural scenes of lama_ref.scenes, endless; no pictures of others",
        licence="Apache-2.0",
        seconds=round(time.time() - start),
        log=lines,
        held_out=evaluate(load_features(path), config.held_out),
    )
    return path


@torch.no_grad()
def evaluate(network: FeatureNet, n: int = 200, size: int = 128, seed: int = 10**6) -> dict:
    """Accuracies on held-out scenes, beside those of always giving the commonest answer.

    "pixels" is the share of pixels whose largest score is their label's. For a network that
    learnt classification, this reads its class activation map as a segmentation, which nobody
    trained it for. "classes" is the mean of that share over labels. "occurring" is the share of
    right answers to "does this label occur?", by the sign of the mean score.
    """
    was_training, classes = network.training, network.config.classes
    network.eval()
    rng, hits, counts = np.random.default_rng(seed), np.zeros(classes), np.zeros(classes)
    present, answers = [], []
    for start in range(0, n, 10):
        image, labels = map(torch.from_numpy, scenes.batch(min(10, n - start), size, rng))
        given = scores(network, image).argmax(1)
        hits += np.bincount(labels[given == labels], minlength=classes)
        counts += np.bincount(labels.flatten(), minlength=classes)
        present.append(occurring(labels.long(), classes))
        answers.append((network.scores(image).mean((2, 3)) > 0).float())
    network.train(was_training)
    truth, answer = torch.cat(present), torch.cat(answers)
    share = truth.mean(0)
    accuracies = {
        "pixels": hits.sum() / counts.sum(),
        "pixels_commonest": counts.max() / counts.sum(),
        "classes": np.mean((hits / np.maximum(counts, 1))[counts > 0]),
        "occurring": (truth == answer).float().mean(),
        "occurring_commonest": torch.maximum(share, 1 - share).mean(),
    }
    about = {"scenes": n, "size": size, "seed": seed}
    return about | {name: round(float(value), 4) for name, value in accuracies.items()}
