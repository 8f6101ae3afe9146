"""Runs a declared experiment: trains what is missing, measures, and writes what came out.

What came out is judged in :mod:`.verdicts`.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..runs import disk
from ..runs.loop import train
from ..runs.recipes import TrainConfig
from ..weights.files import atomic, write_json
from ..weights.format import load_generator
from . import report
from .cards import Bench, CardConfig, Model, variants
from .experiments import EXPERIMENTS, PHOTOGRAPHS, RUNS, Experiment, Place
from .measure import METRICS, short
from .verdicts import Found, Numbers, estimate, judge


def reproduce(
    name: str,
    folder: str | Path = "runs/reproduce",
    output: str | Path | None = None,
    *,
    seeds: int = 3,
    budget: float | None = None,
    photographs: str = "samples",
    progress: bool = True,
) -> dict[str, Any]:
    """The result of one experiment; what a former call has trained or measured is kept.

    Args:
        name: of :data:`.experiments.EXPERIMENTS`.
        folder: for the trained runs, which experiments share, and for results.
        output: .json file of the result, by default NAME.json in the folder; .md goes beside it.
        seeds: runs of each arm.
        budget: minutes to spend: shipped weights where they can stand in, else fewer seeds and
            steps, and fewer pictures. To see it work; seldom enough to decide anything.
        photographs: folder, for experiments on photographs; by default those that come along.

    Raises:
        ValueError: no such experiment; seeds or budget not above 0.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}: choose from {', '.join(EXPERIMENTS)}")
    if seeds < 1 or (budget is not None and not budget > 0):
        raise ValueError(f"seeds and budget must be above 0, not {seeds} and {budget}")
    began, experiment, folder = time.monotonic(), EXPERIMENTS[name], Path(folder)
    arms, path = experiment.arms, folder / f"{name}.json" if output is None else Path(output)
    if budget is not None:
        arms = arms | {arm: f"trio-{arm}" for arm in experiment.quick}
    runs = {run: RUNS[run] for run in arms.values() if run in RUNS}
    rounds = [  # in turn, so that what else the machine does slows all alike
        {run: step_seconds(config) for run, config in runs.items()}
        for _ in range(3 if budget is None else 1)
    ]
    speeds = {run: float(np.median([each[run] for each in rounds])) for run in runs}
    full = {run: config.steps * speeds[run] for run, config in runs.items()}
    if budget is not None:
        left = budget - (time.monotonic() - began) / 60  # timing took its part
        runs, seeds = shortened(runs, full, seeds, max(left, budget / 10))
        folder = folder / "quick"
    files: dict[str, list[str]] = {}  # of each arm, of each seed
    for arm, run in arms.items():
        if run not in runs:
            files[arm] = [run]
            continue
        config, files[arm] = runs[run], []
        for seed in range(seeds):
            there = folder / f"{run}-{seed}" if budget is None else (
                folder / f"{run}-{config.steps}-{seed}"
            )  # fmt: skip
            files[arm].append(str(_trained(replace(config, seed=seed), there, progress)))
    measuring = _Measuring(name, experiment, files, folder, photographs, progress)
    if budget is not None:
        measuring.shorten(60 * budget - (time.monotonic() - began))
    found, cells = measuring.all()
    lone = {arm for arm, run in arms.items() if run in runs and seeds == 1}
    lone |= set(experiment.quick if budget is not None else ())
    claims = [c for c in measuring.experiment.claims if c.metric in measuring.metrics]
    options = {"--seeds": seeds if seeds != 3 and budget is None else None, "--budget": budget}
    options["--photographs"] = "FOLDER" if photographs != "samples" else None
    given = [f"{k} {v}" for k, v in options.items() if v is not None]
    result = {
        "experiment": name, "title": experiment.title, "cited": experiment.cited,
        "remarks": experiment.remarks, "command": " ".join(["lama-ref reproduce", name, *given]),
        "arms": {arm: _about(arm, files[arm], runs.get(run), full.get(run))
                 for arm, run in arms.items()},
        "metrics": measuring.metrics, "cells": cells,
        "claims": [judge(claim, found, lone) for claim in claims],
    }  # fmt: skip
    write_json(path, result)
    with atomic(path.with_suffix(".md")) as temporary:
        temporary.write_text(report.text(result) + "\n", encoding="utf-8")
    return result


def _trained(config: TrainConfig, folder: Path, progress: bool) -> Path:
    """The weights of a run, which is trained unless it is finished."""
    path = folder / "weights.safetensors"
    if path.is_file() and disk.read_config(folder) == config:
        return path
    return train(config, folder, progress=progress)


