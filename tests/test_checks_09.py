"""Every check of notebook 09: right and wrong answers."""

from dataclasses import replace

import numpy as np
from check_suite import check_suite
from scipy import stats

from lama_ref.evaluation.experiments import EXPERIMENTS, Claim, Experiment, beats, loses_less
from lama_ref.evaluation.metrics import bootstrap_counts
from lama_ref.evaluation.verdicts import Numbers, estimate
from lama_ref.runs.recipes import PRESETS


# --- right answers ----------------------------------------------------------------------------
def period_error(result, mask, step, *, roll=False, both=True, hidden=False, square=False):
    """By rolling; the border is masked away."""
    sums, numbers = np.zeros(len(mask)), np.zeros(len(mask))
    for sign in (1, -1) if both else (1,):
        shift = (-sign * step[0], -sign * step[1])
        there, known = np.roll(result, shift, (2, 3)), ~np.roll(mask, shift, (1, 2))
        i, j = np.indices(mask.shape[1:])
        inside = (0 <= i - shift[0]) & (i - shift[0] < mask.shape[1])
        inside &= (0 <= j - shift[1]) & (j - shift[1] < mask.shape[2])
        pairs = mask & (known | hidden) & (inside | roll)
        off = result.astype(float) - there
        off = (off**2 if square else np.abs(off)).mean(1)
        sums += (off * pairs).sum((1, 2))
        numbers += pairs.sum((1, 2))
    return sums / np.maximum(numbers, 1)


def two_way_interval(
    a, b, *, normal=False, runs=True, paired=True, mean=True, ddof=1, freedom=None, pictures=True
):
    n, d = a.shape[1], a.mean(0) - b.mean(0)
    over = d.var(ddof=1) if paired else a.mean(0).var(ddof=1) + b.mean(0).var(ddof=1)
    parts = [(over / n, n - 1)] if pictures else []
    for x in (a, b):
        if runs and len(x) > 1:
            parts.append((x.mean(1).var(ddof=ddof) / (len(x) if mean else 1), len(x) - 1))
    variance = sum(v for v, _ in parts)
    nu = variance**2 / sum(v**2 / f for v, f in parts) if freedom is None else freedom(a, b)
    half = (1.96 if normal else stats.t.ppf(0.975, nu)) * np.sqrt(variance)
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)


def seeds_needed(difference, pictures, n, s_a, s_b, *, first=2, last=1000, t=None, scale=None):
    for k in range(first, last + 1):
        parts = [(pictures, n - 1), (s_a**2 / k, k - 1), (s_b**2 / k, k - 1)]
        variance = sum(v for v, _ in parts)
        nu = variance**2 / sum(v**2 / f for v, f in parts)
        factor = stats.t.ppf(0.975, nu) if t is None else t(k, n)
        if (difference if scale else abs(difference)) > factor * np.sqrt(variance):
            return k
    return None


BASE = PRESETS["trio-regular"]


def declared_experiment(*, change=None, arms=None, runs=None, claims=None, **more):
    runs = runs or {"with": BASE, "without": replace(BASE, **(change or {"average": None}))}
    arms = arms or {"a": "with", "b": "without"}
    claims = (beats("a", "b", "hole-l1"), beats("a", "b", "swd")) if claims is None else claims
    return Experiment("T?", arms, claims, more.pop("cited", "c"), "r.", **more), runs


RIGHT = {
    "period_error": period_error,
    "two_way_interval": two_way_interval,
    "seeds_needed": seeds_needed,
    "declared_experiment": declared_experiment,
}


def by_slices(result, mask, step):
    (dy, dx), (h, w) = step, mask.shape[1:]
    here = (slice(max(0, -dy), h - max(0, dy)), slice(max(0, -dx), w - max(0, dx)))
    there = (slice(max(0, dy), h - max(0, -dy)), slice(max(0, dx), w - max(0, -dx)))
    pairs = mask[(slice(None), *here)] != mask[(slice(None), *there)]
    both = (slice(None), slice(None))
    off = np.abs(result[(*both, *here)].astype(float) - result[(*both, *there)]).mean(1)
    return (off * pairs).sum((1, 2)) / np.maximum(pairs.sum((1, 2)), 1)


