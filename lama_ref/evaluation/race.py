"""The race of spectral variants: small generators that differ in the global branch alone.

All train alike, with L1 alone, on procedural scenes. First for equal *steps*; then each for as many
more as the slowest takes *seconds* of a processor, as an operator that is better and slower may not
be better. They are compared on held-out scenes and patterns, at the size trained on and at four
times that.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..losses import LossWeights
from ..runs.loop import train
from ..runs.recipes import PRESETS, TrainConfig
from ..spectral.variants import find_spectral
from ..weights.files import write_json
from .cards import write_record
from .experiments import Experiment, beats
from .reproduce import carry_out

SIZE, TIMES = 64, 4  # of the crops in training; of the larger pictures, so many times as wide
_RECIPE = replace(
    PRESETS["trio-fourier"],
    l1_until=1.0,
    features=None,
    weights=LossWeights(l1_hole=10, adversarial=0, feature_matching=0, perceptual=0),
)
PLACES = (("hole-l1", "scenes"), ("hole-correlation", "periodic"))


def race(
    variants: Sequence[str],
    folder: str | Path = "runs/race",
    output: str | Path | None = None,
    *,
    minutes: float = 5.0,
    seeds: int = 2,
    n: int = 50,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains and compares variants; with the same folder a race that was stopped goes on.

    Args:
        variants: registered names; all are compared with the first.
        folder: of the runs and of ``plan.json``, which says how many steps fit.
        output: .json file of the result, by default race.json in the folder; .md goes beside it.
        minutes: of one core for the training of all together, about.
        seeds: trained networks of each variant; with one there is no verdict.
        n: held-out pictures of each kind.

    Returns:
        a record as of :func:`.reproduce.reproduce`, with the "ranking".

    Raises:
        ValueError: fewer than two variants, one twice, one that is not registered; a number out of
            range; or a folder of another race.
    """
    variants, folder = list(variants), Path(folder)
    if len(variants) < 2 or len(set(variants)) < len(variants):
        raise ValueError(f"a race needs two variants or more, each once, not {variants}")
    if not minutes > 0 or seeds < 1:
        raise ValueError(f"minutes and seeds must be above 0, not {minutes} and {seeds}")
    for name in variants:
        find_spectral(name)
    plan = _plan(variants, folder, minutes, seeds)
    runs = {}
    for name in variants:
        equal, more = plan["steps"], plan["equal_time"][name]
        runs[name] = f"{name}-{equal}", _settings(name, equal)
        runs[f"{name} (time)"] = f"{name}-{more}", _settings(name, more)
    first, late = variants[0], " (time)"
    experiment = Experiment(
        f"Race: {', '.join(variants)}",
        {arm: arm for arm in runs},
        tuple(
            beats(name + end, first + end, metric, "wide", size, data)
            for name in variants[1:]
            for end in ("", late)
            for metric, data in PLACES
            for size in (SIZE, SIZE * TIMES)
        ),
        cited="",
        remarks=f"{plan['steps']} steps of L1 each, or the seconds of the slowest; {seeds} seeds.",
        sizes=(SIZE, SIZE * TIMES),
        data=tuple(data for _, data in PLACES),
        n=n,
        metrics=tuple(metric for metric, _ in PLACES),
    )
    command = f"lama-ref race {','.join(variants)} --minutes {minutes:g} --seeds {seeds} --n {n}"
    result = {"experiment": "race", "command": command, "plan": plan}
    result |= carry_out(experiment, runs, folder, seeds, progress=progress)
    for claim in result["claims"]:  # of a race, not of the paper
        words = {"reproduced": "better", "opposite": "worse"}
        claim["verdict"] = words.get(claim["verdict"], claim["verdict"])
    result["ranking"] = _ranking(result, variants, plan)
    write_record(folder / "race.json" if output is None else Path(output), result)
    return result


def _settings(name: str, steps: int) -> TrainConfig:
    return replace(_RECIPE, spectral=name, steps=steps, warmup=min(_RECIPE.warmup, steps))


def _plan(variants: list[str], folder: Path, minutes: float, seeds: int) -> dict[str, Any]:
    """How many steps fit: with t the seconds of a step, sum t + (number) max t for each of them."""
    asked, path = {"variants": variants, "minutes": minutes, "seeds": seeds}, folder / "plan.json"
    if path.is_file():
        plan = json.loads(path.read_text(encoding="utf-8"))
        if {key: plan.get(key) for key in asked} != asked:
            raise ValueError(f"{folder} holds another race, {plan}: name another folder")
        return plan
    seconds = {name: _seconds(name) for name in variants}
    slowest = max(seconds.values())
    steps = int(60 * minutes / seeds / (sum(seconds.values()) + len(variants) * slowest))
    if steps < 20:
        raise ValueError(
            f"{minutes:g} minutes are {steps} steps for each of {len(variants)} variants with "
            f"{seeds} seeds, which teach nothing: take more minutes, or fewer of the others"
        )
    more = {name: max(steps, round(steps * slowest / t)) for name, t in seconds.items()}
    folder.mkdir(parents=True, exist_ok=True)
    plan = asked | {"steps": steps, "seconds": seconds, "equal_time": more}
    write_json(path, plan)
    return plan


def _seconds(name: str) -> float:
    """Of processor time for one training step: what 15 steps take more than 5."""

    def spent(steps: int) -> float:
        settings = replace(_settings(name, steps), settle=0)
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            train(settings, folder, progress=False)
            return time.process_time() - start

    spent(1)  # warms up
    return round(max(1e-3, spent(15) - spent(5)) / 10, 4)


def _ranking(result: dict[str, Any], variants: list[str], plan: dict) -> list[dict[str, Any]]:
    """Best first, by the error at the size trained on and equal steps."""
    cells = {(cell["data"], cell["size"]): cell for cell in result["cells"]}
    rows = []
    for name in variants:
        about = result["arms"][name]
        row: dict[str, Any] = {"variant": name, "parameters": about["parameters"]}
        row["ms a step"] = round(1000 * plan["seconds"][name])
        for end in ("", " (time)"):
            for metric, data in PLACES:
                for size in (SIZE, SIZE * TIMES):
                    values = cells[data, size]["values"][name + end][metric]
                    row[f"{metric} {data} {size} px{end}"] = values
        rows.append(row)
    return sorted(rows, key=lambda row: row[f"hole-l1 scenes {SIZE} px"][0])
