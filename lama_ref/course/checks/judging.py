"""Checks of notebook 07, evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from ... import masks
from ...evaluation import held_out, metrics
from ...pictures import scenes
from .core import compare, exercise, expect, numbers, returned

__all__ = ["seam_error", "share_interval", "ratio_interval", "unbiased_kernel", "own_metric"]


# --------------------------------------------------------------------------- 7.1
@exercise("7.1")
def seam_error(answer: Callable[[NDArray, NDArray, NDArray], NDArray]) -> None:
    """``answer(result, image, mask)``: ``metrics.seam_gradient``, and 0 where nothing is hidden."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 12, dtype=np.float32) * np.ones((1, 3, 9, 1), np.float32)
    box = np.zeros((1, 9, 12), bool)
    box[:, 3:6, 4:9] = True
    border = np.zeros((2, 8, 7), bool)
    border[0, :, :3] = True  # the hole reaches the picture's border
    border[1, 2:4] = border[1, 6, 5] = True  # and another one of two parts
    noise = rng.random((2, 3, 8, 7)).astype(np.float32)
    pictures, _ = scenes.batch(3, 32, rng)
    holes = masks.sample("wide", (32, 32), 3, rng, share=(0.1, 0.5))
    blurred = np.where(holes[:, None], pictures.mean((2, 3), keepdims=True), pictures)
    cases = {
        "a grey box on a ramp": (np.where(box[:, None], np.float32(0.5), ramp), ramp, box),
        "the picture itself": (ramp, ramp, box),
        "noise, holes at the border": (np.where(border[:, None], 1 - noise, noise), noise, border),
        "3 scenes, mean colour": (blurred, pictures, holes),
        "3 scenes, everything hidden in the last": (
            np.where((full := holes | (np.arange(3) == 2)[:, None, None])[:, None], 0.3, pictures),
            pictures,
            full,
        ),
        "2 pictures, nothing hidden in the first": (noise, noise, border & [[[False]], [[True]]]),
    }
    for what, (result, image, mask) in cases.items():
        given = [a.copy() for a in (result, image, mask)]
        got = answer(*given)
        for a, b in zip(given, (result, image, mask)):
            expect(np.array_equal(a, b), f"{what}: your function changed its input")
        expected = np.zeros(len(mask))
        some = mask.any((1, 2))  # the module asks for a hole in each picture
        expected[some] = metrics.seam_gradient(result[some], image[some], mask[some])
        compare(got, expected, what, 1e-6)


# --------------------------------------------------------------------------- 7.2
@exercise("7.2")
def share_interval(answer: Callable[[int, int, float], tuple[float, float]]) -> None:
    """``answer(k, n, level)``: the exact (Clopper-Pearson) interval of a share."""
    for k, n, level in (
        (12, 20, 0.95),
        (31, 40, 0.95),
        (5, 60, 0.9),
        (117, 200, 0.99),
        (0, 20, 0.95),
        (7, 7, 0.95),
        (1, 1, 0.8),
    ):
        what = f"{k} of {n} at level {level}"
        low, high = numbers(answer(k, n, level), "low, high", what)
        tail = (1 - level) / 2
        exact = (
            float(beta.ppf(tail, k, n - k + 1)) if k else 0.0,
            float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0,
        )
        for name, got, expected in zip(("lower", "upper"), (low, high), exact):
            expect(
                abs(got - expected) < 5e-5, f"{what}: {name} end {got:.4f}, expected {expected:.4f}"
            )


