"""The losses: published values, values by hand, gradients, and where they must not flow."""

from __future__ import annotations

import math
import os

import golden_weights as golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor, nn

from lama_ref import LaMaLoss, build_discriminator
from lama_ref.losses import (
    LossWeights,
    chance_level,
    feature_matching,
    masked_l1,
    patch_labels,
    r1_penalty,
)

LN2 = math.log(2)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


class Toy(nn.Module):
    """A smooth discriminator: logits and two features, all with parameters; no BatchNorm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 2, 2, 2)
        self.second = nn.Conv2d(2, 2, 2, 2)
        self.last = nn.Conv2d(2, 1, 1)
        self.double()

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        a = self.first(image).tanh()
        b = self.second(a).tanh()
        return self.last(b), [a, b]


class Constant(nn.Module):
    """Scores that do not look: one number everywhere, still connected to the image."""

    def __init__(self, score: float, size: tuple[int, int] = (2, 2)):
        super().__init__()
        self.score, self.size = score, size

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits = 0 * image.mean() + torch.full((len(image), 1, *self.size), self.score)
        return logits, [image]


class Several(nn.Module):
    """Three maps of scores of different sizes and three features, one of each from each head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.ModuleList(nn.Conv2d(3, 1, k, k) for k in (1, 2, 4)).double()

    def one(self, image: Tensor, i: int) -> tuple[Tensor, list[Tensor]]:
        x = self.heads[i](image)
        return x.sinh(), [x]

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        logits, features = zip(*(self.one(image, i) for i in range(3)))
        return list(logits), [x for one in features for x in one]


def batch(n: int = 2, side: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(image, mask, prediction) in float64."""
    rng = np.random.default_rng(seed)
    image, prediction = (torch.from_numpy(rng.random((n, 3, side, side))) for _ in range(2))
    mask = torch.from_numpy(rng.random((n, 1, side, side)) > 0.6).double()
    return image, mask, prediction


# --------------------------------------------------------------------------- published values
@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """All terms on the inputs for which the published code's values are recorded."""
    loss = LaMaLoss(golden.fill_uniform(build_discriminator(width=8, layers=4)))
    real, fake = golden.image(11, 2, 3, 64, 64), golden.image(12, 2, 3, 64, 64)
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 10:40, 5:30] = 1
    mask[1, :, 33:60, 21:64] = 1
    total_g, generator = loss.generator(real, mask, fake)
    total_d, discriminator = loss.discriminator(real, mask, fake)
    return generator | discriminator | {"generator": total_g, "discriminator": total_d}


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("l1", 2.5476136207580566),
        ("adversarial", 7.326509952545166),
        ("feature_matching", 100 * 0.032750215381383896),
        ("r1", 0.00142512412276119),
        ("discriminator", 1.4456746578216553),
    ],
)
def test_published_value(published, term, expected):
    assert published[term].item() == pytest.approx(expected, rel=1e-5)


def test_published_values_of_the_other_filling():
    """Another discriminator, pictures and mask; both kinds of labels."""
    d = golden.fill_normal(build_discriminator())
    (a, m), (b, _) = (golden.image_and_mask(seed, 2, 64, 64) for seed in (1, 2))
    assert patch_labels(m, (7, 7)).sum() == 28
    for (known, hole), expected in {(10, 0): 2.3413029, (1, 3): 0.5342214}.items():
        assert masked_l1(b, a, m, known, hole).item() == pytest.approx(expected, rel=1e-6)
    assert feature_matching(d(a)[1], d(b)[1]).item() == pytest.approx(0.00753645, rel=1e-5)
    assert LaMaLoss(d).generator(a, m, b)[1]["adversarial"].item() == pytest.approx(6.7903666)
    for labels, expected in {"nearest": 1.3656831, "maxpool": 1.3872982}.items():
        total, terms = LaMaLoss(d, labels=labels).discriminator(a, m, b)
        assert total.item() == pytest.approx(expected, rel=1e-6)
        assert terms["r1"].item() == pytest.approx(3.92929e-6, rel=1e-5)


