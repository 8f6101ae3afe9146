"""Metrics against closed forms, scikit-image, scipy, scikit-learn and published values."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import linalg, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lama_ref.evaluation import distances, metrics, networks
from lama_ref.weights import names
from lama_ref.weights.files import checksum
from lama_ref.weights.names import load_features

RNG = np.random.default_rng(0)


def published(seed):
    """Image and mask of the published parity values: (2, 3, 64, 64), (2, 64, 64)."""
    rng = np.random.RandomState(seed)
    image = rng.random_sample((2, 3, 64, 64)).astype(np.float32)
    return image, rng.random_sample((2, 64, 64)) > 0.7


def box(side, rows, columns):
    """A mask (1, side, side) with a hole in these rows and columns."""
    mask = np.zeros((1, side, side), bool)
    mask[0, slice(*rows), slice(*columns)] = True
    return mask


# --- single pictures --------------------------------------------------------------------------
def test_hole_l1_closed_form():
    image = np.zeros((2, 3, 4, 4))
    mask = np.zeros((2, 4, 4), bool)
    mask[0, :2] = mask[1, 0, 0] = True
    result = image.copy()
    result[0, 0] = 0.3  # one of three channels, everywhere: known pixels must not count
    result[1] = 0.5
    np.testing.assert_allclose(metrics.hole_l1(result, image, mask), [0.1, 0.5])
    np.testing.assert_allclose(metrics.l1(result, image, mask), [0.1, 0.5])
    result[1, :, 0, 0] = 0.1
    np.testing.assert_allclose(metrics.hole_psnr(result, image, mask), [-10 * np.log10(0.03), 20])
    with pytest.raises(ValueError, match="mask 1 hides nothing"):
        metrics.hole_l1(result, image, np.stack([mask[0], np.zeros((4, 4), bool)]))
    with pytest.raises(ValueError, match="bool mask"):
        metrics.ssim(result, image, mask[:, :3])


def test_whole_picture_metrics_agree_with_scikit_image():
    (a, mask), (b, _) = published(1), published(2)
    expected = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(a, b)]
    np.testing.assert_allclose(metrics.psnr(b, a, mask), expected, rtol=1e-5)
    assert (metrics.psnr(a, a, mask) == 100).all()
    for x, y, found in zip(a, b, metrics.ssim_map(a, b)):
        _, full = structural_similarity(
            x, y, channel_axis=0, data_range=1, gaussian_weights=True, use_sample_covariance=False,
            full=True,
        )  # fmt: skip
        inside = slice(5, -5)  # it mirrors pictures at their border, the published code does not
        np.testing.assert_allclose(found[inside, inside], full.mean(0)[inside, inside], atol=1e-6)


def test_ssim_published_values():
    (a, mask), (b, _) = published(1), published(2)
    np.testing.assert_allclose(metrics.ssim(a, b, mask), [0.05280605, 0.06869227], atol=1e-6)
    mixed = 0.9 * a + 0.1 * b
    np.testing.assert_allclose(metrics.ssim(a, mixed, mask), [0.98919988, 0.98949116], atol=1e-6)
    where = metrics.ssim_map(a, b)
    np.testing.assert_allclose(
        metrics.hole_ssim(a, b, mask), [w[m].mean() for w, m in zip(where, mask)]
    )


def test_ring_colour_sees_a_tint_at_the_edge_and_nothing_else():
    image, mask = np.full((1, 3, 64, 64), 0.5), box(64, (10, 30), (8, 24))
    tinted = image.copy()
    tinted[:, 1] += 0.3 * mask
    assert metrics.ring_colour(tinted, image, mask) == pytest.approx(0.1)
    texture = image + 0.2 * (-1) ** np.add(*np.indices((64, 64))) * mask  # right on average
    assert metrics.ring_colour(texture, image, mask) == pytest.approx(0, abs=2e-3)
    deep = image.copy()
    deep[:, :, 16:24, 14:18] = 1
    assert metrics.ring_colour(deep, image, mask, width=4) == 0
    assert metrics.ring_colour(deep, image, mask, width=8) > 0
    mask[0, 40:44, 8:12] = True  # a second hole, wrong the other way: errors do not cancel
    tinted[:, :, 40:44, 8:12] -= 0.3
    ring, small = 20 * 16 - 16 * 12, 4 * 4  # two pixels wide; the small hole is all ring
    expected = (0.1 * ring + 0.3 * small) / (ring + small)
    assert metrics.ring_colour(tinted, image, mask) == pytest.approx(expected)
    everywhere = np.ones_like(mask)
    assert metrics.ring_colour(image + 0.2, image, everywhere) == pytest.approx(0.2)


def test_hole_correlation_is_pearsons():
    image, mask = published(3)
    result = RNG.random(image.shape)
    found = metrics.hole_correlation(result, image, mask)
    for value, y, x, hole in zip(found, result, image, mask):
        expected = np.corrcoef(y.mean(0)[hole], x.mean(0)[hole])[0, 1]
        assert value == pytest.approx(expected, abs=1e-6)
    paler = np.where(mask[:, None], 0.3 + 0.2 * image, RNG.random(image.shape))
    np.testing.assert_allclose(metrics.hole_correlation(paler, image, mask), 1, atol=1e-6)
    np.testing.assert_allclose(metrics.hole_correlation(1 - image, image, mask), -1, atol=1e-6)
    flat = np.full_like(image, 0.4)
    assert (metrics.hole_correlation(flat, image, mask) == 0).all()


def test_colour_grain_sees_coloured_speckle_and_nothing_else():
    image, mask = np.full((1, 3, 40, 40), 0.5), box(40, (10, 30), (10, 30))
    noise = RNG.normal(0, 0.1, (1, 3, 40, 40))

    def grain(result):
        return metrics.colour_grain(np.where(mask[:, None], result, image), image, mask)[0]

    # white noise s per channel: colour has s sqrt(2/3), less 1/25 of it in the mean of 5x5 pixels
    expected = 0.1 * np.sqrt(2 / 3) * np.sqrt(24 / 25) * np.sqrt(2 / np.pi)
    assert grain(image + noise) == pytest.approx(expected, rel=0.06)
    assert abs(grain(image + noise[:, :1])) < 1e-12  # grey grain
    tint = np.array([0.2, -0.1, 0.0])[None, :, None, None]
    assert abs(metrics.colour_grain(image + tint, image, mask)[0]) < 1e-12  # a wrong hue, but flat
    speckled = image + noise
    assert metrics.colour_grain(image, speckled, mask)[0] == pytest.approx(-expected, rel=0.06)


def test_seam_gradient_is_the_excess_step():
    ramp = np.broadcast_to(np.arange(32) / 64, (1, 3, 32, 32))  # 1/64 a column, none a row
    mask = box(32, (8, 16), (4, 20))
    pairs, across = 2 * (8 + 16), 2 * 8
    assert metrics.seam_gradient(ramp, ramp, mask) == 0
    flat = np.where(mask, ramp[0, 0, 0, 3], ramp)  # no step on the left, 17 columns' on the right
    steps = 8 * 17 + 2 * np.arange(1, 17).sum()  # and along the upper and lower edge
    expected = (steps - across) / 64 / pairs
    assert metrics.seam_gradient(flat, ramp, mask) == pytest.approx(expected)
    rough = np.where(mask[:, None], RNG.random(ramp.shape), 0.5)
    assert metrics.seam_gradient(np.full_like(ramp, 0.5), rough, mask) < 0
    assert metrics.seam_gradient(ramp, ramp, np.ones_like(mask)) == 0


def test_paired_bootstrap_agrees_with_scipy():
    a, b = RNG.normal(0.0, 1, 80), RNG.normal(0.4, 1, 80)
    mean, low, high = metrics.paired_bootstrap(a, b)
    expected = stats.bootstrap((a - b,), np.mean, method="percentile", random_state=1)
    assert mean == pytest.approx((a - b).mean())
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.02)
    with pytest.raises(ValueError, match="equally long"):
        metrics.paired_bootstrap([1.0], [2.0])


def test_bootstrap_counts_are_resamples():
    counts = metrics.bootstrap_counts(40, 3000)
    assert (counts.sum(1) == 40).all() and counts.shape == (3000, 40)
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.1)


# --- sets of pictures -------------------------------------------------------------------------
def gaussians(seed=0):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(50, 8)), 1.3 * rng.normal(size=(50, 8)) + 0.2


def test_frechet_distance_published_value_and_scipy():
    a, b = gaussians()
    assert distances.frechet_distance(a, b) == pytest.approx(2.1247379, abs=1e-6)
    assert distances.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    b = b @ RNG.normal(size=(8, 8))
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert distances.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert distances.frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_closed_form_and_counts():
    x = RNG.normal(size=(200, 1))
    x = (x - x.mean()) / x.std(ddof=1)
    assert distances.frechet_distance(x, 3 * x + 2) == pytest.approx(2**2 + (3 - 1) ** 2)
    a, b = gaussians()
    counts = RNG.integers(0, 4, 50)
    expected = distances.frechet_distance(np.repeat(a, counts, 0), np.repeat(b, counts, 0))
    assert distances.frechet_distance(a, b, counts) == pytest.approx(expected)


def test_frechet_distance_refuses_what_is_meaningless():
    with pytest.raises(ValueError, match="at least 8 pictures, not 7: use a kernel distance"):
        distances.frechet_distance(*(x[:7] for x in gaussians()))
    with pytest.raises(ValueError, match="finite"):
        distances.frechet_distance(np.full((9, 2), np.nan), np.zeros((9, 2)))
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        distances.kernel_distance(np.zeros((30, 2)), np.zeros((30, 3)))


def kernel(x, y):
    return (x @ y / len(x) + 1) ** 3


def test_kernel_distance_by_loops():
    a, b = (x[:20] for x in gaussians(1))
    total = sum(
        kernel(a[i], a[j]) + kernel(b[i], b[j]) - kernel(a[i], b[j]) - kernel(a[j], b[i])
        for i in range(20) for j in range(20) if i != j
    )  # fmt: skip
    value, error = distances.kernel_distance(a, b)
    assert value == pytest.approx(total / (20 * 19)) and error > 0
    counts = metrics.bootstrap_counts(20, 3)
    drawn = distances.resampled_kernel(distances.kernel_terms(a, b), counts)
    for count, found in zip(counts, drawn):
        rows = np.repeat(np.arange(20), count)
        pairs = [(i, j) for i in rows for j in rows if i != j]
        terms = distances.kernel_terms(a, b)
        assert found == pytest.approx(np.mean([terms[i, j] for i, j in pairs]))
    with pytest.raises(ValueError, match="at least 20 pictures, not 19"):
        distances.kernel_distance(a[:19], b[:19])


def test_kernel_distance_of_paired_sets_is_unbiased_where_the_usual_one_is_not():
    rng, ours, usual = np.random.default_rng(3), [], []
    for _ in range(300):
        real = rng.normal(size=(40, 4))
        fake = np.where(rng.random((40, 1)) < 0.5, real, rng.normal(size=(40, 4)))  # same law
        ours.append(distances.kernel_distance(fake, real))
        cross = np.diag([kernel(x, y) for x, y in zip(fake, real)]).sum()
        terms = distances.kernel_terms(fake, real).sum() / (40 * 39)
        both = (np.array([[kernel(x, y) for y in real] for x in fake])).sum()
        usual.append(terms + 2 * (both - cross) / (40 * 39) - 2 * both / 40**2)
    values, errors = np.array(ours).T
    scatter = values.std() / np.sqrt(300)
    assert abs(values.mean()) < 3 * scatter
    assert np.mean(usual) < -10 * scatter
    assert errors.mean() == pytest.approx(values.std(), rel=0.35)  # what it says it is


# --- networks ---------------------------------------------------------------------------------
ALEXNET = {  # number of a convolution: channels out and in, kernel, stride, padding
    0: (64, 3, 11, 4, 2), 3: (192, 64, 5, 1, 2), 6: (384, 192, 3, 1, 1), 8: (256, 384, 3, 1, 1),
    10: (256, 256, 3, 1, 1),
}  # fmt: skip


@pytest.fixture
def alexnet(tmp_path, monkeypatch):
    """A file in the layout of torchvision's AlexNet, known by its own hash for this test."""
    torch.manual_seed(0)
    state = {}
    for i, (c_out, c_in, k, _, _) in ALEXNET.items():
        state[f"features.{i}.weight"] = torch.randn(c_out, c_in, k, k) * (c_in * k * k) ** -0.5
        state[f"features.{i}.bias"] = torch.randn(c_out) / 10
    torch.save(state, tmp_path / "file")
    entry = names.published()["lpips-alex"]
    known = {checksum(tmp_path / "file"): 0}
    monkeypatch.setitem(names.published(), "lpips-alex", dataclasses.replace(entry, known=known))
    (tmp_path / "cache").mkdir()
    (tmp_path / "file").rename(tmp_path / "cache" / entry.file)
    monkeypatch.setenv("LAMA_REF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path, state


def test_lpips_by_its_definition(alexnet):
    _, state = alexnet
    path, digest = networks.find("lpips-alex")
    distance = networks.lpips("lpips-alex", path)
    (a, _), (b, _) = published(1), published(2)
    learned = Path(importlib.util.find_spec("lpips").origin).parent / "weights/v0.1/alex.pth"
    lin = torch.load(learned, map_location="cpu", weights_only=True)

    def layers(x):
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = (2 * torch.tensor(x) - 1 - shift[:, None, None]) / scale[:, None, None]
        for i, (*_, stride, padding) in ALEXNET.items():
            x = F.max_pool2d(x, 3, 2) if i in (3, 6) else x
            weight, bias = state[f"features.{i}.weight"], state[f"features.{i}.bias"]
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            yield x / (x.norm(dim=1, keepdim=True) + 1e-10)

    expected = sum(
        (lin[f"lin{i}.model.1.weight"] * (x - y) ** 2).sum(1).mean((1, 2))
        for i, (x, y) in enumerate(zip(layers(a), layers(b)))
    )
    np.testing.assert_allclose(distance(a, b), expected, rtol=1e-4)
    assert (distance(a, a) == 0).all() and digest == checksum(path)


def test_missing_and_wrong_backbones_are_named(alexnet):
    folder, _ = alexnet
    with pytest.raises(FileNotFoundError, match="lama-ref weights fetch lpips-vgg.*swd"):
        networks.find("lpips-vgg")
    path = folder / "cache" / names.entry("lpips-alex").file
    assert networks.find("lpips-alex")[0] == path
    path.write_bytes(b"half of it")
    with pytest.raises(ValueError, match="is not lpips-alex.*download it again"):
        networks.find("lpips-alex")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"lama-ref\[fid\]\""):
        networks.inception(tmp_path / "x.pth")


def test_inception_features_are_those_of_torch_fidelity(tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity", exc_type=ImportError)
    networks.import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    module = sys.modules[FeatureExtractorInceptionV3.__module__]
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})

    class Fresh(FeatureExtractorInceptionV3):  # random weights, for this test alone
        def load_state_dict(self, state):
            return None

    torch.manual_seed(0)
    network = Fresh("inception", ["2048"])
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    features = networks.inception(tmp_path / "inception.pth")
    image, _ = published(1)
    pixels = torch.tensor((image * 255).round()).to(torch.uint8)
    np.testing.assert_allclose(features(image), network(pixels)[0].numpy(), rtol=1e-5)
    assert features(image).shape == (2, 2048)


def test_segmentation_features_are_the_mean_of_the_last_layer():
    path, digest = networks.find("segmentation")
    image, _ = published(1)
    network = load_features("segmentation-dilated")
    with torch.no_grad():
        expected = network(torch.tensor(image))[-1].mean((2, 3))
    found = networks.segmentation(path)(image)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.shape == (2, networks.WIDTH)
    assert digest == names.card("segmentation-dilated")["sha256"]
