"""Evaluation cards: models x masks x sizes, with all that it takes to get the same numbers again.

Each model fills the same pictures behind the same masks. A card states for every number how many
pictures, which ones, which masks (hashes), at which size, which variant of the metric, which
weights (hash), and a bootstrap interval; and how models differ, with paired intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from .. import runtime
from ..inference import Inpainter
from ..masks import PRESETS
from ..pictures import formats, panels
from ..runtime import __version__
from ..weights.files import atomic, checksum, write_json
from ..weights.names import find as find_weights
from . import baselines, report
from .held_out import SHARE, Pictures, holes, is_photographs, masks_sha256
from .measure import METRICS, Fill, Truth, choose, variant
from .metrics import Score


@dataclass(frozen=True)
class CardConfig:
    """What to measure. Lists are separated by commas.

    Attributes:
        weights: models: shipped or fetched weights, files of weights, folders of runs, classical
            methods (telea, navier-stokes, biharmonic, mean); NAME=FILE gives one a name.
        data: "scenes", "periodic" or "perspective:S" (see :func:`.held_out.scene`), "samples" (the
            photographs that come with scikit-image and matplotlib), or a folder of photographs.
            Of photographs the centres are used.
        masks: mask presets; masks that hide 10 to 50 % are used.
        sizes: sides of the pictures in pixels.
        n: number of pictures, at most.
        metrics: of ``lama_ref.evaluation.measure.METRICS``; if empty, all that need no download.
            Of photographs add frechet-holes,perceptual-lite1: pip install "lama-ref[judge]".
        rivals: models that are measured as well, and to the best of which all are compared.
        seed: of scenes and masks; training uses none from a million on.
        device: auto, cpu, cuda or mps.
        batch: pictures in memory at once; by default fewer, the larger they are.
        panels: the first so many pictures are shown, with what every model made of them, in a
            JPEG file beside the card for each size and preset.

    Raises:
        ValueError: a number out of range, or no such mask preset.
    """

    weights: str = "mini-fourier"
    data: str = "scenes"
    masks: str = "wide"
    sizes: str = "256"
    n: int = 50
    metrics: str = ""
    rivals: str = "telea,navier-stokes"
    seed: int = 1_000_000
    device: str = "auto"
    batch: int | None = None
    panels: int = 0

    def __post_init__(self) -> None:
        runtime.at_least(self, n=2, batch=1, panels=0)
        sizes = _split(self.sizes)
        if not sizes or not all(size.isdecimal() and int(size) >= 16 for size in sizes):
            raise ValueError(f"sizes must be whole numbers from 16, as 256,512, not {self.sizes!r}")
        for preset in _split(self.masks) or [self.masks]:
            if preset not in PRESETS:
                raise ValueError(f"no mask preset {preset!r}: choose from {', '.join(PRESETS)}")
        if not _split(self.weights) + _split(self.rivals):
            raise ValueError("nothing to measure: weights and rivals are both empty")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@dataclass(frozen=True)
class Model:
    """What fills holes: a label, what identifies it, a classical method's name or a file."""

    label: str
    identity: dict[str, str]
    source: str | Path

    @staticmethod
    def find(text: str) -> Model:
        """By the name of weights or of a classical method, by path, or by NAME=either.

        Raises:
            FileNotFoundError, ValueError: none of these.
        """
        label, _, source = text.rpartition("=")
        if source in baselines.BASELINES:
            return Model(label or source, {"implementation": baselines.version(source)}, source)
        try:
            path = find_weights(source, "generator")
        except (ValueError, FileNotFoundError) as error:
            classical = ", ".join(baselines.BASELINES)
            raise type(error)(f"{error}; classical methods are {classical}") from None
        given = Path(source).absolute()
        name = given.stem if given.stem != "weights" else given.parent.name
        return Model(label or name, {"file": path.name, "sha256": checksum(path)}, path)

    def load(self, device: str, batch: int) -> Fill:
        """The function that fills."""
        if isinstance(self.source, str):
            fill = baselines.BASELINES[self.source]
            return lambda images, masks: np.stack([fill(i, m) for i, m in zip(images, masks)])
        inpaint = Inpainter(self.source, device=device, batch_size=batch)
        return lambda images, masks: np.moveaxis(inpaint(np.moveaxis(images, 1, -1), masks), -1, 1)


