"""Classical baselines against what they promise; pictures and masks that models are compared on."""

import numpy as np
import pytest
from PIL import Image

from lama_ref.evaluation import baselines, held_out
from lama_ref.evaluation.held_out import Pictures, pictures
from lama_ref.masks import sample
from lama_ref.pictures import scenes

RNG = np.random.default_rng(0)
MASK = np.zeros((20, 24), bool)
MASK[5:12, 6:15] = True


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_baselines_keep_known_pixels_and_fill_a_flat_picture(name):
    fill, mask = baselines.BASELINES[name], MASK
    image = RNG.random((3, 20, 24), np.float32)
    result = fill(image, mask)
    np.testing.assert_array_equal(result[:, ~mask], image[:, ~mask])
    assert (result[:, mask] != image[:, mask]).any() and result.dtype == np.float32
    np.testing.assert_array_equal(fill(np.where(mask, 0.3, image), mask), result)  # no peeking
    flat = np.full((3, 20, 24), 100 / 255, np.float32)
    np.testing.assert_allclose(fill(np.where(mask, 0, flat), mask), flat, atol=4 / 255)
    assert baselines.version(name).split()[0] in ("OpenCV", "scikit-image", "lama_ref")


def test_a_baseline_without_an_author_is_not_called_opencv():
    with pytest.raises(ValueError, match="whose is 'nobody'"):
        baselines.version("nobody")


def test_mean_fill_is_the_mean_of_known_pixels():
    image, mask = RNG.random((3, 8, 8), np.float32), RNG.random((8, 8)) < 0.5
    expected = [image[c][~mask].mean() for c in range(3)]
    np.testing.assert_allclose(baselines.mean_fill(image, mask)[:, mask].T[0], expected, rtol=1e-5)
    everything = np.ones((8, 8), bool)
    for fill in (baselines.mean_fill, baselines.biharmonic):
        assert (fill(image, everything) == 0.5).all()


def test_biharmonic_continues_a_ramp():
    ramp = np.broadcast_to(np.linspace(0.1, 0.9, 24), (3, 20, 24)).astype(np.float32)
    given = np.where(MASK, 0, ramp), MASK
    np.testing.assert_allclose(baselines.biharmonic(*given), ramp, atol=1e-3)
    assert np.abs(baselines.telea(*given) - ramp).max() > 0.01


def test_photographs_are_centred_squares(tmp_path):
    array = np.zeros((20, 40, 3), np.uint8)
    array[:, 10:30] = 255
    Image.fromarray(array).save(tmp_path / "x.png")
    result = pictures(tmp_path, 20, 5, 0)
    assert result.shape == (1, 3, 20, 20) and (result == 1).all()


def test_scenes_are_those_of_the_seed_in_any_chunks():
    expected = scenes.batch(5, 32, np.random.default_rng(7))[0]
    np.testing.assert_array_equal(pictures("scenes", 32, 5, 7), expected)
    one = Pictures("scenes", 32, 5, 7)
    for _ in range(2):
        chunks = list(one.chunks(2))
        assert [len(chunk) for chunk in chunks] == [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate(chunks), expected)
    assert one.sha256() == one.sha256() != Pictures("scenes", 32, 5, 8).sha256()


def test_masks_hide_10_to_50_percent_and_have_a_hash():
    masks = held_out.holes("wide", 64, 6, 3)
    shares = masks.mean((1, 2))
    assert masks.shape == (6, 64, 64) and masks.dtype == bool
    assert shares.min() >= 0.1 and shares.max() <= 0.5
    rng = np.random.default_rng((3, 1))  # as all results recorded so far
    expected = sample("wide", (64, 64), 6, rng, share=(0.1, 0.5))
    np.testing.assert_array_equal(masks, expected)
    other = masks.copy()
    other[5, 63, 63] ^= True
    digests = {
        held_out.masks_sha256(m) for m in (masks, other, masks[:5], masks.reshape(3, 128, 64))
    }
    assert len(digests) == 4
