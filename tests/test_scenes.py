"""Procedural scenes: deterministic values, the same picture at every size and view."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from helpers import rng

from lama_ref.pictures import scenes
from lama_ref.pictures.scenes import FAMILIES, LABELS, Scene, Surface, batch, sample_scene

OWN_LABELS = {
    "plain": {"plain"},
    "brick": {"brick", "mortar"},
    "tiles": {"tile", "grout"},
    "windows": {"wall", "window frame", "window pane"},
    "fence": {"fence", "gap"},
    "stripes": {"light stripe", "dark stripe"},
    "checker": {"light checker", "dark checker"},
}


def clean(seed: int, **changes: object) -> Scene:
    """A random scene without grain, so that resolutions can be compared tightly."""
    scene = sample_scene(rng(seed))
    return dataclasses.replace(scene, noise=0.0, **changes)


def only(surface: Surface) -> Scene:
    """A scene of one surface, evenly lit."""
    return Scene(surface, (), (0.0, 0.0, 0.0, 0.0), 0.0, 0)


def flat(family: str, matrix: tuple[float, ...], shape: tuple[float, ...] = ()) -> Surface:
    colours = ((0.9, 0.5, 0.1), (0.1, 0.5, 0.3), (0.3, 0.3, 0.3))[: 3 if family == "tiles" else 2]
    return Surface(family, matrix, (0.0, 0.0), (0.0, 0.0), shape, colours, 0.0, 0)


def box_average(image: np.ndarray, factor: int) -> np.ndarray:
    c, h, w = image.shape
    return image.reshape(c, h // factor, factor, w // factor, factor).mean((2, 4))


def test_shapes_types_and_ranges_and_the_seed_decides():
    first, again, other = (batch(6, (40, 56), rng(seed)) for seed in (7, 7, 8))
    images, labels = first
    assert images.shape == (6, 3, 40, 56) and images.dtype == np.float32
    assert labels.shape == (6, 40, 56) and labels.dtype == np.uint8
    assert images.min() >= 0 and images.max() <= 1
    assert labels.max() < len(LABELS) == len(set(LABELS))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert images.tobytes() != other[0].tobytes()


def test_scene_is_a_value():
    scene = sample_scene(rng(3))
    twin = pickle.loads(pickle.dumps(scene))
    assert twin == scene and hash(twin) == hash(scene)
    assert twin.render(48)[0].tobytes() == scene.render(48)[0].tobytes()
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.noise = 0.0  # type: ignore[misc]


def test_batch_is_the_scenes_one_after_another():
    images, labels = batch(3, 24, rng(5), view=1.5)
    draw = rng(5)
    for image, label in zip(images, labels, strict=True):
        expected = sample_scene(draw).render(24, 1.5)
        assert np.array_equal(image, expected[0]) and np.array_equal(label, expected[1])


def test_large_rendering_averages_to_the_small_one():
    misses = []
    for seed in range(12):
        small, large = (clean(seed).render(size)[0] for size in (64, 1024))
        assert np.abs(small - box_average(large, 16)).mean() < 0.006
        assert small.std() > 0.01  # a picture at all
        misses.append(np.abs(large[:, 8::16, 8::16] - box_average(large, 16)).mean())
    assert np.mean(misses) > 0.012  # the bound has teeth: pixels of the large picture miss it


def test_labels_are_the_point_sample_of_the_large_rendering():
    """At odd ratios pixel centres coincide, so labels must be equal one by one."""
    for seed in range(12):
        scene = sample_scene(rng(seed))
        small, large = scene.render(41)[1], scene.render(123)[1]
        assert np.mean(small != large[1::3, 1::3]) < 0.002


def test_label_marks_the_colour():
    """Within one label of a scene of two colours, pixels off the edges have its colour."""
    image, labels = only(flat("stripes", (4.0, 0.0, 0.0, 4.0), (0.3,))).render(80)
    light = labels == LABELS.index("light stripe")
    assert light.mean() == pytest.approx(0.3)
    assert np.allclose(image[:, light], np.array([[0.9], [0.5], [0.1]]), atol=1e-5)
    assert np.allclose(image[:, ~light], np.array([[0.1], [0.5], [0.3]]), atol=1e-5)


def test_edge_pixels_take_the_covered_share():
    """One and a half stripes of 10.67 pixels: each edge pixel is the mean over its area."""
    image, _ = only(flat("stripes", (3.0, 0.0, 0.0, 3.0), (0.5,))).render(32)
    fine, _ = only(flat("stripes", (3.0, 0.0, 0.0, 3.0), (0.5,))).render(32 * 64)
    assert np.allclose(image, box_average(fine, 64), atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_wider_view_is_the_same_camera(seed):
    scene = clean(seed)
    image, labels = scene.render(64)
    wide, wide_labels = scene.render(128, view=2)
    assert np.abs(wide[:, 32:96, 32:96] - image).max() < 1e-3
    assert np.mean(wide_labels[32:96, 32:96] != labels) < 0.001
    assert np.abs(wide[:, :32] - image[:, :32].mean()).max() > 0.01  # and there is more around


def test_not_square_shows_more_of_the_long_side():
    square, wide = (clean(4).render(size)[0] for size in (48, (48, 96)))
    assert np.abs(wide[:, :, 24:72] - square).max() < 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_labels_and_two_colours(family):
    draw = rng(0)
    for _ in range(5):
        scene = only(scenes._sample_surface(draw, family))
        image, labels = scene.render(128)
        assert {LABELS[i] for i in np.unique(labels)} == OWN_LABELS[family]
        assert image.std(axis=(1, 2)).max() > 0.02


def test_all_labels_and_objects_occur():
    _, labels = batch(300, 32, rng(0))
    share = np.bincount(labels.ravel(), minlength=len(LABELS)) / labels.size
    assert share.min() > 0.003


def test_hues_vary():
    """Channels are drawn independently: they must not be one grey picture three times."""
    images, _ = batch(200, 16, rng(1))
    colours = images.mean((2, 3))
    correlation = np.corrcoef(colours.T)
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.35


def test_jitter_is_constant_within_a_brick_and_differs_between_bricks():
    surface = dataclasses.replace(flat("tiles", (4.0, 0.0, 0.0, 4.0), (0.1, 0.0)), jitter=0.15)
    image, labels = only(surface).render(80)
    cells = image[0].reshape(4, 20, 4, 20).transpose(0, 2, 1, 3).reshape(16, 20, 20)[:, 3:17, 3:17]
    assert cells.std(axis=(1, 2)).max() < 1e-5
    assert len(np.unique(cells.mean((1, 2)).round(4))) > 10
    assert np.abs(cells / 0.9 - 1).max() <= 0.15 + 1e-4


def test_noise_is_seeded_by_the_scene():
    scene = dataclasses.replace(clean(2), noise=0.02)
    other = dataclasses.replace(scene, seed=scene.seed + 1)
    image = scene.render(64)[0]
    assert np.array_equal(image, scene.render(64)[0])
    assert not np.array_equal(image, other.render(64)[0])
    assert 0.005 < (image - clean(2).render(64)[0]).std() < 0.022


def test_extreme_sizes_and_views_stay_finite():
    for seed in range(20):
        scene = sample_scene(rng(seed))
        for size, view in ((1, 1.0), (2, 30.0), ((1, 50), 1.0), (32, 20.0), (32, 1e-3)):
            image, labels = scene.render(size, view)
            assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
            assert labels.max() < len(LABELS)


@pytest.mark.parametrize(
    ("n", "size", "view", "message"),
    [
        *((1, size, 1, "size is .*expected") for size in (0, -3, (8, 0), (8, 8, 3), 2.5)),
        *((1, 8, view, "view is .*expected a positive") for view in (0, -1.0, np.nan, np.inf)),
        (-1, 8, 1, "n is -1; expected 0 or more"),
    ],
)
def test_what_cannot_be_drawn(n, size, view, message):
    with pytest.raises(ValueError, match=message):
        batch(n, size, rng(0), view)
    if n == 1:
        with pytest.raises(ValueError, match=message):
            clean(0).render(size, view)


def test_an_empty_batch():
    images, labels = batch(0, 8, rng(0))
    assert images.shape == (0, 3, 8, 8) and labels.shape == (0, 8, 8)
