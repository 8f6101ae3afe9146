"""Checks of notebook 05, mask sampling."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import masks
from .core import by_hand, compare, exercise, expect, returned

__all__ = ["one_box", "grid_share", "disc_dilation", "half_rule", "mask_kind"]


def _array(got: Any, size: tuple[int, int], what: str) -> np.ndarray:
    """The answer as an (H, W) bool array; a message for anything else."""
    returned(got, what)
    expect(
        isinstance(got, np.ndarray),
        f"{what}: the result is a {type(got).__name__}, expected a numpy array",
    )
    expect(got.dtype == bool, f"{what}: the result is {got.dtype}, expected bool")
    expect(got.shape == size, f"{what}: shape {got.shape}, expected (height, width) = {size}")
    return got


def _near(values: Any, mean: float, what: str) -> None:
    """Whether independent numbers may have this mean: within 4.5 standard errors."""
    values = np.asarray(values, float)
    error = max(values.std() / np.sqrt(len(values)), 1e-9)
    expect(
        abs(values.mean() - mean) < 4.5 * error,
        f"{what}: mean {values.mean():.3f} over {len(values)} boxes, expected {mean:.3f} "
        f"with a standard error of {error:.3f}",
    )


# --------------------------------------------------------------------------- 5.1
@exercise("5.1")
def one_box(answer: Callable[..., np.ndarray]) -> None:
    """``answer(size, sides, margin, rng)``: one box, uniform in sides and then in place."""
    for size, (low, high), margin in (
        ((20, 31), (3, 6), 2),
        ((24, 15), (1, 4), 0),
        ((13, 13), (5, 5), 3),
    ):
        what = f"{size[0]} x {size[1]} px, sides {low} to {high}, margin {margin}"
        rng = np.random.default_rng(0)
        before = pickle.dumps(np.random.get_state())
        drawn = [_array(answer(size, (low, high), margin, rng), size, what) for _ in range(1500)]
        expect(
            before == pickle.dumps(np.random.get_state()),
            f"{what}: your function draws from numpy's global random numbers; use rng",
        )
        again = answer(size, (low, high), margin, np.random.default_rng(0))
        expect(
            np.array_equal(again, drawn[0]),
            f"{what}: the same rng gives another box; draw from rng only",
        )
        places = np.array([_place(mask, what) for mask in drawn])
        top, left, h, w = places.T
        for name, side in (("heights", h), ("widths", w)):
            found, expected = sorted(map(int, set(side))), list(range(low, high + 1))
            expect(found == expected, f"{what}: {name} {found}, expected all of {expected}")
            _near(side, (low + high) / 2, f"{what}: {name}")
        if low < high:
            _near(h == w, 1 / (high - low + 1), f"{what}: squares among the boxes")
        for name, start, side, length in (("rows", top, h, size[0]), ("columns", left, w, size[1])):
            first, last = int(start.min()), int((start + side).max()) - 1
            expect(
                (first, last) == (margin, length - margin - 1),
                f"{what}: boxes use {name} {first} to {last}, "
                f"expected {margin} to {length - margin - 1}",
            )
            middle = start + side / 2
            _near(middle, length / 2, f"{what}: middles of the boxes, {name}")
            room = length - 2 * margin - side + 1  # number of places; uniform on them
            _near((start - margin + 0.5) / room, 0.5, f"{what}: places in the {name}")
            spread = ((start - margin + 0.5) / room - 0.5) ** 2
            expected = float(((1 - 1.0 / room**2) / 12).mean())
            _near(spread, expected, f"{what}: scatter of the places in the {name}")


def _place(mask: np.ndarray, what: str) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the one box; a message if it is none."""
    expect(bool(mask.any()), f"{what}: a mask is empty")
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    h, w = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
    expect(
        int(mask.sum()) == h * w,
        f"{what}: {int(mask.sum())} hole pixels span {h} x {w}: that is no full rectangle",
    )
    return int(rows[0]), int(columns[0]), h, w


