"""Metrics against closed forms and scipy; baselines against what they promise."""

import numpy as np
import pytest
from scipy import stats

from lama_ref.evaluation import baselines
from lama_ref.evaluation.compare import compare_with_classical, pictures, table
from lama_ref.evaluation.metrics import hole_l1, paired_bootstrap

RNG = np.random.default_rng(0)


def test_hole_l1_closed_form():
    image = np.zeros((2, 3, 4, 4))
    mask = np.zeros((2, 4, 4), bool)
    mask[0, :2] = mask[1, 0, 0] = True
    result = image.copy()
    result[0, 0] = 0.3  # one of three channels, everywhere: known pixels must not count
    result[1] = 0.5
    np.testing.assert_allclose(hole_l1(result, image, mask), [0.1, 0.5])
    with pytest.raises(ValueError, match="mask 1 hides nothing"):
        hole_l1(result, image, np.stack([mask[0], np.zeros((4, 4), bool)]))


def test_paired_bootstrap_agrees_with_scipy():
    a, b = RNG.normal(0.0, 1, 80), RNG.normal(0.4, 1, 80)
    mean, low, high = paired_bootstrap(a, b)
    expected = stats.bootstrap((a - b,), np.mean, method="percentile", random_state=1)
    assert mean == pytest.approx((a - b).mean())
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.02)
    with pytest.raises(ValueError, match="equally long"):
        paired_bootstrap([1.0], [2.0])


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_baselines_keep_known_pixels_and_fill_a_flat_picture(name):
    fill = baselines.BASELINES[name]
    mask = np.zeros((20, 24), bool)
    mask[5:12, 6:15] = True
    image = RNG.random((3, 20, 24), np.float32)
    result = fill(image, mask)
    np.testing.assert_array_equal(result[:, ~mask], image[:, ~mask])
    assert (result[:, mask] != image[:, mask]).any()
    flat = np.full((3, 20, 24), 100 / 255, np.float32)
    np.testing.assert_allclose(fill(np.where(mask, 0, flat), mask), flat, atol=4 / 255)


def test_mean_fill_is_the_mean_of_known_pixels():
    image, mask = RNG.random((3, 8, 8), np.float32), RNG.random((8, 8)) < 0.5
    expected = [image[c][~mask].mean() for c in range(3)]
    np.testing.assert_allclose(baselines.mean_fill(image, mask)[:, mask].T[0], expected, rtol=1e-5)


def test_comparison_is_reproducible_and_paired():
    first = compare_with_classical("mini-fourier", None, "wide", 32, 6, 5)
    assert first == compare_with_classical("mini-fourier", None, "wide", 32, 6, 5)
    for name, (mean, low, high) in first["difference"].items():
        values = first["hole_l1"]
        assert mean == pytest.approx(values["mini-fourier"] - values[name], abs=3e-5)
        assert low <= mean <= high
    assert "telea" in table(first)


def test_photographs_are_centred_squares(tmp_path):
    from PIL import Image

    array = np.zeros((20, 40, 3), np.uint8)
    array[:, 10:30] = 255
    Image.fromarray(array).save(tmp_path / "x.png")
    result = pictures(tmp_path, 20, 5, 0)
    assert result.shape == (1, 3, 20, 20) and (result == 1).all()
