"""Verdicts on claims: intervals over pictures and training seeds at once, and what they say.

Of a sum T of measured values, such as the error of one arm minus that of another, each the mean
over its k seeds,

    Var T = V_pictures + sum over arms of s^2 / k,     T +- t sqrt(Var T),

with V_pictures from the paired bootstrap over pictures, s the spread between an arm's seeds, and t
Student's for the Welch-Satterthwaite degrees of freedom: three seeds are few, and this says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .experiments import Claim, Place
from .measure import METRICS
from .report import short


@dataclass(frozen=True)
class Numbers:
    """A metric of one arm on n pictures: each seed's value (k,) and bootstrap draws (k, D)."""

    arm: str
    values: NDArray[np.float64]
    draws: NDArray[np.float64]
    n: int


Found = dict[tuple[Place, str, str], Numbers]  # (place, arm, metric)


def estimate(terms: Sequence[tuple[int, Numbers]]) -> tuple[float, ...]:
    """T = sum of factor times value: (T, low, high, variance over pictures, over seeds, p)."""
    from scipy.stats import t as student

    total = float(sum(factor * x.values.mean() for factor, x in terms))
    pictures = float(np.var(sum(factor * x.draws.mean(0) for factor, x in terms)))
    of_arms: dict[str, NDArray] = {}
    for factor, x in terms:  # a seed's terms go together
        of_arms[x.arm] = of_arms.get(x.arm, np.zeros(1)) + factor * x.values
    parts = [(np.var(c, ddof=1) / len(c), len(c) - 1) for c in of_arms.values() if len(c) > 1]
    seeds = float(sum(v for v, _ in parts))
    n = min(x.n for _, x in terms)
    squares = pictures**2 / (n - 1) + sum(v**2 / df for v, df in parts)
    if squares == 0:
        return short(total), short(total), short(total), pictures, seeds, float(total == 0)
    freedom, error = (pictures + seeds) ** 2 / squares, math.sqrt(pictures + seeds)
    half = float(student.ppf(0.975, freedom)) * error
    p = 2 * float(student.sf(abs(total) / error, freedom))
    return short(total), short(total - half), short(total + half), pictures, seeds, p


def judge(claim: Claim, found: Found, lone: set[str]) -> dict[str, Any]:
    """The verdict on a claim: reproduced, opposite, or undecided and what would decide.

    Args:
        lone: arms with but one trained network, which say nothing about training.
    """
    terms = [(f, found[place, arm, claim.metric]) for f, arm, place in claim.terms]
    value, low, high, pictures, seeds, p = estimate(terms)
    sign = claim.expected * (-1 if METRICS[claim.metric].best == "high" else 1)
    k, n, decide = max(len(x.values) for _, x in terms), min(x.n for _, x in terms), ""
    if lone & {arm for _, arm, _ in claim.terms}:
        verdict, decide = "undecided", "more than one seed of each network"
    elif low <= 0 <= high:
        verdict, more = "undecided", ((high - low) / 2 / max(abs(value), 1e-12)) ** 2
        name, now = ("seeds of each", k) if seeds > pictures else ("pictures", n)
        decide = f"about {math.ceil(more * now)} {name} (now {now}), if the difference stays"
        if more > 100:
            decide = "hardly anything: the difference is small against its spread"
    else:
        verdict = "reproduced" if value * sign > 0 else "opposite"
    return {
        "claim": claim.text, "metric": claim.metric, "difference": [value, low, high], "n": n,
        "seeds": k, "spread_from_seeds": round(seeds / max(pictures + seeds, 1e-30), 2),
        "verdict": verdict, "would_decide": decide, "p": short(p, 3),
    }  # fmt: skip
