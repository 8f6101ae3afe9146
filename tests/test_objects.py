"""Masks shaped like objects: every limit holds, and the places are the ones a search finds."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from helpers import rng
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lama_ref import masks
from lama_ref.pictures import objects, scenes


def labelled(*boxes: tuple[int, int, int, int], size=(60, 80)) -> np.ndarray:
    """A label map with rectangles (top, bottom, left, right) of labels 1, 2, ..."""
    labels = np.zeros(size, int)
    for i, (top, bottom, left, right) in enumerate(boxes, 1):
        labels[top:bottom, left:right] = i
    return labels


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(64, 64), (48, 80), (81, 50)]))
def test_all_limits_hold(seed, size):
    """On scenes: area, overlap with the object and with each other, no two alike."""
    draw = rng(seed)
    labels = scenes.sample_scene(draw).render(size)[1]
    for value in scenes.THINGS:
        parts, count = ndimage.label(labels == value)
        for i in range(1, count + 1):
            thing = parts == i
            found = objects.object_masks(thing.astype(int), None, draw)
            assert len(found) <= 3
            placed = [thing]
            for mask in found:
                assert mask.dtype == bool and mask.shape == size and mask.mean() >= 0.05
                # scaled by at most 1.25 either way; half may hang over the border
                assert 0.5 * 0.7**2 * thing.sum() <= mask.sum() <= 1.3**2 * thing.sum()
                for other in placed:
                    common = (mask & other).sum()
                    assert common <= 0.2 * mask.sum() and common <= 0.2 * other.sum()
                placed.append(mask)


@pytest.fixture
def drawn(monkeypatch):
    """Masks of label 1, one from each of n seeds, with other limits than the published ones."""

    def draw(labels, n, **limits):
        for name, value in limits.items():
            monkeypatch.setattr(objects, name, value)
        found = [objects.object_masks(labels, [1], rng(i), 1, area=(0, 1)) for i in range(n)]
        return [mask for masks in found for mask in masks]

    return draw


def test_places_are_those_of_an_exhaustive_search(drawn):
    """One row high and without scaling: all left edges allowed by brute force come up, no other."""
    labels = labelled((2, 3, 4, 10), size=(5, 20))
    thing = labels > 0
    allowed = set()
    for x in range(-5, 20):
        mask = np.zeros(20, bool)
        mask[max(0, x) : x + 6] = True
        seen, common = mask.sum(), (mask & thing[2]).sum()
        if seen >= 3 and common <= 0.2 * min(seen, 6):
            allowed.add(tuple(np.flatnonzero(mask)))
    found = drawn(labels, 300, SCALE=0, SHIFT=0)
    assert len(found) == 300 and all(np.flatnonzero(mask.any(1)) == [2] for mask in found)
    assert {tuple(np.flatnonzero(mask[2])) for mask in found} == allowed


def test_shape_is_kept_but_for_scale_and_mirror(drawn):
    labels = np.zeros((60, 60), int)
    labels[20:40, 20:24] = 1  # an L
    labels[36:40, 20:32] = 1
    shape = labels[20:40, 20:32] > 0
    seen = set()
    for mask in drawn(labels, 60, SCALE=0, HIDDEN=0, OVERLAP=0):
        got = mask[np.ix_(mask.any(1), mask.any(0))]
        straight, mirrored = np.array_equal(got, shape), np.array_equal(got, shape[:, ::-1])
        assert straight or mirrored
        seen.add(straight)
    assert seen == {True, False}


def test_vertical_shift_and_hidden_share(drawn):
    found = drawn(labelled((0, 10, 30, 40)), 200, SCALE=0, HIDDEN=0.4)
    lost = [1 - mask.sum() / 100 for mask in found]
    tops = [np.flatnonzero(mask.any(1))[0] for mask in found]
    assert 0 < max(lost) <= 0.4 and max(tops) <= 18 and max(tops) >= 14
    assert any(share > 0.3 for share in lost)


def test_things_are_connected_pixels_and_instances_are_values():
    labels = labelled((5, 25, 5, 25), (5, 25, 50, 70))
    labels[labels == 2] = 1
    draw = rng()
    two = objects.object_masks(labels, [1], draw, 1, area=(0, 1))
    assert len(two) == 2  # two objects of one label
    one = objects.object_masks(labels, None, draw, 1, area=(0, 1))
    assert len(one) == 1 and one[0].sum() > 1.3 * max(mask.sum() for mask in two) / 2
    assert objects.object_masks(labels, [7], draw) == []
    assert objects.object_masks(np.ones((20, 20), int), None, draw) == []  # larger than half


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 3, 4), int), np.zeros((4, 4)), np.zeros((0, 4), int)], ids=str
)
def test_bad_label_maps(labels):
    with pytest.raises(ValueError, match=r"\(H, W\) array of whole numbers, not"):
        objects.object_masks(labels, [1], rng())


# --------------------------------------------------------------------------- as presets
@pytest.mark.parametrize("size", [(64, 64), (50, 90)], ids=str)
@pytest.mark.parametrize("preset", ["segmentation", "outpainting", "super-resolution"])
def test_new_presets(preset, size):
    first, second = (masks.sample(preset, size, 6, rng(1)) for _ in range(2))
    assert first.shape == (6, *size) and first.dtype == bool
    assert np.array_equal(first, second)
    assert first.any((1, 2)).all() and not first.all((1, 2)).any()


def test_segmentation_masks_are_small_single_shapes():
    sample = masks.sample("segmentation", (96, 96), 40, rng(0))
    shares = sample.mean((1, 2))
    assert shares.min() >= 0.05 and 0.06 < shares.mean() < 0.2
    assert np.mean([ndimage.label(mask)[1] == 1 for mask in sample]) > 0.8
    narrow = masks.sample("segmentation", (64, 64), 5, rng(0), share=(0.1, 0.2))
    assert ((narrow.mean((1, 2)) >= 0.1) & (narrow.mean((1, 2)) <= 0.2)).all()


def test_grid_is_periodic_and_its_coverage_the_closed_form():
    """1 - (1 - a / s) (1 - b / t) hidden, for a of s columns and b of t rows."""
    grids = masks.sample("super-resolution", (24, 36), 300, rng(0))
    shares = {
        1 - (1 - a / s) * (1 - b / t)
        for s in (2, 3, 4) for a in range(1, s) for t in (2, 3, 4) for b in range(1, t)
    }  # fmt: skip
    seen = set()
    for grid in grids:
        rows, columns = grid.all(1), grid.all(0)
        assert np.array_equal(grid, rows[:, None] | columns)
        for line in (rows, columns):
            assert any(np.array_equal(line, np.roll(line, s)) for s in (2, 3, 4))
        seen.add(min(shares, key=lambda share: abs(share - grid.mean())))
        assert min(abs(share - grid.mean()) for share in shares) < 1e-9
    assert seen == shares  # all of them come up


def test_borders_are_strips_along_the_sides():
    size = (200, 400)
    sample = masks.sample("outpainting", size, 2000, rng(0))
    known = ~sample
    rows, columns = known.any(2), known.any(1)
    assert np.array_equal(known, rows[:, :, None] & columns[:, None, :])  # a rectangle is left
    top, left = rows.argmax(1), columns.argmax(1)
    bottom, right = rows[:, ::-1].argmax(1), columns[:, ::-1].argmax(1)
    strips = np.stack([top, bottom, left, right]) / [[200], [200], [400], [400]]
    assert strips.max() <= 0.25 + 1e-9 and strips[strips > 0].min() >= 0.04 - 0.0026
    assert (strips > 0).any(0).all()  # never none
    # a strip is drawn with odds 1/2, and with 1/4 of the 1/16 in which none was
    assert (strips > 0).mean() == pytest.approx(0.5 + 1 / 64, abs=0.02)
    assert strips[strips > 0].mean() == pytest.approx((0.04 + 0.25) / 2, abs=0.003)


def test_new_kinds_mix_with_the_old():
    kinds = (masks.Grid(), masks.Borders(), masks.Objects(), masks.Boxes((1, 1), (9, 9), 0))
    mixture = masks.Mixture(tuple((1, kind) for kind in kinds))
    sample = masks.sample(mixture, (256, 256), 4, rng(0))
    assert len({round(float(mask.mean()), 6) for mask in sample}) == 4
    assert sorted(sample.sum((1, 2)))[0] == 81


PUBLISHED = {  # preset and size: mean hole, share of masks above one half; of 300 masks
    ("narrow", 256): (0.315, 0.04), ("narrow", 512): (0.284, 0.03),
    ("medium", 256): (0.252, 0.01), ("medium", 512): (0.312, 0.15),
    ("wide", 256): (0.401, 0.35), ("wide", 512): (0.438, 0.40),
}  # fmt: skip


@pytest.mark.parametrize(("preset", "size"), PUBLISHED, ids=str)
def test_evaluation_presets_have_the_published_statistics(preset, size):
    """Within three standard errors of the 300 masks that were measured."""
    mean, above = PUBLISHED[preset, size]
    share = masks.sample(preset, (size, size), 300, rng(0)).mean((1, 2))
    error = share.std() / np.sqrt(300)
    assert share.mean() == pytest.approx(mean, abs=3 * np.sqrt(2) * error)
    error = np.sqrt(max(above, 0.01) * (1 - above) / 300)
    assert (share > 0.5).mean() == pytest.approx(above, abs=3 * np.sqrt(2) * error)


def test_borders_hide_what_the_closed_form_says():
    """Mean known share: over all sets of strips, (1 - depth * n across) (1 - depth * n down)."""
    depth, expected = (0.04 + 0.25) / 2, 0.0
    for strips in itertools.product((0, 1), repeat=4):
        known = (1 - depth * sum(strips[::2])) * (1 - depth * sum(strips[1::2]))
        expected += (known if any(strips) else 1 - depth) / 16
    for size in ((300, 500), (500, 300)):
        drawn = masks.sample("outpainting", size, 1500, rng(2)).mean((1, 2))
        assert 1 - drawn.mean() == pytest.approx(expected, abs=3 * drawn.std() / 1500**0.5 + 1e-3)


def test_thousands_of_specks_cost_little():
    """Only objects that can become masks are looked at."""
    labels = rng().integers(1, 3, (256, 256))
    labels[60:160, 60:160] = 3
    start = time.process_time()
    found = objects.object_masks(labels, [1, 2, 3], rng())
    assert time.process_time() - start < 1
    assert found and all(mask.sum() > 0.25 * 100**2 for mask in found)


@pytest.mark.parametrize("size", [(24, 400), (400, 24), (1, 30), (3, 3)], ids=str)
def test_long_and_tiny_pictures_have_masks_too(size):
    drawn = masks.sample("segmentation", size, 4, rng(0))
    assert drawn.shape == (4, *size) and drawn.mean() < 0.5


def test_an_object_grows_only_as_far_as_it_fits_where_it_is(drawn):
    """As published: by at most 1 + 2 margin / side of the picture, the least of the four sides."""
    for (top, left), limit in (((0, 30), 1.0), ((25, 30), 1.25), ((2, 30), 1 + 2 * 2 / 60)):
        labels = labelled((top, top + 10, left, left + 20))
        sides = [mask.any(0).sum() / 20 for mask in drawn(labels, 60, HIDDEN=0)]
        assert max(sides) <= limit + 1e-9 and max(sides) > limit - 0.06 and min(sides) < 0.85
