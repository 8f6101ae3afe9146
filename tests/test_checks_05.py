"""Every check of notebook 05: right and wrong answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from check_suite import check_suite
from scipy import ndimage

from lama_ref import checks, masks


# --- right answers ----------------------------------------------------------------------------
def one_box(size, sides, margin, rng, *, high=1, place=1, square=False, swap=False, start=None):
    h, w = rng.integers(sides[0], sides[1] + max(high, sides[0] == sides[1]), 2)
    h = w if square else h
    top = rng.integers(margin, max(margin + 1, size[0] - margin - h + place))
    left = rng.integers(margin, max(margin + 1, size[1] - margin - w + place))
    if start is not None:
        top, left = (start(m, n, s) for m, n, s in ((margin, size[0], h), (margin, size[1], w)))
    mask = np.zeros(size, bool)
    mask[top : top + h, left : left + w] = True
    return mask.T if swap else mask


def grid_share(step, width, *, cap=True, join=lambda p: 1 - (1 - p) ** 2, ratio=False):
    each = []
    for s in range(step[0], step[1] + 1):
        widths = np.arange(width[0], (min(s - 1, width[1]) if cap else width[1]) + 1)
        each.append(widths.mean() if ratio else (widths / s).mean())
    p = np.mean(each) / np.mean(step) if ratio else np.mean(each)
    return float(min(1, join(p)))


def disc_dilation(mask, radius, *, strict=False, empty=True, norm=2):
    result = torch.zeros_like(mask)
    for i, m in enumerate(mask[:, 0].numpy()):
        if empty and not m.any():
            continue
        if norm == 2:
            d = ndimage.distance_transform_edt(m == 0)
        else:
            metric = "taxicab" if norm == 1 else "chessboard"
            d = ndimage.distance_transform_cdt(m == 0, metric)
        result[i, 0] = torch.from_numpy(d < radius + 1e-9 * (not strict) if strict else d <= radius)
    return result


def half_rule(drawn, limit=0.5, *, empty=False, strict=False, order=1, pixels=False):
    share = drawn.mean((1, 2))
    keep = (share < limit) if strict else (share <= limit)
    keep &= (share > 0) | empty
    kept = drawn[keep][::order]
    return kept, float(kept.sum() / max(drawn.sum(), 1)) if pixels else float(keep.mean())


class Blobs:
    """A right one, from which the wrong ones derive: smooth noise above a quantile."""

    def noise(self, size, scale, rng):
        coarse = [max(2, round(6 * side / min(size))) for side in size]
        zoom = [side / n for side, n in zip(size, coarse)]
        return ndimage.zoom(rng.standard_normal(coarse), zoom, order=3, mode="nearest")

    def draw(self, size, scale, rng, u):
        smooth = self.noise(size, scale, rng)
        return smooth > np.quantile(smooth, 0.95 - 0.5 * u)


RIGHT = {
    "one_box": one_box,
    "grid_share": grid_share,
    "disc_dilation": disc_dilation,
    "half_rule": half_rule,
    "mask_kind": Blobs(),
}


def corner_to_corner(size, sides, margin, rng):
    """As right as the reference: columns before rows."""
    w, h = rng.integers(sides[0], sides[1], 2, endpoint=True)
    x = margin + rng.integers(size[1] - 2 * margin - w, endpoint=True)
    y = margin + rng.integers(size[0] - 2 * margin - h, endpoint=True)
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    return (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)


def own(kind):
    """A kind of one's own that draws as the module's does."""
    return type("Own", (kind,), {"__module__": __name__})


ALSO_RIGHT = [
    ("one_box", corner_to_corner),
    ("disc_dilation", lambda m, r: disc_dilation(m, r).bool()),
    ("half_rule", lambda d, k: ([m for m in d if 0 < m.mean() <= k], half_rule(d, k)[1])),
    ("mask_kind", own(masks.Chains)((1, 6), 200, 100), "narrow  hole share 0.2", "yours", "wide"),
    ("mask_kind", own(masks.Grid)()),
    ("mask_kind", own(masks.Borders)()),
]


@pytest.mark.parametrize("seed", range(3))
def test_a_right_box_passes_whatever_the_chance(seed, monkeypatch):
    """The statistics have room: other random numbers do not fail a right answer."""
    original = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda s=0: original((s, seed)))
    checks.one_box(one_box)


# --- wrong answers ----------------------------------------------------------------------------
def with_global_numbers(size, sides, margin, rng):
    return one_box(size, sides, margin, np.random.default_rng(np.random.randint(1 << 30)))


def own_numbers(size, sides, margin, rng):
    return one_box(size, sides, margin, np.random.default_rng())


def clipped(size, sides, margin, rng):
    h, w = rng.integers(sides[0], sides[1] + 1, 2)
    top, left = (rng.integers(margin, n - margin) for n in size)
    mask = np.zeros(size, bool)
    mask[top : min(top + h, size[0] - margin), left : min(left + w, size[1] - margin)] = True
    return mask


def outline(size, sides, margin, rng):
    mask = one_box(size, sides, margin, rng)
    return mask & ~ndimage.binary_erosion(mask)


def centred(size, sides, margin, rng):
    """Keeps all bounds, but prefers the middle."""
    h, w = rng.integers(sides[0], sides[1] + 1, 2)
    mask = np.zeros(size, bool)
    ends = [(margin, n - margin - s) for n, s in zip(size, (h, w))]
    top, left = (int(rng.integers(2 * a, 2 * b + 2) // 2) for a, b in ends)
    again = [int(rng.integers(a, b + 1)) for a, b in ends]
    top, left = ((p + q) // 2 if rng.random() < 0.5 else p for p, q in zip((top, left), again))
    mask[top : top + h, left : left + w] = True
    return mask


def spoil(drawn, limit):
    result = half_rule(drawn, limit)
    drawn[0] = False
    return result


class Numbers(Blobs):
    def draw(self, *a):
        return super().draw(*a).astype(np.float32)


class Global(Blobs):
    def noise(self, size, scale, rng):
        return super().noise(size, scale, np.random)


class Fresh(Blobs):
    def noise(self, size, scale, rng):
        return super().noise(size, scale, np.random.default_rng())


class Same(Blobs):
    def noise(self, size, scale, rng):
        return super().noise(size, scale, np.random.default_rng(0))


class Square(Blobs):
    def draw(self, size, scale, rng, u):
        return super().draw((min(size), min(size)), scale, rng, u)


class Unscaled(Blobs):
    def draw(self, size, scale, rng, u):
        return one_box(size, (1, min(20, min(size))), 0, rng)


class Empty(Blobs):
    def draw(self, size, scale, rng, u):
        return super().draw(size, scale, rng, u) & (u > 0.3)


class OnePixel(Blobs):
    def draw(self, size, scale, rng, u):
        mask = np.zeros(size, bool)
        mask[tuple(rng.integers(size))] = True
        return mask


class Full(Blobs):
    def draw(self, size, scale, rng, u):
        return super().draw(size, scale, rng, u) | (u > 0.9)


WRONG = [
    ("one_box", lambda *a: one_box(*a, high=0), r"heights \[3, 4, 5\], expected all of"),
    ("one_box", lambda *a: one_box(*a, place=0), "boxes use rows 2 to 16, expected 2 to 17"),
    ("one_box", lambda *a: one_box(*a, place=2), "boxes use rows|heights"),
    ("one_box", lambda s, k, m, r: one_box(s, k, 0, r), "boxes use rows 0 to 19"),
    ("one_box", lambda *a: one_box(*a, square=True), "squares among the boxes"),
    ("one_box", lambda *a: one_box(*a, swap=True), r"shape \(31, 20\)"),
    ("one_box", lambda *a: one_box(*a).astype(float), "float64, expected bool"),
    ("one_box", with_global_numbers, "global random numbers"),
    ("one_box", own_numbers, "the same rng gives another box"),
    ("one_box", clipped, r"heights|widths"),
    ("one_box", outline, "no full rectangle"),
    ("one_box", centred, "scatter of the places"),
    ("one_box", lambda *a: one_box(*a) & False, "is empty"),
    ("one_box", lambda *a: None, "None"),
    ("grid_share", lambda *a: grid_share(*a, join=lambda p: p), "expected 0.75000"),
    ("grid_share", lambda *a: grid_share(*a, join=lambda p: p * p), "expected 0.75000"),
    ("grid_share", lambda *a: grid_share(*a, join=lambda p: 2 * p), "share 1.00000"),
    ("grid_share", lambda *a: grid_share(*a, join=lambda p: (1 - p) ** 2), "steps 2 to 2"),
    ("grid_share", lambda *a: grid_share(*a, cap=False), "steps 2 to 4, widths 1 to 3"),
    ("grid_share", lambda *a: grid_share(*a, ratio=True), "steps 3 to 5"),
    ("grid_share", lambda *a: 75, "between 0 and 1"),
    ("grid_share", lambda *a: None, "None"),
    ("disc_dilation", lambda *a: disc_dilation(*a, strict=True), "radius 0"),
    ("disc_dilation", lambda *a: disc_dilation(*a, norm=1), "radius 1.5"),
    ("disc_dilation", lambda *a: disc_dilation(*a, norm=9), "radius 1:|radius 1 "),
    ("disc_dilation", lambda *a: disc_dilation(*a, empty=False), "no hole"),
    ("disc_dilation", lambda m, r: disc_dilation(m, int(r)), "radius 1.5"),
    ("disc_dilation", masks.dilate, "write that part yourself"),
    ("disc_dilation", lambda m, r: masks.dilate(m, r), "write that part yourself"),
    ("disc_dilation", lambda m, r: disc_dilation(m, r)[:1], "two pictures"),
    ("disc_dilation", lambda m, r: disc_dilation(m.amax(0, True), r).expand_as(m), "two pictures"),
    ("disc_dilation", lambda m, r: disc_dilation(m, r) - m * (r > 0), "radius 1"),
    ("disc_dilation", lambda m, r: m.copy_(disc_dilation(m, r)), "changed its input"),
    ("disc_dilation", lambda m, r: F.max_pool2d(m, 2 * int(r) + 1, 1, int(r)), "radius 1"),
    ("half_rule", lambda *a: half_rule(*a, strict=True), "1 masks kept, expected 2 of 5"),
    ("half_rule", lambda *a: half_rule(*a, empty=True), "3 masks kept, expected 2 of 5"),
    ("half_rule", lambda *a: half_rule(*a, order=-1), "the masks kept"),
    ("half_rule", lambda *a: half_rule(*a, pixels=True), "share of the masks"),
    ("half_rule", lambda d, k: half_rule(d), "limit 0.3"),
    ("half_rule", lambda *a: half_rule(*a)[0], "two results"),
    ("half_rule", spoil, "changed its input"),
    ("mask_kind", Numbers(), "float32, expected bool"),
    ("mask_kind", Global(), "global random numbers"),
    ("mask_kind", Fresh(), "two different masks"),
    ("mask_kind", Same(), "three seeds gave the same mask"),
    ("mask_kind", Square(), r"shape \(33, 33\)"),
    ("mask_kind", Unscaled(), "multiply lengths by scale"),
    ("mask_kind", Empty(), "hide nothing"),
    ("mask_kind", Full(), "hide everything"),
    ("mask_kind", OnePixel(), "0.01% of the picture is hidden on average: hide at least"),
    ("mask_kind", masks.Chains((1, 6), 200, 100), "Chains is one of the module's own kinds"),
    ("mask_kind", lambda *a: None, "no method draw"),
]

TestChecks = check_suite("5", RIGHT, ALSO_RIGHT, WRONG)
