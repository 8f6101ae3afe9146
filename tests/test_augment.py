"""Augmentations: each in its published range, none with an invented border."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers import noise, rng
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lama_ref.pictures import augment as module
from lama_ref.pictures.augment import AUGMENTATIONS, augment, equalise, hue_matrix, recolour, window

GEOMETRY = ("perspective", "affine")


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    """(200, 250, 3): red is x, green is y, so that a crop says where it was cut."""
    y, x = np.mgrid[0:200, 0:250]
    return np.stack([x, y, 0 * x + 77], -1).astype(np.uint8)


# --- plain crops ------------------------------------------------------------------------------


def test_a_crop_is_what_was_promised(ramp):
    for names in ((), AUGMENTATIONS, ["colour"], "flip"):
        crop = augment(ramp, 24, rng(), names)
        assert crop.shape == (3, 24, 24) and crop.dtype == np.float32
        assert crop.min() >= 0 and crop.max() <= 1 and crop.flags["C_CONTIGUOUS"]
        assert crop.tobytes() == augment(ramp, 24, rng(), names).tobytes()
        assert crop.tobytes() != augment(ramp, 24, rng(1), names).tobytes()


def test_at_zoom_one_crops_are_windows_of_the_photo(ramp):
    """Plain ones, half of them mirrored, from everywhere, the very edges included."""
    corners, mirrored = set(), 0
    small = ramp[:20, :24]
    for seed in range(300):
        crop = augment(small, 16, rng(seed), ("flip",), (1, 1))
        crop = (crop * 255).round().astype(np.uint8).transpose(1, 2, 0)
        if crop[0, 0, 0] > crop[0, -1, 0]:
            crop, mirrored = crop[:, ::-1], mirrored + 1
        left, top = crop[0, 0, :2]
        assert np.array_equal(crop, ramp[top : top + 16, left : left + 16])
        corners.add((int(left), int(top)))
    assert corners == {(x, y) for x in range(9) for y in range(5)}
    assert 115 < mirrored < 185  # 300 fair coins, 4 standard deviations


def test_plain_crops_are_shrunk_as_pillow_does():
    photo = noise(90, 120)
    for seed in range(10):
        crop = augment(photo, 16, rng(seed), (), (2.5, 5))
        (left, top), (right, bottom) = window(photo.shape, 16, rng(seed), (), (2.5, 5))[[0, 2]]
        square = Image.fromarray(photo).crop((left, top, right, bottom))
        expected = square.resize((16, 16), Image.Resampling.BILINEAR)
        error = np.abs(crop * 255 - np.asarray(expected).transpose(2, 0, 1))
        assert error.max() < 20 and error.mean() < 3  # speed may cost a little exactness


def sides(photo, size, names, zoom, n=200):
    """Mean side of the windows, in pixels of the photograph."""
    loops = [window(photo.shape, size, rng(seed), names, zoom) for seed in range(n)]
    return np.array([np.linalg.norm(c - np.roll(c, 1, 0), axis=1).mean() for c in loops])


def test_zoom_sets_the_side_of_the_window(ramp):
    assert (sides(ramp, 30, (), (2, 2)) == 60).all()
    spread = sides(ramp, 30, (), (1, 4))
    assert spread.min() >= 30 and spread.max() <= 120 and np.ptp(spread) > 80
    assert np.median(spread) == pytest.approx(60, abs=5)  # log-uniform: 2 is the middle of 1 to 4
    assert (sides(ramp, 30, (), (20, 30)) == 200).all()  # never beyond the photograph
    shown = augment(ramp, 30, rng(), (), (2, 2))[0] * 255
    assert np.ptp(shown[5]) == pytest.approx(2 * 29, abs=1)


@pytest.mark.parametrize("names", [(), AUGMENTATIONS])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 400), (31, 32)])
def test_photos_smaller_than_the_crop_are_enlarged(ramp, shape, names):
    photo = np.tile(ramp, (1, 2, 1))[: shape[0], : shape[1]]
    for seed in range(10):
        crop = augment(photo, 32, rng(seed), names)
        assert crop.shape == (3, 32, 32) and np.isfinite(crop).all()
    whole = augment(ramp[:5, :5], 32, rng(), ())[0] * 255
    assert whole[:, -1].mean() == pytest.approx(4, abs=0.5) and whole[:, 0].max() < 0.5


# --- geometry ---------------------------------------------------------------------------------


def test_a_window_is_resampled_as_opencv_would(ramp):
    cv2 = pytest.importorskip("cv2")
    smooth = cv2.GaussianBlur(noise(200, 250), (0, 0), 3)
    square = np.array([(0, 0), (40, 0), (40, 40), (0, 40)], np.float32)
    for seed in range(20):
        corners = window(smooth.shape, 40, rng(seed), GEOMETRY, (0.7, 0.7))
        assert np.linalg.norm(corners[1] - corners[0]) < 42  # no reduction: a single bilinear look
        start, end = square - 0.5, corners.astype(np.float32) - 0.5  # OpenCV's pixels
        matrix = cv2.getPerspectiveTransform(start, end)
        ours = np.append(module.homography(start, end), 1).reshape(3, 3)
        np.testing.assert_allclose(ours, matrix, atol=1e-4)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REPLICATE
        expected = cv2.warpPerspective(smooth, matrix, (40, 40), flags=flags, borderMode=border)
        assert np.abs(module.cut(smooth, corners, 40).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("zoom", [0.5, 1.3, 2, 3.7])
def test_each_pixel_comes_from_where_the_window_says(ramp, zoom):
    x, y = np.meshgrid(np.arange(40) + 0.5, np.arange(40) + 0.5)
    for seed in range(10):
        corners = window(ramp.shape, 40, rng(seed), GEOMETRY, (zoom, zoom))
        square = np.array([(0, 0), (40, 0), (40, 40), (0, 40)])
        a, b, c, d, e, f, g, h = module.homography(square, corners)
        source = np.stack([a * x + b * y + c, d * x + e * y + f]) / (g * x + h * y + 1) - 0.5
        crop = module.cut(ramp, corners, 40)
        # Pillow rounds halves up, but down where it warps; at the rims it repeats half a pixel
        error = crop[..., :2].transpose(2, 0, 1) - source
        assert np.abs(error).max() < 1.1 + zoom / 2
        assert np.abs(error.mean((1, 2))).max() < 0.6


def test_affine_maps_have_the_published_ranges(ramp):
    """The window's edges are the columns of the inverse: stretched by 1 / s, turned by -angle."""
    changed, stretches, angles = 0, [], []
    for seed in range(400):
        corners = window((10**6, 10**6), 100, rng(seed), ("affine",), (1, 1))
        across, down = (corners[1] - corners[0]) / 100, (corners[3] - corners[0]) / 100
        np.testing.assert_allclose(corners[2] - corners[3], 100 * across, atol=1e-6)
        matrix = np.linalg.inv(np.stack([across, down], 1))  # of the picture, R diag(s)
        scale = np.linalg.norm(matrix, axis=0)
        assert matrix[:, 0] @ matrix[:, 1] == pytest.approx(0, abs=1e-6)  # no shear
        if not np.allclose(scale, 1):
            changed += 1
            stretches.append(scale)
            angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert 160 < changed < 240
    stretches, angles = np.array(stretches), np.array(angles)
    assert stretches.min() == pytest.approx(0.7, abs=0.01) and stretches.min() >= 0.7
    assert stretches.max() == pytest.approx(1.3, abs=0.01) and stretches.max() <= 1.3
    assert abs(np.corrcoef(stretches.T)[0, 1]) < 0.3  # x and y are independent
    assert -40 <= angles.min() < -38 and 38 < angles.max() <= 40
    assert np.abs(angles).mean() == pytest.approx(20, abs=2.5)