# --------------------------------------------------------------------------- 7.3
@exercise("7.3")
def ratio_interval(answer: Callable[..., tuple[float, float, float]]) -> None:
    """``answer(a, b, rng)``: ratio of the means with a paired percentile bootstrap interval."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(2, 0.05, 60)  # pictures differ by more than methods do
    spread = rng.gamma(1, 0.1, 30)
    cases = {
        "60 pictures, errors that go together": (hard * rng.uniform(0.7, 1, 60), hard),
        "30 pictures, skewed, loosely paired": (spread + rng.gamma(2, 0.02, 30), spread + 0.01),
        "12 pictures, one of them very hard for b": (
            rng.uniform(0.1, 0.2, 12),
            np.r_[rng.uniform(0.1, 0.2, 11), 1.5],
        ),
        "twice the error everywhere": (2 * hard[:20], hard[:20]),
    }
    for what, (a, b) in cases.items():
        got, again = (
            numbers(answer(a.copy(), b.copy(), np.random.default_rng(1)), "ratio, low, high", what)
            for _ in range(2)
        )
        counts = metrics.bootstrap_counts(len(a), 20_000, 5)
        draws = (counts @ a) / (counts @ b)
        low, high = metrics.interval(draws)
        value = a.mean() / b.mean()
        expect(
            abs(got[0] - value) < 1e-9,
            f"{what}: ratio {got[0]:.4f}, expected {value:.4f}: mean of a over mean of b",
        )
        # two bootstraps of a thousand draws or more differ by chance
        room = 1e-9 + 0.1 * (high - low)
        for name, end, expected in zip(("lower", "upper"), got[1:], (low, high)):
            expect(
                abs(end - expected) < room,
                f"{what}: {name} end {end:.4f}, expected {expected:.4f} within {room:.4f}",
            )
        expect(got == again, f"{what}: the same rng gives another interval; draw from rng only")


# --------------------------------------------------------------------------- 7.4
@exercise("7.4")
def unbiased_kernel(answer: Callable[[NDArray, NDArray], float]) -> None:
    """``answer(fake, real)``: unbiased squared kernel distance of two independent sets."""
    rng = np.random.default_rng(0)
    cases = {
        "3 and 2 points of 1 feature": (np.array([[0.0], [1.0], [2.0]]), np.array([[0.5], [1.5]])),
        "20 and 20, one distribution": (rng.normal(size=(20, 4)), rng.normal(size=(20, 4))),
        "30 and 12, shifted by 1": (rng.normal(1, 1, (30, 6)), rng.normal(0, 1, (12, 6))),
        "8 and 25, other spread": (rng.normal(0, 2, (8, 3)), rng.normal(0, 1, (25, 3))),
        "a set and itself": (same := rng.normal(size=(10, 5)), same),
    }
    for what, (x, y) in cases.items():
        given = x.copy(), y.copy()
        got = answer(*given)
        returned(got, what)
        expect(np.ndim(got) == 0, f"{what}: expected one number, got shape {np.shape(got)}")
        expect(
            np.array_equal(given[0], x) and np.array_equal(given[1], y),
            f"{what}: your function changed its input",
        )
        d = x.shape[1]
        xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        n, m = len(x), len(y)
        within = (xx.sum() - np.trace(xx)) / (n * (n - 1))
        within += (yy.sum() - np.trace(yy)) / (m * (m - 1))
        expected = float(within - 2 * xy.mean())
        expect(
            abs(got - expected) <= 1e-8 * max(1, abs(expected)),
            f"{what}: {got:.6g}, expected {expected:.6g}",
        )


# --------------------------------------------------------------------------- 7.5
@exercise("7.5")
def own_metric(answer: Callable[[NDArray, NDArray, NDArray], NDArray]) -> None:
    """A metric of single pictures, low is good, that no blur wins."""
    rng = np.random.default_rng(0)
    n, side = 24, 64
    wide, _ = zip(*(held_out.scene("periodic", rng).render((96, 96), view=1.5) for _ in range(n)))
    image = np.stack([x[:, 16:80, 16:80] for x in wide])
    places = rng.integers(0, 33, (n, 2))
    moved = np.stack([x[:, y : y + side, z : z + side] for x, (y, z) in zip(wide, places)])
    mask = masks.sample("wide", (side, side), n, rng, share=(0.1, 0.5))
    grey = image.mean((2, 3), keepdims=True)
    fills = {"picture": image, "moved": moved, "grey": grey, "noise": rng.random(image.shape)}
    result = {k: np.where(mask[:, None], v, image).astype(np.float32) for k, v in fills.items()}
    values = {}
    for name, y in result.items():
        values[name] = np.asarray(answer(y.copy(), image.copy(), mask.copy()), float)
        expect(
            values[name].shape == (n,) and bool(np.isfinite(values[name]).all()),
            f"{name}: expected {n} finite numbers, one a picture, not shape {values[name].shape}",
        )
    alone = np.asarray(answer(result["moved"][3:4], image[3:4], mask[3:4]), float)
    compare(alone, values["moved"][3:4], "a picture alone and among others", 1e-5)
    expect(
        bool((values["picture"] <= values["moved"] + 1e-9).all()),
        "the picture itself is judged worse than another one",
    )
    for worse in ("grey", "noise"):
        mean, low, high = metrics.paired_bootstrap(values["moved"], values[worse])
        expect(
            high < 0,
            f"the pattern, moved, minus {worse}: {mean:+.4f} [{low:+.4f}, {high:+.4f}]; "
            "below 0 is asked for",
        )
    print({k: f"{v.mean():.4f}" for k, v in values.items()})
