"""The sliced Wasserstein distance of patches against closed forms, scipy and brute force."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance

from lama_ref.evaluation import texture
from lama_ref.evaluation.metrics import bootstrap_counts
from lama_ref.evaluation.texture import TexturePatches, laplacian_pyramid, sliced_wasserstein

RNG = np.random.default_rng(0)


def pictures(n=4, size=64, seed=0):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.random((n, 3, size, size)), (0, 0, 3, 3))
    images = 0.5 + 4 * (smooth - 0.5) + 0.1 * rng.random((n, 3, size, size))
    masks = np.zeros((n, size, size), bool)
    masks[:, size // 4 : size // 2, size // 8 : -size // 4] = True
    return images.clip(0, 1).astype(np.float32), masks


# --- the pyramid ------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(64, 64), (37, 50), (33, 64)])
def test_pyramid_rebuilds_the_picture(size):
    image = RNG.random((1, 2, *size)).astype(np.float32)
    bands = laplacian_pyramid(image, 3)
    assert [b.shape[2] for b in bands] == [size[0], -(-size[0] // 2), -(-size[0] // 4)]
    taps = np.array([1, 4, 6, 4, 1]) / 8
    rebuilt = bands[-1]
    for band in bands[-2::-1]:
        wide = np.zeros_like(band)
        wide[..., ::2, ::2] = rebuilt
        for axis in (2, 3):
            padded = np.pad(wide, [(2, 2) if a == axis else (0, 0) for a in range(4)], "reflect")
            wide = sum(t * np.take(padded, range(i, i + wide.shape[axis]), axis)
                       for i, t in enumerate(taps))  # fmt: skip
        rebuilt = wide + band
    np.testing.assert_allclose(rebuilt, image, atol=1e-5)


def test_pyramid_separates_scales():
    flat = np.full((1, 3, 33, 40), 0.7, np.float32)
    *fine, low = laplacian_pyramid(flat, 3)  # a constant has no detail, at the border neither
    assert max(np.abs(b).max() for b in fine) < 1e-6 and np.allclose(low, 0.7)
    x = np.arange(64)
    for period, most in ((2, 0), (8, 1), (40, 2)):
        image = np.broadcast_to(np.cos(2 * np.pi * x / period), (1, 3, 64, 64))
        energy = [float((b**2).mean()) for b in laplacian_pyramid(image, 3)]
        assert int(np.argmax(energy)) == most, (period, energy)


# --- patches ----------------------------------------------------------------------------------
def test_patches_are_the_windows_centred_in_the_hole():
    images, masks = pictures(3)
    patches = TexturePatches(images, masks, per_image=16, directions=5)
    assert patches.levels == 2 and [p.shape for p in patches.real] == [(3, 16, 5)] * 2
    bands = laplacian_pyramid(images, 2)
    for level, band in enumerate(bands):
        spread = band.astype(np.float64).std((0, 2, 3))
        for i, k in ((0, 0), (2, 15)):
            y, x = patches._places[level][i, k]
            assert masks[i, y * 2**level, x * 2**level]
            window = band[i, :, y - 3 : y + 4, x - 3 : x + 4] / spread[:, None, None]
            expected = patches._directions[level] @ window.ravel()
            np.testing.assert_allclose(patches.real[level][i, k], expected, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(patches._directions, axis=2), 1, atol=1e-5)


def test_only_the_hole_and_its_edge_matter():
    images, masks = pictures()
    patches = TexturePatches(images, masks, levels=1)
    far = np.where(gaussian_filter(masks.astype(float), (0, 4, 4))[:, None] < 1e-3, 0, images)
    assert sliced_wasserstein(patches.project(far), patches.real) == [0]
    changed = np.where(masks[:, None], 0, images)
    assert sliced_wasserstein(patches.project(changed), patches.real)[0] > 0.1


def test_same_numbers_in_chunks_and_from_any_iterable():
    images, masks = pictures(5)
    whole = TexturePatches(images, masks, per_image=8)
    parts = TexturePatches((images[i : i + 2] for i in (0, 2, 4)), masks, per_image=8)
    other = gaussian_filter(images, (0, 0, 1, 1))
    pieces = [parts.project(other[i : i + 3], i) for i in (0, 3)]
    for level, expected in enumerate(whole.project(other)):
        np.testing.assert_array_equal(parts.real[level], whole.real[level])
        np.testing.assert_array_equal(np.concatenate([p[level] for p in pieces]), expected)
    again = TexturePatches(images, masks, per_image=8, seed=1)
    assert not np.array_equal(again.real[0], whole.real[0])


@pytest.mark.parametrize("where", [np.s_[:, 21, 33], np.s_[:, :2], np.s_[:, 63, 63]])
def test_thin_holes_and_holes_at_the_border_have_patches(where):
    images, masks = pictures(2)
    masks[:] = False
    masks[where] = True
    patches = TexturePatches(images, masks, levels=3, per_image=4)
    for level, places in enumerate(patches._places):
        assert (places >= 3).all() and (places < 64 // 2**level - 3).all()
    y, x = np.argwhere(masks[0])[0]
    nearest = np.clip((y // 4, x // 4), 3, 12)
    assert (np.abs(patches._places[2][0] - nearest)[:, 0] == 0).all()


def test_what_does_not_fit_is_named():
    images, masks = pictures(2)
    for bad, message in (
        (dict(masks=masks.astype(float)), "must be bool"),
        (dict(masks=np.zeros_like(masks)), "each with a hole"),
        (dict(masks=masks[:1]), "picture 1 of shape"),
        (dict(images=images[:1]), "1 pictures for 2 masks"),
        (dict(images=images[..., :32]), "does not fit masks"),
        (dict(size=8), "odd side"),
        (dict(levels=5), "has only 4 px"),
    ):
        with pytest.raises(ValueError, match=message):
            TexturePatches(**({"images": images, "masks": masks} | bad))


# --- the distance -----------------------------------------------------------------------------
def test_distance_is_scipys_along_each_direction():
    a, b = RNG.normal(size=(3, 20, 4)), RNG.gamma(2, size=(3, 20, 4))
    each = [wasserstein_distance(a[..., d].ravel(), b[..., d].ravel()) for d in range(4)]
    expected = np.mean(each)
    assert sliced_wasserstein([a, a], [b, a]) == [pytest.approx(expected), 0]


def test_distance_of_gaussians_in_closed_form():
    x = RNG.normal(size=(50, 200, 8))
    assert sliced_wasserstein([x + 0.3], [x])[0] == pytest.approx(0.3)
    other = RNG.normal(size=(50, 200, 8))
    # N(0, 2) against N(0, 1): E|2z - z| = sqrt(2 / pi); sampling adds about 1 / sqrt(10,000)
    found = sliced_wasserstein([2 * other], [x])[0]
    assert found == pytest.approx(np.sqrt(2 / np.pi), abs=0.03)
    # along random directions of white patches of unit spread, a shift is its projection
    images = RNG.normal(size=(20, 3, 33, 33)).astype(np.float32)
    patches = TexturePatches(images, np.ones((20, 33, 33), bool), levels=1, directions=2000)
    (shifted,) = sliced_wasserstein(patches.project(images + 0.2), patches.real)
    # the shift is 0.2 (1, ..., 1), of length 0.2 sqrt(147); its cosine with a direction is
    # about normal with variance 1 / 147
    assert shifted == pytest.approx(0.2 * np.sqrt(2 / np.pi), rel=0.05)
    (scaled,) = sliced_wasserstein(patches.project(1.5 * images), patches.real)
    assert scaled == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.05)


def test_zero_for_equal_sets_and_up_with_blur_and_with_noise():
    images, masks = pictures(6, 128)
    patches = TexturePatches(images, masks)
    assert patches.levels == 3

    def distance(x):
        fake = patches.project(np.where(masks[:, None], x, images))
        return np.array(sliced_wasserstein(fake, patches.real))

    assert (distance(images) == 0).all()
    for worse in (
        lambda s: gaussian_filter(images, (0, 0, s, s)),
        lambda s: images + np.random.default_rng(1).normal(0, s / 10, images.shape),
        lambda s: images + 0.1 * s,  # a tint
    ):
        a, b, c = (distance(worse(s)).mean() for s in (0.4, 0.8, 1.6))
        assert 0.005 < a < b < c
    tint, noise = distance(images + 0.1), distance(images + RNG.normal(0, 0.05, images.shape))
    assert np.argmax(tint) == 2 and np.argmax(noise) == 0  # coarse, fine
    # the right texture elsewhere is nearly as good: sets are compared, not pixels
    blurred = gaussian_filter(images, (0, 0, 1, 1))
    assert distance(np.roll(images, 5, 3)).mean() < 0.5 * distance(blurred).mean()


def test_resampled_distances_are_those_of_repeated_pictures():
    images, masks = pictures(6)
    patches = TexturePatches(images, masks, per_image=32, directions=40)
    worse = gaussian_filter(images, (0, 0, 0.7, 0.7)) + 0.05 * RNG.normal(size=images.shape)
    fake, counts, expected = patches.project(worse), bootstrap_counts(6, 30), []
    for c in counts:
        sets = ([np.repeat(x, c, 0) for x in s] for s in (fake, patches.real))
        expected.append(np.mean(sliced_wasserstein(*sets)))
    found = texture.resampled(fake, patches.real, counts)
    np.testing.assert_allclose(found, expected, rtol=0.01)
    assert np.std(expected) > 0.03 * np.mean(expected)  # or this would test little
    same = texture.resampled(fake, patches.real, np.ones((1, 6), int))
    assert same == pytest.approx(np.mean(sliced_wasserstein(fake, patches.real)))
    assert (texture.resampled(patches.real, patches.real, counts) == 0).all()