# --------------------------------------------------------------------------- L1
def test_l1_by_hand():
    image = torch.zeros(1, 3, 1, 2)
    prediction = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]], [[0.0, 5.0]]]])
    mask = torch.tensor([[[[0.0, 1.0]]]])  # left known, right hole
    # the mean is over all six values, not over those that the mask selects
    assert masked_l1(prediction, image, mask, 10, 0).item() == pytest.approx(10 * 4 / 6)
    assert masked_l1(prediction, image, mask, 0, 1).item() == pytest.approx(7 / 6)
    assert masked_l1(prediction, image, mask, 1, 3).item() == pytest.approx((4 + 3 * 7) / 6)
    assert masked_l1(image, image, mask, 10, 10).item() == 0


# --------------------------------------------------------------------------- feature matching
def test_feature_matching_by_hand():
    real = [torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 1, 1)]
    fake = [torch.full((1, 1, 2, 2), 2.0), torch.tensor([1.0, 4.0]).reshape(1, 2, 1, 1)]
    assert feature_matching(real, fake).item() == (4 + 9 / 2) / 2  # the mean of both means


def test_feature_matching_gradient_goes_to_the_fake_alone():
    a, b = batch(1, 3)[0].requires_grad_(), batch(1, 3)[2].requires_grad_()
    assert torch.autograd.gradcheck(lambda f: feature_matching([a.detach()], [f]), (b,))
    feature_matching([a], [b]).backward()
    assert a.grad is None and b.grad.any()


# --------------------------------------------------------------------------- patch labels
@pytest.mark.parametrize("size", [(19, 19), (7, 5), (3, 8)], ids=str)
@pytest.mark.parametrize("side", [64, 61])
def test_nearest_labels_sample_one_pixel(side, size):
    mask = batch(2, side)[1]
    rows, columns = (np.floor(np.arange(n) * side / n).astype(int) for n in size)
    assert torch.equal(patch_labels(mask, size), mask[:, :, rows][..., columns])


@pytest.mark.parametrize("size", [(4, 4), (7, 5)], ids=str)
def test_maxpool_labels_are_fake_as_soon_as_they_touch(size):
    mask = (batch(2, 24)[1] * batch(2, 24, 1)[1] * batch(2, 24, 2)[1]).float()
    labels = patch_labels(mask, size, "maxpool")
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * 24 // size[0], -(-(i + 1) * 24 // size[0]))
            columns = slice(j * 24 // size[1], -(-(j + 1) * 24 // size[1]))
            assert torch.equal(labels[:, 0, i, j], mask[:, 0, rows, columns].amax((1, 2)))
    assert (labels >= patch_labels(mask, size)).all() and 0 < labels.mean() < 1


def test_unknown_labels():
    with pytest.raises(ValueError, match="'bilinear'"):
        patch_labels(torch.zeros(1, 1, 8, 8), (2, 2), "bilinear")


# --------------------------------------------------------------------------- chance level
@pytest.mark.parametrize("share", [0.0, 1e-3, 0.317, 0.5, 1.0])
def test_chance_level_is_the_least_loss_of_one_score(share):
    """Against a numerical minimum of the loss itself, over scores of a discriminator."""

    def loss(score: float) -> float:
        mask = torch.zeros(1, 1, 1, 1000)
        mask[..., : round(1000 * share)] = 1
        d = Constant(score, (1, 1000))
        with torch.no_grad():
            return LaMaLoss(d).discriminator(0 * mask, mask, mask)[0].item()

    best = optimize.minimize_scalar(loss, bounds=(-10, 20), method="bounded")
    assert chance_level(share) == pytest.approx(best.fun, abs=2e-5)
    if share > 0:
        assert 1 / (1 + math.exp(-best.x)) == pytest.approx(1 - share / 2, abs=2e-3)


def test_chance_level_at_the_ends_and_outside():
    assert f"{chance_level(0):.3f}" == "0.000"  # and not "-0.000"
    assert chance_level(1) == pytest.approx(2 * LN2)
    assert chance_level(0.316) == pytest.approx(0.873, abs=5e-4)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="share of patches"):
            chance_level(share)