# --------------------------------------------------------------------------- 5.2
@exercise("5.2")
def grid_share(answer: Callable[[tuple[int, int], tuple[int, int]], float]) -> None:
    """``answer(step, width)``: expected hole share of ``masks.Grid(step, width)``."""
    for step, width in (
        ((2, 2), (1, 1)),
        ((4, 4), (1, 1)),
        ((2, 4), (1, 3)),  # the defaults: widths are below the step
        ((3, 5), (1, 1)),
        ((3, 6), (2, 3)),
        ((5, 8), (1, 9)),
    ):
        what = f"steps {step[0]} to {step[1]}, widths {width[0]} to {width[1]}"
        got = answer(step, width)
        returned(got, what)
        expect(
            np.ndim(got) == 0 and 0 <= float(got) <= 1,
            f"{what}: the result is {got!r}, expected one share between 0 and 1",
        )
        expected = _grid_share(step, width)
        expect(
            abs(float(got) - expected) < 1e-6,
            f"{what}: share {float(got):.5f}, expected {expected:.5f}",
        )


def _grid_share(step: tuple[int, int], width: tuple[int, int]) -> float:
    """By counting: every step, width and offset, over a stretch that all steps divide."""
    shares = []
    for s in range(step[0], step[1] + 1):
        widths = range(width[0], min(s - 1, width[1]) + 1)
        counts = [np.mean((np.arange(s) - offset) % s < w) for w in widths for offset in range(s)]
        shares.append(np.mean(counts))
    line = float(np.mean(shares))
    return line + line - line * line  # rows or columns


# --------------------------------------------------------------------------- 5.3
@exercise("5.3")
def disc_dilation(answer: Callable[[Tensor, float], Tensor]) -> None:
    """``answer(mask, radius)`` against ``masks.dilate``."""
    answer = by_hand(answer, masks.dilate)
    rng = np.random.default_rng(0)
    dot = torch.zeros(1, 1, 9, 12)
    dot[..., 4, 3] = 1
    corner = torch.zeros(2, 1, 8, 7)
    corner[0, :, 0, 0] = 1
    corner[1, :, 7, 6] = 1
    inputs = {
        "one pixel": dot,
        "two pictures, opposite corners": corner,
        "random pixels": torch.from_numpy(rng.random((3, 1, 13, 18)) > 0.97).float(),
        "a training mask": masks.to_tensor(masks.sample("train-wide", (33, 40), 1, rng)),
        "no hole": torch.zeros(1, 1, 6, 6),
        "all hole": torch.ones(1, 1, 5, 6),
    }
    for (name, mask), radius in itertools.product(inputs.items(), (0, 1, 1.5, 2, 4.3)):
        what = f"{name} {tuple(mask.shape)}, radius {radius}"
        given = mask.clone()
        got = answer(given, radius)
        returned(got, what)
        expect(isinstance(got, Tensor), f"{what}: the result is a {type(got).__name__}, no tensor")
        expect(torch.equal(given, mask), f"{what}: your function changed its input")
        compare(got.float(), masks.dilate(mask, radius), what, 0)