class Comparison:
    """Everything that a :class:`CardConfig` names, found and checked before anything is measured.

    Raises:
        ValueError: a name or number that does not fit, or too few pictures for a metric.
        FileNotFoundError: weights, pictures or a metric's network are not there.
    """

    def __init__(self, config: CardConfig) -> None:
        given, rivals = (
            [Model.find(one) for one in _split(text)] for text in (config.weights, config.rivals)
        )
        self.config, self.rivals = config, [model.label for model in rivals]
        self.models = {model.label: model for model in (*given, *rivals)}
        for model in given:
            if self.models[model.label] != model:
                raise ValueError(
                    f"two models are called {model.label!r}: tell them apart as NAME=FILE"
                )
        self.n = Pictures(config.data, 16, config.n, config.seed).n  # a folder may hold fewer
        self.device = runtime.device(config.device)
        self.metrics = {
            name: {"best": METRICS[name].best, "variant": variant(name, self.device)}
            for name in choose(_split(config.metrics), self.n)
        }

    def measure(
        self, progress: bool = True
    ) -> Iterator[tuple[dict[str, Any], dict[str, dict[str, Score]], Truth]]:
        """Of each size and mask preset: what place it is, scores by model, and the truth."""
        config, n = self.config, self.n
        for size, preset in product(map(int, _split(config.sizes)), _split(config.masks)):
            pictures = Pictures(config.data, size, n, config.seed)
            masks = holes(preset, size, n, config.seed)
            place = {
                "masks": preset, "size": size, "n": n, "hole_share": round(masks.mean(), 4),
                "masks_sha256": masks_sha256(masks), "pictures_sha256": pictures.sha256(),
            }  # fmt: skip
            batch = config.batch or max(1, min(8, 2**19 // size**2))
            truth = Truth(pictures, masks, list(self.metrics), self.device, batch)
            scores = {}
            for label, model in self.models.items():
                fill, bar = model.load(config.device, batch), f"{label}, {preset}, {size} px"
                scores[label] = truth.measure(fill, bar if progress else None)
            yield place, scores, truth


def evaluate(
    config: CardConfig, output: str | Path | None = None, *, progress: bool = True
) -> dict[str, Any]:
    """The card of some models.

    Args:
        output: folder for card.json and card.md, or the name of a .json file.

    Raises:
        ValueError, FileNotFoundError: see :class:`Comparison`.
    """
    comparison, cells = Comparison(config), []
    path = None if output is None else Path(output)
    if path and path.suffix != ".json":
        path /= "card.json"
    if config.panels and not path:
        raise ValueError("panels need an output: give -o FOLDER")
    for place, scores, truth in comparison.measure(progress):
        if config.panels and path:
            where = f"{path.stem}_{place['masks']}_{place['size']}.jpg"
            _show(config, comparison.models, truth, path.with_name(where))
        cells.append(place | report.summary(scores, comparison.rivals))
    kind = "photographs of {}" if is_photographs(config.data) else "procedural {}"
    card = {
        "lama_ref": __version__,
        "pictures": kind.format(Path(config.data).name),
        "seed": config.seed,
        "results": "composites: known pixels copied, not rounded",
        "hole_share": list(SHARE),
        "intervals": "95 %, percentile, paired: the same bootstrap draws over pictures for all",
        "models": {label: model.identity for label, model in comparison.models.items()},
        "rivals": comparison.rivals,
        "metrics": comparison.metrics,
        "cells": cells,
    }
    if path:
        write_record(path, card)
    return card


def write_record(path: Path, record: dict[str, Any]) -> None:
    """A card, or the result of an experiment, as JSON and, beside it, as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    with atomic(path.with_suffix(".md")) as temporary:
        temporary.write_text(report.text(record) + "\n", encoding="utf-8")


def _show(config: CardConfig, models: dict[str, Model], truth: Truth, path: Path) -> None:
    """Write a sheet of the first pictures."""
    images = np.concatenate(list(islice(truth.pictures.chunks(1), config.panels)))
    masks = truth.holes[: len(images)]
    rows = {"holes": panels.hidden(images, masks)}
    for label, model in models.items():
        fill = model.load(config.device, 1)(images, masks)
        rows[label] = np.where(masks[:, None], fill, images)
    formats.save(panels.sheet(rows | {"original": images}), path, quality=88)