def by_bisection(difference, pictures, n, s_a, s_b):
    """The interval shrinks with every seed."""
    low, high = 1, 1000
    if seeds_needed(difference, pictures, n, s_a, s_b, first=1000) is None:
        return None
    while high - low > 1:
        k = (low + high) // 2
        enough = seeds_needed(difference, pictures, n, s_a, s_b, first=k, last=k)
        low, high = (low, k) if enough else (k, high)
    return high


def changed(**more):
    return lambda: declared_experiment(**more)


three_rates = changed(
    arms={"a": "0.001", "b": "0.002", "c": "0.004", "t": "telea"},
    runs={str(lr): replace(BASE, lr=lr) for lr in (1e-3, 2e-3, 4e-3)},
    claims=(
        beats("a", "c", "hole-l1"),
        beats("b", "t", "hole-correlation", data="periodic"),
        loses_less("a", "b", "swd", ("scenes", "wide", 64), ("scenes", "wide", 128)),
    ),
    data=("scenes", "periodic"),
    metrics=("hole-l1", "swd", "hole-correlation"),
)
runs_of_the_project = changed(arms={"a": "regular", "b": "regular-narrow"}, runs={"unused": BASE})
ALSO_RIGHT = [
    ("two_way_interval", lambda a, b: np.array(two_way_interval(a, b))),
    ("period_error", by_slices),
    ("seeds_needed", by_bisection),
    ("declared_experiment", three_rates, "differ in lr"),
    ("declared_experiment", runs_of_the_project, "differ in masks"),
]


# --- wrong answers ----------------------------------------------------------------------------
def pooled(a, b):
    return max(len(a) + len(b) - 2, 1)


def fewest(a, b):
    return max(min(len(a), len(b)) - 1, 1)


def by_the_module(a, b):
    """The module's function: draws of a bootstrap instead of the formula."""
    counts = bootstrap_counts(a.shape[1])
    terms = [(f, Numbers(m, x.mean(1), x @ counts.T / a.shape[1], a.shape[1]))
             for f, m, x in ((1, "a", a), (-1, "b", b))]  # fmt: skip
    return estimate(terms)[:3]


def spoil(result, mask, step):
    values = period_error(result, mask, step)
    result[:] = 0
    return values


