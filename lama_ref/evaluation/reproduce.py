"""Runs a declared experiment: trains what is missing, measures, and writes what came out.

What came out is judged in :mod:`.verdicts`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from ..runs import disk
from ..runs.loop import train
from ..runs.recipes import TrainConfig
from ..weights.format import load_generator
from .cards import CardConfig, Comparison, Model, write_record
from .experiments import EXPERIMENTS, PHOTOGRAPHS, RUNS, Experiment, Place
from .measure import choose
from .report import short
from .verdicts import Found, Numbers, estimate, judge


def reproduce(
    name: str,
    folder: str | Path = "runs/reproduce",
    output: str | Path | None = None,
    *,
    seeds: int = 3,
    steps: int | None = None,
    n: int | None = None,
    photographs: str = "samples",
    progress: bool = True,
) -> dict[str, Any]:
    """The result of one experiment; what a former call has trained is not trained again.

    Args:
        name: of :data:`.experiments.EXPERIMENTS`.
        folder: for the trained runs, which experiments share, and for results.
        output: .json file of the result, by default NAME.json in the folder; .md goes beside it.
        seeds: runs of each arm.
        steps: of training and
        n: pictures of each kind, instead of what is declared: to see it work, not to decide.
        photographs: folder, for experiments on photographs; by default those that come along.

    Raises:
        ValueError: no such experiment; seeds, steps or n too small.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}: choose from {', '.join(EXPERIMENTS)}")
    if seeds < 1 or (steps is not None and steps < 1):
        raise ValueError(f"seeds and steps must be at least 1, not {seeds} and {steps}")
    experiment, folder = EXPERIMENTS[name], Path(folder)
    runs: dict[str, tuple[str, TrainConfig]] = {}
    for arm, run in experiment.arms.items():
        if run in RUNS:
            runs[arm] = run, RUNS[run]
            if steps is not None:
                warmup = min(RUNS[run].warmup, steps)
                runs[arm] = f"{run}-{steps}", replace(RUNS[run], steps=steps, warmup=warmup)
    options = {
        "seeds": seeds if seeds != 3 else None, "steps": steps, "n": n,
        "photographs": "FOLDER" if photographs != "samples" else None,
    }  # fmt: skip
    given = [f"--{key} {value}" for key, value in options.items() if value is not None]
    shorter = experiment if n is None else replace(experiment, n=n)
    result = {
        "experiment": name,
        "command": " ".join(["lama-ref reproduce", name, *given]),
    } | carry_out(shorter, runs, folder, seeds, photographs=photographs, progress=progress)
    write_record(folder / f"{name}.json" if output is None else Path(output), result)
    return result


def carry_out(
    experiment: Experiment,
    runs: Mapping[str, tuple[str, TrainConfig]],
    folder: Path,
    seeds: int,
    *,
    photographs: str = "samples",
    progress: bool = True,
) -> dict[str, Any]:
    """Trains what an experiment compares, unless it is there, and measures it.

    Args:
        runs: of each arm that is trained, the name of its run's folder and the settings. Seeds
            from 0 on are appended to the name.
        folder: of the runs.

    Raises:
        ValueError: too few pictures for a metric.
    """
    config = CardConfig(  # complains before anything is trained
        masks=",".join(experiment.masks),
        sizes=",".join(map(str, experiment.sizes)),
        n=experiment.n,
        metrics=",".join(choose(experiment.metrics, experiment.n)),
        rivals="",
    )
    files = {arm: [source] for arm, source in experiment.arms.items()}  # of each arm, each seed
    for arm, (name, settings) in runs.items():
        files[arm] = [
            str(_trained(replace(settings, seed=seed), folder / f"{name}-{seed}", progress))
            for seed in range(seeds)
        ]
    named = [f"{arm} {i}={path}" for arm, paths in files.items() for i, path in enumerate(paths)]
    found: Found = {}
    cells, metrics = [], {}
    for data in experiment.data:
        source = photographs if data == PHOTOGRAPHS else data
        comparison = Comparison(replace(config, weights=",".join(named), data=source))
        metrics = comparison.metrics
        for setting, scores, _ in comparison.measure(progress):
            place = (data, setting["masks"], setting["size"])
            for arm, metric in product(files, metrics):
                seen = [scores[f"{arm} {i}"][metric] for i in range(len(files[arm]))]
                values, draws = (
                    np.array([getattr(s, k) for s in seen]) for k in ("value", "draws")
                )
                found[place, arm, metric] = Numbers(arm, values, draws, setting["n"])
            cells.append({"data": data} | setting | _cell(found, place, list(files), metrics))
    lone = set(runs) if seeds == 1 else set()
    configs = {arm: settings for arm, (_, settings) in runs.items()}
    return {
        "title": experiment.title, "cited": experiment.cited, "remarks": experiment.remarks,
        "arms": {arm: _about(files[arm], configs.get(arm)) for arm in files},
        "metrics": metrics, "cells": cells,
        "claims": [judge(claim, found, lone) for claim in experiment.claims],
    }  # fmt: skip


def _trained(config: TrainConfig, folder: Path, progress: bool) -> Path:
    """The weights of a run, which is trained unless it is finished."""
    path = folder / "weights.safetensors"
    if path.is_file() and disk.read_config(folder) == config:
        return path
    return train(config, folder, progress=progress)


def _cell(found: Found, place: Place, arms: list[str], metrics: Iterable[str]) -> dict[str, dict]:
    """Values, those of each seed, and differences of arms."""

    def triples(**factors: int) -> dict[str, list[float]]:
        terms = {m: [(f, found[place, arm, m]) for arm, f in factors.items()] for m in metrics}
        return {metric: list(estimate(of_metric)[:3]) for metric, of_metric in terms.items()}

    pairs = list(combinations(arms, 2))
    return {
        "values": {arm: triples(**{arm: 1}) for arm in arms},
        "seeds": {
            arm: {m: [short(v) for v in found[place, arm, m].values] for m in metrics}
            for arm in arms
        },
        "differences": {f"{a} minus {b}": triples(**{a: 1, b: -1}) for a, b in pairs},
    }


def _about(files: list[str], config: TrainConfig | None) -> dict[str, Any]:
    """What an arm is: its networks with their hashes, or the classical method."""
    models = [Model.find(file) for file in files]
    about: dict[str, Any] = {"models": [model.identity for model in models]}
    if isinstance(models[0].source, Path):
        generator = load_generator(models[0].source)
        about["parameters"] = sum(p.numel() for p in generator.parameters())
    if config is not None:
        logs = [Path(file).with_name("log.jsonl") for file in files]
        last = [log.read_text(encoding="utf-8").splitlines()[-1] for log in logs]
        seconds = round(float(np.median([json.loads(line)["seconds"] for line in last])))
        about |= {"steps": config.steps, "seconds": seconds, "training": asdict(config)}
    return about