# --------------------------------------------------------------------------- 5.4
@exercise("5.4")
def half_rule(answer: Callable[..., tuple[np.ndarray, float]]) -> None:
    """``answer(drawn, limit)``: masks that hide something and at most the limit; share kept."""
    exact = np.zeros((5, 4, 6), bool)
    exact[0, :2] = True  # exactly one half
    exact[1, :2] = exact[1, 2, 0] = True  # one pixel more
    exact[2] = True
    exact[4, 0, 0] = True  # and number 3 is empty
    rng = np.random.default_rng(0)
    cases = {
        "masks of one half, more, all, nothing, one pixel": (exact, 0.5),
        "wide masks": (masks.sample("wide", (32, 32), 40, rng), 0.5),
        "wide masks, limit 0.3": (masks.sample("wide", (24, 40), 30, rng), 0.3),
        "one narrow mask": (masks.sample("narrow", (32, 32), 1, rng), 1.0),
        "nothing to keep": (np.ones((3, 5, 5), bool), 0.5),
    }
    for what, (drawn, limit) in cases.items():
        given = drawn.copy()
        got = answer(given, limit)
        expect(
            isinstance(got, tuple) and len(got) == 2,
            f"{what}: expected two results, the masks kept and their share, not "
            f"{'None' if got is None else type(got).__name__}",
        )
        kept, share = got
        expect(np.array_equal(given, drawn), f"{what}: your function changed its input")
        rule = [m for m in drawn if 0 < m.mean() <= limit]
        expect(
            np.shape(kept)[:1] == (len(rule),),
            f"{what}: {np.shape(kept)[0] if np.ndim(kept) else kept} masks kept, "
            f"expected {len(rule)} of {len(drawn)}",
        )
        if rule:
            compare(kept, np.array(rule), f"{what}: the masks kept", 0)
        compare(share, len(rule) / len(drawn), f"{what}: share of the masks that is kept", 1e-9)


# --------------------------------------------------------------------------- 5.5
@exercise("5.5")
def mask_kind(answer: Any) -> None:
    """The contract of a mask kind: ``answer.draw(size, scale, rng, u)``, alone and in a mixture."""
    expect(
        callable(getattr(answer, "draw", None)),
        f"a {type(answer).__name__} has no method draw(size, scale, rng, u)",
    )
    expect(
        type(answer).__module__ != masks.__name__,
        f"{type(answer).__name__} is one of the module's own kinds: design another one",
    )
    for size in ((64, 64), (33, 70), (90, 41), (1, 5)):
        what = f"{size[0]} x {size[1]} px"
        before = pickle.dumps(np.random.get_state())
        drawn = []
        for seed in (0, 0, 1, 2):
            rng = np.random.default_rng(seed)
            mask = answer.draw(size, min(size) / 256, rng, 0.4)
            drawn.append(_array(mask, size, what).copy())
        expect(
            before == pickle.dumps(np.random.get_state()),
            f"{what}: draw uses numpy's global random numbers; take them from rng",
        )
        expect(
            np.array_equal(drawn[0], drawn[1]),
            f"{what}: the same rng and u gave two different masks; take all chance from rng",
        )
        if min(size) > 30:
            expect(
                not all(np.array_equal(drawn[0], other) for other in drawn[2:]),
                f"{what}: three seeds gave the same mask; the mask must depend on rng",
            )
    mixture = masks.Mixture(((1, answer),))
    shares = {}
    for side in (64, 128):
        m = masks.sample(mixture, (side, side), 80, np.random.default_rng(3))
        empty, full = (int(v.sum()) for v in (~m.any((1, 2)), m.all((1, 2))))
        expect(empty == 0, f"{side} px: {empty} of 80 masks hide nothing")
        expect(full == 0, f"{side} px: {full} of 80 masks hide everything")
        shares[side] = float(m.mean())
    expect(
        abs(shares[64] - shares[128]) < 0.01 + 0.15 * max(shares.values()),
        f"mean hole share {shares[64]:.3f} at 64 px and {shares[128]:.3f} at 128 px: "
        "multiply lengths by scale",
    )
    expect(
        min(shares.values()) >= 0.01,
        f"{min(shares.values()):.2%} of the picture is hidden on average: hide at least 1 %",
    )
    for name, kinds in {"yours": mixture, "narrow": "narrow", "wide": "wide"}.items():
        m = masks.sample(kinds, (64, 64), 80, np.random.default_rng(3))
        above = (m.mean((1, 2)) > 0.5).mean()
        print(f"{name:7s} hole share {m.mean():.2f}, more than half hidden in {above:.0%}")