ONE = Claim("c", "hole-l1", ((1, "a", ("scenes", "wide", 64)),))
NEITHER = beats("t", "n", "hole-l1")
CLASSICAL = {"a": "with", "b": "without", "t": "telea", "n": "mean"}
WRONG = [
    ("two_way_interval", by_the_module, "Draws of a bootstrap"),
    ("declared_experiment", lambda: (EXPERIMENTS["table4"], {}), "one of the module's own"),
    ("period_error", lambda *a: period_error(*a, roll=True), "step"),
    ("period_error", lambda *a: period_error(*a, both=False), r"step \(0, 3\)"),
    ("period_error", lambda *a: period_error(*a, hidden=True), "step"),
    ("period_error", lambda *a: period_error(*a, square=True), "largest difference"),
    ("period_error", lambda r, m, s: period_error(r, m, s[::-1]), r"step \(0, 3\)"),
    ("period_error", lambda r, m, s: period_error(r, m, tuple(np.abs(s))), r"step \(2, -3\)"),
    ("period_error", lambda r, m, s: period_error(r, ~m, s) * (1 + m.mean()), "largest"),
    ("period_error", lambda *a: period_error(*a).mean(), r"shape \(\), expected \(2,\)"),
    ("period_error", lambda *a: 3 * period_error(*a), "largest difference"),
    ("period_error", spoil, "changed its input"),
    ("period_error", lambda *a: None, "None"),
    ("two_way_interval", lambda *a: two_way_interval(*a, normal=True), "lower end"),
    ("two_way_interval", lambda *a: two_way_interval(*a, runs=False), "lower end"),
    ("two_way_interval", lambda *a: two_way_interval(*a, paired=False), "of the variance is"),
    ("two_way_interval", lambda *a: two_way_interval(*a, mean=False), "lower end"),
    ("two_way_interval", lambda *a: two_way_interval(*a, ddof=0), "lower end"),
    ("two_way_interval", lambda *a: two_way_interval(*a, freedom=pooled), "lower end"),
    ("two_way_interval", lambda *a: two_way_interval(*a, freedom=fewest), "lower end"),
    ("two_way_interval", lambda a, b: two_way_interval(b, a), "difference"),
    ("two_way_interval", lambda a, b: two_way_interval(a, b)[1:], "expected"),
    ("two_way_interval", lambda a, b: (0.0, *two_way_interval(a, b)[1:]), "difference 0.0000"),
    ("two_way_interval", lambda *a: None, "None"),
    ("seeds_needed", lambda *a: seeds_needed(*a, t=lambda k, n: 1.96), "seeds, expected"),
    ("seeds_needed", lambda *a: seeds_needed(*a, t=lambda k, n: stats.t.ppf(0.975, k - 1)), "seed"),
    ("seeds_needed", lambda *a: seeds_needed(*a, scale=True), "difference -0.5"),
    ("seeds_needed", lambda *a: seeds_needed(*a, first=3), "expected 2"),
    ("seeds_needed", lambda *a: seeds_needed(*a) or 1000, "expected None"),
    ("seeds_needed", lambda d, v, *a: seeds_needed(d, 0.0, *a), "seeds, expected|expected None"),
    ("seeds_needed", lambda d, v, n, a, b: seeds_needed(d, v, n, a, a), "seeds, expected"),
    ("seeds_needed", lambda d, v, n, a, b: seeds_needed(d, v**0.5, n, a, b), "None, expected"),
    ("seeds_needed", lambda *a: (k := seeds_needed(*a)) and float(k), "no whole number"),
    ("declared_experiment", changed(change={"average": None, "lr": 1e-3}), "change one thing"),
    ("declared_experiment", changed(change={"steps": 1000}), "not equal steps"),
    ("declared_experiment", changed(change={"stages": ((0.0, 32, 8),)}), "not equal steps"),
    ("declared_experiment", changed(change={"seed": 1}), "differ in their seed"),
    ("declared_experiment", changed(change={"lr": 2e-3}), "are the same run"),
    ("declared_experiment", changed(arms={"a": "with", "b": "telea"}), "1 arms are trained"),
    ("declared_experiment", changed(arms={"a": "with", "b": "other"}), "not among your runs"),
    ("declared_experiment", changed(claims=()), "no claims"),
    ("declared_experiment", changed(claims=(ONE,)), "factors add up to 1"),
    ("declared_experiment", changed(claims=(beats("a", "c", "hole-l1"),)), "no arms {'c'}"),
    ("declared_experiment", changed(claims=(beats("a", "b", "ssim"),)), "not measured"),
    ("declared_experiment", changed(claims=(beats("a", "b", "swd", size=512),)), "512 px"),
    ("declared_experiment", changed(claims=(beats("a", "b", "swd"),) * 2), "made twice"),
    ("declared_experiment", changed(arms=CLASSICAL, claims=(NEITHER,)), "none of its arms"),
    ("declared_experiment", changed(metrics=("hole-l1", "swd", "fid")), "fid needs 2048"),
    ("declared_experiment", changed(metrics=("hole-l1", "loss")), "no metric 'loss'"),
    ("declared_experiment", changed(masks=("huge",)), "no mask preset 'huge'"),
    ("declared_experiment", changed(data=("perspective:x",)), "data: scenes are"),
    ("declared_experiment", changed(cited=" "), "cited is empty"),
    ("declared_experiment", lambda: declared_experiment()[0], "an Experiment and a dict"),
    ("declared_experiment", lambda: None, "not NoneType"),
]

TestChecks = check_suite("9", RIGHT, ALSO_RIGHT, WRONG)