# --------------------------------------------------------------------------- time
def step_seconds(config: TrainConfig) -> float:
    """Seconds a step of a run takes here, on average over its phases: from 16 steps of it."""
    few = replace(config, steps=16, l1_until=0.5 if config.l1_until else 0.0, settle=0)
    few = replace(few, log_every=1, save_every=1000, panel_every=1000, average=None)
    with tempfile.TemporaryDirectory() as folder:
        train(few, Path(folder) / "run", progress=False)
        lines = (Path(folder) / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    steps = np.diff([json.loads(line)["seconds"] for line in lines])
    early, late = np.median(steps[2:7]), np.median(steps[9:])  # the first ones warm up
    return float(config.l1_until * early + (1 - config.l1_until) * late)


def shortened(
    runs: dict[str, TrainConfig], full: dict[str, float], seeds: int, budget: float
) -> tuple[dict[str, TrainConfig], int]:
    """Runs that take 0.7 of the budget (minutes) together, at equal shares of their steps.

    As many seeds as leave each run a tenth of its steps; else one.
    """
    for k in range(seeds, 0, -1):
        share = min(1.0, 0.7 * 60 * budget / max(k * sum(full.values()), 1e-9))
        if share >= 0.1 or k == 1:
            break
    short_runs = {}
    for run, config in runs.items():
        steps = max(10, int(share * config.steps))
        short_runs[run] = replace(config, steps=steps, warmup=min(config.warmup, steps))
    return short_runs, k


# --------------------------------------------------------------------------- measurement
class _Measuring:
    """All cells of an experiment."""

    def __init__(self, name, experiment: Experiment, files, folder, photographs, progress):
        self.name, self.experiment, self.folder = name, experiment, folder
        self.photographs, self.progress, self.n = photographs, progress, experiment.n
        self.labels = {arm: [f"{arm} {i}" for i in range(len(f))] for arm, f in files.items()}
        pairs = ((f"{arm} {i}", file) for arm, fs in files.items() for i, file in enumerate(fs))
        self.models = ",".join(f"{label}={file}" for label, file in pairs)
        self.metrics: dict[str, dict[str, str]] = {}

    def shorten(self, seconds: float) -> None:
        """As few pictures as fit into the time; metrics that then mean nothing are left out."""
        self.n, began = 2, time.monotonic()
        whole, self.experiment = self.experiment, replace(self.experiment, metrics=("hole-l1",))
        for data in self.experiment.data:
            for _ in self._bench(data).measure(None, False):
                pass
        each = (time.monotonic() - began) / self.n * (3 if "swd" in whole.metrics else 1)
        self.n = int(np.clip(seconds / each, 4, whole.n))
        fit = tuple(m for m in whole.metrics if METRICS[m].least <= self.n)
        self.experiment = replace(whole, metrics=fit)

    def _bench(self, data: str) -> Bench:
        e, source = self.experiment, self.photographs if data == PHOTOGRAPHS else data
        sizes, metrics = ",".join(map(str, e.sizes)), ",".join(e.metrics)
        masks, card = ",".join(e.masks), CardConfig(self.models, source, n=self.n, rivals="")
        return Bench.of(replace(card, masks=masks, sizes=sizes, metrics=metrics))

    def all(self) -> tuple[Found, list[dict]]:
        found, cells = {}, []
        for data in self.experiment.data:
            bench = self._bench(data)
            self.metrics = variants(bench.judges)
            stem = self.folder / re.sub(r"\W", "_", f"{self.name} {data}")
            for setting, results, *_ in bench.measure(stem, self.progress):
                place = (data, setting["masks"], setting["size"])
                points, draws = report.values_and_draws(
                    results, {m: METRICS[m] for m in bench.metrics}
                )
                for metric in bench.metrics:
                    for arm, labels in self.labels.items():
                        values = np.array([points[metric][label] for label in labels])
                        drawn = np.array([draws[metric][label] for label in labels])
                        found[place, arm, metric] = Numbers(arm, values, drawn, setting["n"])
                cells.append({"data": data} | setting | self._cell(found, place))
        return found, cells

    def _cell(self, found: Found, place: Place) -> dict[str, dict]:
        """Values, those of each seed, and differences of arms."""
        arms, metrics = list(self.labels), list(self.metrics)
        one = {a: {m: [(1, found[place, a, m])] for m in metrics} for a in arms}
        values = {a: {m: list(estimate(one[a][m])[:3]) for m in metrics} for a in arms}
        seeds = {a: {m: [short(v) for v in found[place, a, m].values] for m in metrics}
                 for a in arms}  # fmt: skip
        differences = {}
        for a, b in combinations(arms, 2):
            pair = {m: [(1, found[place, a, m]), (-1, found[place, b, m])] for m in metrics}
            differences[f"{a} minus {b}"] = {m: list(estimate(pair[m])[:3]) for m in metrics}
        return {"values": values, "seeds": seeds, "differences": differences}


# --------------------------------------------------------------------------- what is written
def _about(
    arm: str, files: list[str], config: TrainConfig | None, seconds: float | None
) -> dict[str, Any]:
    """What an arm is: its networks with their hashes, or the classical method."""
    models = [Model.find(file) for file in files]
    about: dict[str, Any] = {"models": [model.identity for model in models]}
    if not isinstance(models[0].source, str):
        generator = load_generator(models[0].source)
        about["parameters"] = sum(p.numel() for p in generator.parameters())
    if config is not None:
        about |= {"steps": config.steps, "seconds": round(seconds or 0)}
        about["training"] = asdict(config)
    return about