# --------------------------------------------------------------------------- R1
def test_r1_of_a_square_is_four_times_the_norm():
    """The sum over all logits, then the mean over the batch; no factor of 1/2."""
    image = batch(3)[0].requires_grad_()
    logits = image.square().sum(1, keepdim=True)  # a map of logits
    expected = 4 * image.square().sum((1, 2, 3)).mean()
    assert r1_penalty(logits, image).item() == pytest.approx(expected.item())


def test_r1_trains_the_discriminator():
    """Its gradient with respect to the parameters, a second derivative, by finite differences."""
    d, image = Toy(), batch(2, 4)[0].requires_grad_()

    def penalty(weight: Tensor) -> Tensor:
        logits, _ = torch.func.functional_call(d, {"first.weight": weight}, (image,))
        return r1_penalty(logits, image)

    weight = d.first.weight.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(weight), weight)
    assert gradient.abs().max() > 1e-6
    assert torch.autograd.gradcheck(penalty, (weight,))


# --------------------------------------------------------------------------- the generator's loss
def test_generator_terms_by_hand():
    d = Toy()
    image, mask, prediction = batch()
    weights = LossWeights(2, 3, 5, 7, 11, 13)
    total, terms = LaMaLoss(d, lambda x: [x.mean(1), 2 * x], weights).generator(
        image, mask, prediction
    )
    logits = d(prediction)[0].detach().numpy()
    difference = (prediction - image).numpy()
    m = mask.numpy()
    features = [(f - r).square().mean().item() for f, r in zip(d(prediction)[1], d(image)[1])]
    expected = {
        "l1": ((2 * (1 - m) + 3 * m) * np.abs(difference)).mean(),
        "adversarial": 5 * softplus(-logits).mean(),
        "feature_matching": 7 * np.mean(features),
        "perceptual": 11 * ((difference.mean(1) ** 2).mean() + 4 * (difference**2).mean()),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value), name
    assert total.item() == pytest.approx(sum(expected.values()))


def test_generator_gradient_by_finite_differences():
    image, mask, prediction = batch(1, 4)
    loss = LaMaLoss(Toy(), lambda x: [x.sin()])
    prediction.requires_grad_()
    run = lambda y: loss.generator(image, mask, y)[0]  # noqa: E731
    assert torch.autograd.gradcheck(run, (prediction,))


def test_real_pictures_are_targets_only():
    """No gradient reaches the discriminator or the perceptual network through real pictures."""
    image, mask, prediction = batch()
    d = Toy()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    calls: list[bool] = []

    def perceptual(x: Tensor) -> list[Tensor]:
        calls.append(torch.is_grad_enabled())
        return [x * scale]

    weights = LossWeights(l1_known=0, adversarial=0, feature_matching=1, perceptual=1)
    _, terms = LaMaLoss(d, perceptual, weights).generator(image, mask, prediction)
    assert calls == [False, True]
    # d/ds mean((s y - x)^2) at s = 1, where x stays fixed, is 2 mean((y - x) y)
    (gradient,) = torch.autograd.grad(terms["perceptual"], scale)
    assert gradient.item() == pytest.approx(2 * ((prediction - image) * prediction).mean().item())
    parameters = list(d.parameters())[:4]
    ours = torch.autograd.grad(terms["feature_matching"], parameters)
    constants = [f.detach() for f in d(image)[1]]
    alone = [(f - r).square().mean() for f, r in zip(d(prediction)[1], constants)]
    for a, b in zip(ours, torch.autograd.grad(sum(alone) / 2, parameters)):
        torch.testing.assert_close(a, b)


def test_terms_without_their_networks():
    image, mask, prediction = batch()
    total, terms = LaMaLoss(None).generator(image, mask, prediction)
    assert list(terms) == ["l1"]
    torch.testing.assert_close(total, terms["l1"])
    assert set(LaMaLoss(None, lambda x: [x]).generator(image, mask, prediction)[1]) == {
        "l1",
        "perceptual",
    }
    with pytest.raises(ValueError, match="without a discriminator"):
        LaMaLoss(None).discriminator(image, mask, prediction)