def test_perspective_moves_corners_inward_as_published():
    """Mean of |N(0, s)| with s uniform in (0, 0.06) is 0.03 sqrt(2 / pi)."""
    moves = []
    for seed in range(600):
        corners = window((10**6, 10**6), 100, rng(seed), ("perspective",), (1, 1)) / 100
        low, high = corners.min(0), corners.max(0)
        assert (high - low <= 1 + 1e-9).all()
        # distances between neighbouring corners: 1 less both moves
        edges = np.abs(corners[[1, 2, 2, 3]] - corners[[0, 3, 1, 0]])[range(4), [0, 0, 1, 1]]
        if not np.allclose(edges, 1):
            moves.append((1 - edges) / 2)
    assert 240 < len(moves) < 360
    moves = np.array(moves)
    assert (moves >= -1e-9).all()
    assert moves.mean() == pytest.approx(0.03 * np.sqrt(2 / np.pi), rel=0.1)
    assert moves.mean(1).std() > 0.4 * moves.mean()  # s differs from picture to picture


@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(1, 300), st.integers(0, 10**6),
    st.floats(0.3, 5), st.sampled_from([(), ("affine",), ("perspective",), GEOMETRY]),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_windows_lie_inside_the_photograph(height, width, size, seed, zoom, names):
    corners = window((height, width, 3), size, rng(seed), names, (zoom, 2 * zoom))
    assert corners.min() >= -1e-6
    assert (corners.max(0) <= np.array([width, height]) + 1e-6).all()


