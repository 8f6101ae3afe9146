"""Checks of notebook 09, ablations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ... import masks
from ...evaluation import held_out as pictures_of
from ...evaluation.baselines import BASELINES
from ...evaluation.experiments import EXPERIMENTS, RUNS, Experiment
from ...evaluation.measure import METRICS
from ...pictures import scenes
from ...runs.recipes import TrainConfig
from ...weights.names import shipped
from .core import compare, exercise, expect, numbers

__all__ = ["period_error", "two_way_interval", "seeds_needed", "declared_experiment"]


# --------------------------------------------------------------------------- 9.1
@exercise("9.1")
def period_error(answer: Callable[[NDArray, NDArray, tuple[int, int]], NDArray]) -> None:
    """``answer(result, mask, step)``: hidden pixels against known ones a step away."""
    rng = np.random.default_rng(0)
    noise = rng.random((2, 3, 9, 12)).astype(np.float32)
    box = np.zeros((2, 9, 12), bool)
    box[0, 3:6, 4:9] = True
    box[1, 0:2, 9:] = True  # at the picture's corner
    waves = np.tile(rng.random((1, 3, 4, 6)).astype(np.float32), (1, 1, 4, 3))
    strokes = masks.sample("wide", (16, 18), 1, rng, share=(0.1, 0.5))
    dented = waves + 0.25 * strokes[:, None].astype(np.float32)
    scene, _ = scenes.batch(3, 32, rng)
    holes = masks.sample("narrow", (32, 32), 3, rng, share=(0.1, 0.5))
    everything = holes | (np.arange(3) == 1)[:, None, None]
    cases = {
        "noise, step (0, 3)": (noise, box, (0, 3)),
        "noise, step (2, 0)": (noise, box, (2, 0)),
        "noise, step (2, 5)": (noise, box, (2, 5)),
        "noise, step (2, -3)": (noise, box, (2, -3)),
        "noise, step (-1, -2)": (noise, box, (-1, -2)),
        "a pattern of period (4, 6), step (4, 6)": (waves, strokes, (4, 6)),
        "the same with a fill 0.25 too bright": (dented, strokes, (4, 0)),
        "3 scenes, one all hidden, step (5, 7)": (scene, everything, (5, 7)),
    }
    for what, (result, mask, step) in cases.items():
        given = result.copy(), mask.copy()
        got = answer(*given, step)
        for a, b in zip(given, (result, mask)):
            expect(np.array_equal(a, b), f"{what}: your function changed its input")
        compare(got, _period_error(result, mask, step), what, 1e-6)


def _period_error(result: NDArray, mask: NDArray, step: tuple[int, int]) -> NDArray:
    """Pixel by pixel, as the task says it."""
    height, width = mask.shape[1:]
    values = []
    for y, hole in zip(result.astype(float), mask):
        pairs = []
        for i, j in np.argwhere(hole):
            for sign in (1, -1):
                k, m = i + sign * step[0], j + sign * step[1]
                if 0 <= k < height and 0 <= m < width and not hole[k, m]:
                    pairs.append(np.abs(y[:, i, j] - y[:, k, m]).mean())
        values.append(np.mean(pairs) if pairs else 0.0)
    return np.array(values)


# --------------------------------------------------------------------------- 9.2
@exercise("9.2")
def two_way_interval(answer: Callable[[NDArray, NDArray], tuple[float, float, float]]) -> None:
    """``answer(a, b)``: the interval over pictures and runs, from (runs, pictures) each."""
    cases = {  # runs of a and of b, pictures, luck of a and of b, taste
        "3 runs each, little luck": (3, 3, 50, 0.01, 0.01, 0.3),
        "3 runs each, much luck": (3, 3, 50, 0.3, 0.3, 0.1),
        "3 and 5 runs, one arm restless": (3, 5, 40, 0.3, 0.02, 0.1),
        "2 runs each, luck and taste alike": (2, 2, 60, 0.05, 0.04, 0.3),
        "one run each": (1, 1, 40, 0.2, 0.2, 0.3),
        "one run against 4": (1, 4, 40, 0.1, 0.1, 0.3),
        "10 pictures, 4 runs": (4, 4, 10, 0.02, 0.02, 0.3),
    }
    for i, (what, (k_a, k_b, n, luck_a, luck_b, taste)) in enumerate(cases.items()):
        rng = np.random.default_rng(i)
        hard = rng.gamma(4, 0.5, n)
        a, b = (
            shift + hard + taste * rng.normal(size=n) + luck * _spread(k, rng)[:, None]
            for k, luck, shift in ((k_a, luck_a, 0.0), (k_b, luck_b, 0.1))
        )
        got = answer(a.copy(), b.copy())
        value, low, high = numbers(got, "difference, low, high", what)
        expected = a.mean() - b.mean()
        expect(
            abs(value - expected) < 1e-6, f"{what}: difference {value:.4f}, expected {expected:.4f}"
        )
        expect(low <= value <= high, f"{what}: [{low:.4f}, {high:.4f}] is no interval around it")
        pictures = float(np.var(a.mean(0) - b.mean(0), ddof=1)) / n
        runs = [(float(np.var(x.mean(1), ddof=1)) / len(x), len(x) - 1)
                for x in (a, b) if len(x) > 1]  # fmt: skip
        half = _half([(pictures, n - 1), *runs])
        for name, width in (("lower", value - low), ("upper", high - value)):
            near = max(0.06 if n < 20 else 0.035, 0.6 / n)  # what a bootstrap would give
            drawn = abs(width / half - 1) < near and sum(v for v, _ in runs) < pictures
            hint = " Draws of a bootstrap, or n for n - 1, come this close." if drawn else ""
            expect(
                abs(width / half - 1) < 1e-6,
                f"{what}: the {name} end is {width:.5f} from the difference, expected {half:.5f} "
                f"({pictures:.2g} of the variance is the pictures', "
                f"{sum(v for v, _ in runs):.2g} the runs'); use the formula of section 2.{hint}",
            )


def _spread(k: int, rng: np.random.Generator) -> NDArray:
    """Values of k runs with standard deviation 1."""
    x = rng.normal(size=k)
    return x if k == 1 else (x - x.mean()) / x.std(ddof=1)


def _half(parts: list[tuple[float, int]]) -> float:
    """Half the width of an interval: parts of the variance with their degrees of freedom."""
    total = sum(v for v, _ in parts)
    freedom = total**2 / sum(v**2 / f for v, f in parts)
    return float(student.ppf(0.975, freedom)) * total**0.5


# --------------------------------------------------------------------------- 9.3
@exercise("9.3")
def seeds_needed(answer: Callable[..., Any]) -> None:
    """``answer(difference, pictures, n, s_a, s_b)``: smallest k that decides, or None."""
    for difference, pictures, n, s_a, s_b in (
        (1.0, 1e-4, 50, 0.1, 0.1),
        (0.5, 0.01, 50, 0.3, 0.3),
        (-0.5, 0.01, 50, 0.3, 0.3),
        (0.05, 1e-4, 50, 0.06, 0.01),
        (0.01, 1e-6, 200, 0.02, 0.03),
        (0.3, 0.0225, 12, 0.1, 0.2),
        (0.3, 0.0185, 12, 0.02, 0.02),
        (0.001, 1e-8, 50, 0.01, 0.005),
        (0.0, 1e-6, 50, 0.1, 0.1),
    ):
        what = (
            f"difference {difference}, variance {pictures} of {n} pictures, spreads {s_a} and {s_b}"
        )
        expected = next(
            (
                k
                for k in range(2, 1001)
                if abs(difference)
                > _half([(pictures, n - 1), (s_a**2 / k, k - 1), (s_b**2 / k, k - 1)])
            ),
            None,
        )
        got = answer(difference, pictures, n, s_a, s_b)
        if expected is None:
            expect(got is None, f"{what}: {got!r}, expected None: the pictures alone hold 0")
            continue
        expect(got is not None, f"{what}: None, expected {expected} seeds")
        expect(
            isinstance(got, (int, np.integer)) and not isinstance(got, bool),
            f"{what}: {got!r} is no whole number",
        )
        expect(int(got) == expected, f"{what}: {got} seeds, expected {expected}")


# --------------------------------------------------------------------------- 9.4
@exercise("9.4")
def declared_experiment(answer: Callable[[], tuple[Experiment, dict[str, TrainConfig]]]) -> None:
    """``answer()``: an ``Experiment`` and its runs, of which nothing is trained."""
    got: Any = answer()
    expect(
        isinstance(got, tuple)
        and len(got) == 2
        and isinstance(got[0], Experiment)
        and isinstance(got[1], dict),
        f"expected an Experiment and a dict of runs, not {type(got).__name__}",
    )
    experiment, runs = got
    theirs = experiment in EXPERIMENTS.values()
    expect(not theirs, f"{experiment.title!r} is one of the module's own: declare one of yours")
    for name, run in runs.items():
        expect(isinstance(run, TrainConfig), f"run {name!r} is a {type(run).__name__}")
    known = RUNS | runs
    arms = {arm: known[run] for arm, run in experiment.arms.items() if run in known}
    for arm, run in experiment.arms.items():
        there = run in known or run in BASELINES or run in shipped()
        expect(there, f"arm {arm!r} names the run {run!r}, which is not among your runs")
    expect(len(arms) >= 2, f"{len(arms)} arms are trained; an ablation compares two or more")
    changed = _one_change(arms)
    for kind, given, choice in (
        ("metric", experiment.metrics, METRICS),
        ("mask preset", experiment.masks, masks.PRESETS),
    ):
        for name in given:
            expect(name in choice, f"no {kind} {name!r}: choose from {', '.join(choice)}")
    for name in experiment.metrics:
        least = METRICS[name].least
        expect(experiment.n >= least, f"{name} needs {least} pictures, n is {experiment.n}")
    for name in experiment.data:
        try:
            if not pictures_of.is_photographs(name):
                pictures_of.scene(name, np.random.default_rng(0))
        except ValueError as error:
            raise AssertionError(f"data: {error}") from None
    for text in ("title", "cited", "remarks"):
        expect(bool(getattr(experiment, text).strip()), f"{text} is empty: say it before the run")
    expect(len(experiment.claims) > 0, "no claims: what would you stand by?")
    _look_at_claims(experiment, arms)
    print(f"{len(arms)} arms that differ in {changed}; {len(experiment.claims)} claims, of which")
    print(f"{0.05 * len(experiment.claims):.2f} would be decided by chance if nothing were true")


def _one_change(arms: dict[str, TrainConfig]) -> str:
    """The one setting in which the runs differ."""
    runs = list(arms.values())
    changed = sorted(
        f.name
        for f in fields(TrainConfig)
        if any(getattr(run, f.name) != getattr(runs[0], f.name) for run in runs)
    )
    expect(changed != [], f"{', '.join(arms)} are the same run")
    expect("seed" not in changed, "the arms differ in their seed; reproduce sets it for you")
    fair = {"steps", "stages"} & set(changed)
    expect(not fair, f"the arms differ in {', '.join(fair)}: not equal steps on equal crops")
    expect(len(changed) == 1, f"the arms differ in {', '.join(changed)}: change one thing")
    for i, (name, run) in enumerate(arms.items()):
        for other in list(arms)[:i]:
            expect(run != arms[other], f"arms {other!r} and {name!r} are the same run")
    return changed[0]


def _look_at_claims(experiment: Experiment, trained: dict[str, TrainConfig]) -> None:
    """Every claim is about what is measured, and is a comparison."""
    seen = set()
    for claim in experiment.claims:
        what = f"claim {claim.text!r} ({claim.metric})"
        expect((claim.text, claim.metric) not in seen, f"{what} is made twice")
        seen.add((claim.text, claim.metric))
        expect(claim.metric in experiment.metrics, f"{what}: this metric is not measured")
        expect(claim.expected in (-1, 1), f"{what}: expected is {claim.expected}, not -1 or 1")
        total = sum(factor for factor, _, _ in claim.terms)
        expect(total == 0, f"{what}: the factors add up to {total}; a comparison's to 0")
        used = {arm for _, arm, _ in claim.terms}
        expect(used <= set(experiment.arms), f"{what}: no arms {used - set(experiment.arms)}")
        expect(bool(used & set(trained)), f"{what}: none of its arms is trained")
        for _, _, (data, preset, size) in claim.terms:
            expect(
                data in experiment.data and preset in experiment.masks and size in experiment.sizes,
                f"{what}: ({data}, {preset}, {size} px) is not measured",
            )