@pytest.mark.parametrize("run", ["generator", "discriminator"])
def test_of_several_maps_the_mean_counts(run):
    """R1 apart: it is the squared gradient of all scores together."""
    image, mask, prediction = batch()
    several, some = Several(), LossWeights(r1=0)
    total, terms = getattr(LaMaLoss(several, weights=some), run)(image, mask, prediction)
    alone = [
        getattr(LaMaLoss(lambda x, i=i: several.one(x, i), weights=some), run)(
            image, mask, prediction
        )
        for i in range(3)
    ]
    assert len({t.item() for t, _ in alone}) == 3
    assert total.item() == pytest.approx(np.mean([t.item() for t, _ in alone]))
    for name, value in terms.items():
        assert value.item() == pytest.approx(np.mean([t[name].item() for _, t in alone])), name


def test_r1_of_several_maps_is_of_all_their_scores():
    image, mask, prediction = batch()
    several, leaf = Several(), image.clone().requires_grad_()
    together = torch.stack([s.sum() for s in several(leaf)[0]]).sum()
    (gradient,) = torch.autograd.grad(together, leaf)
    loss = LaMaLoss(several, weights=LossWeights(r1=1))
    found = loss.discriminator(image, mask, prediction)[1]["r1"].item()
    assert found == pytest.approx(gradient.square().sum((1, 2, 3)).mean().item())


# --------------------------------------------------------------------------- the discriminator's
@pytest.mark.parametrize("labels", ["nearest", "maxpool"])
def test_discriminator_terms_by_hand(labels):
    d = Toy()
    image, mask, prediction = batch()
    mask[:, :, 0, 0], mask[:, :, 1, 1] = 0, 1  # the two kinds of labels differ here
    total, terms = LaMaLoss(d, labels=labels).discriminator(image, mask, prediction)
    m = mask[:, :, ::4, ::4] if labels == "nearest" else mask.unfold(2, 4, 4).unfold(3, 4, 4)
    m = m.numpy() if labels == "nearest" else m.amax((-1, -2)).numpy()
    x, y = (d(p)[0].detach().numpy() for p in (image, prediction))
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(d(leaf)[0].sum(), leaf)
    expected = {
        "real": softplus(-x).mean(),
        "fake": (m * softplus(y) + (1 - m) * softplus(-y)).mean(),
        "r1": 0.001 * gradient.square().sum().item() / len(image),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value), name
    assert total.item() == pytest.approx(sum(expected.values()))


def test_discriminator_gradient_by_finite_differences():
    d = Toy()
    image, mask, prediction = batch(1, 4)
    loss = LaMaLoss(None, weights=LossWeights(r1=0.5))

    def run(weight: Tensor) -> Tensor:
        loss._d = lambda x: torch.func.functional_call(d, {"first.weight": weight}, (x,))
        return loss.discriminator(image, mask, prediction)[0]

    weight = d.first.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (weight,))


def test_discriminator_step_leaves_generator_and_image_alone():
    d = Toy()
    image, mask, prediction = batch()
    prediction.requires_grad_()
    total, _ = LaMaLoss(d).discriminator(image, mask, prediction)
    total.backward()
    assert prediction.grad is None and image.grad is None and not image.requires_grad
    assert all(p.grad.any() for p in d.parameters())


def test_r1_can_be_left_out():
    image, mask, prediction = batch()
    _, terms = LaMaLoss(Toy(), weights=LossWeights(r1=0)).discriminator(image, mask, prediction)
    assert list(terms) == ["real", "fake"]
    with torch.no_grad():  # for validation
        total, terms = LaMaLoss(Toy()).discriminator(image, mask, prediction)
    assert list(terms) == ["real", "fake"] and not total.requires_grad