def test_no_border_is_invented():
    """A white photograph gives white crops, to the last pixel, whatever the warp."""
    for shape in ((40, 60), (97, 31), (200, 500)):
        white = np.full((*shape, 3), 255, np.uint8)
        for seed in range(60):
            assert augment(white, 32, rng(seed), ("flip", *GEOMETRY), (0.5, 6)).min() == 1


@pytest.mark.parametrize("names", [(), ("affine",), GEOMETRY])
def test_shrinking_is_antialiased(names):
    """A checker of single pixels becomes even grey."""
    checker = (np.indices((300, 300)).sum(0) % 2 * 255).astype(np.uint8)
    photo = np.repeat(checker[..., None], 3, 2)
    for seed in range(20):
        assert np.abs(augment(photo, 16, rng(seed), names, (5, 6)) - 0.5).max() < 0.08
    between = [augment(photo, 64, rng(seed), names, (1.6, 1.9)).std() for seed in range(20)]
    assert np.mean(between) < 0.02 and np.max(between) < 0.08  # by one look a pixel 0.04 and 0.17


def test_switching_one_off_leaves_the_others_alone(ramp):
    bright = ramp // 2 + 60
    for seed in range(30):
        # without contrast: OpenCV's tiles lie half a pixel to one side
        names = [name for name in AUGMENTATIONS if name != "contrast"]
        whole = augment(bright, 16, rng(seed), names)
        flipped = augment(bright, 16, rng(seed), [n for n in names if n != "flip"])
        assert any(np.allclose(whole, x, atol=0.02) for x in (flipped, flipped[:, :, ::-1]))
        plain = window(bright.shape, 16, rng(seed), (), (1, 4))
        for names in (("colour",), ("contrast", "flip")):
            np.testing.assert_array_equal(window(bright.shape, 16, rng(seed), names, (1, 4)), plain)


# --- colour -----------------------------------------------------------------------------------


def test_hue_matrix():
    grey = np.full(3, 0.4)
    for angle, saturation in ((0.3, 1.2), (-2, 0), (0, 0.7)):
        np.testing.assert_allclose(hue_matrix(angle, saturation) @ grey, grey)
    np.testing.assert_allclose(hue_matrix(0, 1), np.eye(3), atol=1e-12)
    # a third of a turn takes red to green, green to blue
    np.testing.assert_allclose(hue_matrix(2 * np.pi / 3, 1), np.eye(3)[[2, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(hue_matrix(1, 0) @ (0.1, 0.2, 0.9), np.full(3, 0.4))
    colour = np.array([0.9, 0.2, 0.4])
    away = hue_matrix(0.17, 1.3) @ colour - 0.5
    assert np.linalg.norm(away) == pytest.approx(1.3 * np.linalg.norm(colour - 0.5))


def test_colour_is_the_published_affine_map():
    """Four colours near mid-grey, so that nothing is clipped, give the map away."""
    colours = 0.5 + 0.05 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32).T
    gains, shifts, angles, saturations = [], [], [], []
    for seed in range(600):
        out = recolour(colours[:, None], rng(seed), ("colour",))[:, 0].astype(float)
        matrix = (out[:, 1:] - out[:, :1]) / 0.05
        gain = matrix.sum() / 3  # what it does to grey
        np.testing.assert_allclose(matrix.sum(1), gain, atol=1e-4)  # grey stays grey
        turned = matrix / gain - 1 / 3
        gains.append(gain - 1)
        shifts.append(out[:, 0].mean() - gain * 0.5)
        saturations.append(np.linalg.norm(turned) / np.sqrt(2))
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        angles.append(np.degrees(np.arctan2((turned * cross).sum() / 2, np.trace(turned) / 2)))
    gains, saturations, angles = map(np.array, (gains, saturations, angles))
    lit, turned = np.abs(gains) > 1e-4, np.abs(angles) > 1e-2
    assert 240 < lit.sum() < 360 and 240 < turned.sum() < 360
    assert 110 < (lit & turned).sum() < 190  # independent
    assert -0.2 <= gains.min() < -0.18 and 0.18 < gains.max() <= 0.2001
    assert -10.01 <= angles.min() < -9.5 and 9.5 < angles.max() <= 10.01
    assert 0.7 - 1e-3 <= saturations.min() < 0.71 and 1.29 < saturations.max() <= 1.3 + 1e-3
    assert np.array(shifts)[lit].max() == pytest.approx(0.2, abs=0.025)
    assert np.array(shifts)[~lit].max() == pytest.approx(0.02, abs=0.002)
    assert np.array(shifts)[lit].min() == pytest.approx(-0.2, abs=0.025)


def test_recolour_leaves_its_input_and_without_names_the_picture(ramp):
    image = ramp.transpose(2, 0, 1)[:, :64, :64] / np.float32(255)
    before = image.copy()
    assert np.array_equal(recolour(image, rng(), ()), image)
    for seed in range(10):
        assert recolour(image, rng(seed)).dtype == np.float32
    assert np.array_equal(image, before)


def test_equalise_raises_local_contrast_and_keeps_the_hue():
    """As published: CLAHE of L in Lab, 8 x 8 tiles. Of grey pictures it is OpenCV's own."""
    cv2 = pytest.importorskip("cv2")
    noise = cv2.GaussianBlur(rng().random((256, 256)), (0, 0), 6)
    smooth = 0.3 + 0.2 * (noise - noise.min()) / np.ptp(noise)
    grey = np.repeat(smooth[None], 3, 0).astype(np.float32)
    result = [equalise(grey, clip) for clip in (1, 2, 4)]
    assert all(r.shape == grey.shape and r.dtype == np.float32 for r in result)
    assert grey.std() < result[0].std() < result[1].std() < result[2].std()
    assert np.abs(result[2] - result[2][:1]).max() < 1.5 / 255  # still grey
    before, after = (
        cv2.cvtColor((x.transpose(1, 2, 0) * 255).round().astype(np.uint8), cv2.COLOR_RGB2LAB)
        for x in (grey, result[1])
    )
    expected = cv2.createCLAHE(2, (8, 8)).apply(np.ascontiguousarray(before[..., 0]))
    assert np.abs(after[..., 0].astype(int) - expected).max() <= 2  # rounded twice
    colour = np.stack([smooth + 0.1, smooth, smooth - 0.1]).astype(np.float32)
    mean = equalise(colour, 2).mean((1, 2))
    assert mean[0] > mean[1] + 0.05 and mean[1] > mean[2] + 0.05


def test_equalise_takes_any_size_and_says_that_it_needs_opencv(monkeypatch):
    for shape in ((7, 9), (33, 100), (1, 1), (96, 31)):
        result = equalise(0.3 + 0.2 * rng().random((3, *shape), dtype=np.float32), 2)
        assert result.shape == (3, *shape) and result.min() >= 0 and result.max() <= 1
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match='"contrast" needs OpenCV: pip install'):
        equalise(np.zeros((3, 8, 8), np.float32), 2)


def test_contrast_is_applied_to_half_with_published_clips(ramp, monkeypatch):
    clips = []
    monkeypatch.setattr(module, "equalise", lambda image, clip: clips.append(clip) or image)
    for seed in range(400):
        recolour(np.zeros((3, 8, 8), np.float32), rng(seed), ("contrast",))
    assert 160 < len(clips) < 240 and 1 <= min(clips) < 1.1 and 3.9 < max(clips) <= 4


# --- errors and speed -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augmentations": ("flip", "blur")}, "no augmentation 'blur'; expected flip, perspective"),
        ({"augmentations": "color"}, "no augmentation 'color'"),
        ({"size": 0}, "size is 0; expected 1 or more"),
        ({"zoom": (2, 1)}, r"zoom is \(2, 1\); expected two numbers"),
        ({"zoom": (0, 1)}, r"zoom is \(0, 1\)"),
        ({"zoom": (1, float("inf"))}, r"zoom is \(1, inf\)"),
        ({"zoom": (1, float("nan"))}, r"zoom is \(1, nan\)"),
        ({"zoom": (1,)}, r"zoom is \(1,\)"),
    ],
)
def test_bad_settings(ramp, arguments, message):
    with pytest.raises(ValueError, match=message):
        augment(**({"photo": ramp, "size": 8, "rng": rng()} | arguments))


def test_the_picture_shows_every_augmentation_at_work():
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("skimage")
    from lama_ref.course import plots

    figure = plots.augmentations(("coffee",), size=32)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["photograph", "plain crop", *AUGMENTATIONS, "all together"]
    shown = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[1:]]
    assert all(picture.shape == (32, 32, 3) for picture in shown)
    assert all(np.abs(picture - shown[0]).max() > 0.01 for picture in shown[1:])
    plt.close(figure)