@pytest.mark.parametrize("run", ["generator", "discriminator"])
def test_shapes_that_do_not_fit(run):
    image, mask, prediction = batch()
    loss = getattr(LaMaLoss(Toy()), run)
    for wrong in (
        (image, mask[..., :4], prediction),
        (image, mask[:1], prediction),
        (image, image, prediction),
        (image, mask, prediction[:1]),
        (image[0], mask, prediction),
        (image[:, :1], mask, prediction),
    ):
        with pytest.raises(ValueError, match=r"must be \(B, 3, H, W\)"):
            loss(*wrong)
    with pytest.raises(ValueError, match="torch.bool: masks.to_tensor"):
        loss(image, mask > 0, prediction)


def test_batchnorm_sees_real_and_fake_apart():
    """Two calls a step, reals first, as published: not one call on both together."""
    image, mask, prediction = (t.float() for t in batch(2, 32))
    seen: list[Tensor] = []
    d = build_discriminator(width=2)
    d.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    norm = d.model1[1]
    loss = LaMaLoss(d)
    for step, run in enumerate((loss.generator, loss.discriminator), 1):
        seen.clear()
        run(image, mask, prediction)
        assert [torch.equal(a, b) for a, b in zip(seen, (image, prediction))] == [True, True]
        assert norm.num_batches_tracked == 2 * step


# --------------------------------------------------------------------------- where it has to run
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_mixed_precision(dtype):
    """Under autocast R1 and its gradient are as in float32; the other terms nearly so."""
    image, mask, prediction = (t.float() for t in batch(2, 64))
    d = build_discriminator(width=8).eval()
    loss = LaMaLoss(d, lambda x: [F.conv2d(x, d.model0[0].weight.detach())])

    def run() -> tuple[dict[str, Tensor], Tensor]:
        terms = loss.generator(image, mask, prediction)[1]
        total, terms_d = loss.discriminator(image, mask, prediction)
        d.zero_grad()
        terms_d["r1"].backward(retain_graph=True)
        gradient = nn.utils.parameters_to_vector(p.grad for p in d.parameters() if p.ndim > 1)
        total.backward()  # double backward through the rest does not fail
        return terms | terms_d, gradient

    expected, gradient = run()
    with torch.autocast("cpu", dtype):
        assert d(image)[0].dtype == dtype  # it is on
        terms, mixed = run()
    assert terms["r1"].item() == pytest.approx(expected["r1"].item(), rel=1e-6)
    torch.testing.assert_close(mixed, gradient)
    for name, value in expected.items():
        assert terms[name].dtype == torch.float32
        assert terms[name].item() == pytest.approx(value.item(), rel=0.02), name


def _one_of_two(rank: int, rendezvous: str, result: str) -> None:
    """Two steps of both losses with half of the batch, the discriminator distributed."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    d = golden.fill_normal(build_discriminator(width=8))
    loss = LaMaLoss(nn.parallel.DistributedDataParallel(d), weights=LossWeights(r1=10))
    image, mask, prediction = (t.float()[rank::2] for t in batch(4, 64))
    for frozen in (False, True):
        d.requires_grad_(not frozen)
        loss.generator(image, mask, prediction.clone().requires_grad_())[0].backward()
        d.requires_grad_(True).zero_grad()
        loss.discriminator(image, mask, prediction)[0].backward()
    if rank == 0:
        torch.save([p.grad for p in d.parameters()], result)
    torch.distributed.barrier()  # neither leaves while the other still talks to it
    torch.distributed.destroy_process_group()
    os._exit(0)  # the threads of gloo may abort an interpreter that tears itself down


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(tmp_path):
    """R1 differentiates twice: DistributedDataParallel must average the sum of all terms."""
    result = tmp_path / "gradients.pt"
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path / "meet"), str(result)), 2)
    d = golden.fill_normal(build_discriminator(width=8))
    LaMaLoss(d, weights=LossWeights(r1=10)).discriminator(*(t.float() for t in batch(4, 64)))[
        0
    ].backward()
    for distributed, parameter in zip(torch.load(result, weights_only=True), d.parameters()):
        torch.testing.assert_close(distributed, parameter.grad, rtol=1e-4, atol=1e-6)
