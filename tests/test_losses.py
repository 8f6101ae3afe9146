"""Losses against the published training step, closed forms and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden_weights import facts, fill_uniform, image

from lama_ref.discriminator import build_discriminator
from lama_ref.losses import (
    LaMaLoss,
    LossWeights,
    feature_matching,
    masked_l1,
    patch_labels,
    r1_penalty,
)


@pytest.fixture
def golden():
    """The published discriminator, real and fake pictures, the mask of two rectangles."""
    d = fill_uniform(build_discriminator(8)).eval()
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 10:40, 5:30] = 1
    mask[1, :, 33:60, 21:64] = 1
    return d, image(11, 2, 3, 64, 64), image(12, 2, 3, 64, 64), mask


def test_the_published_numbers(golden):
    d, real, fake, mask = golden
    expected = facts()["losses"]
    loss = LaMaLoss(d)
    total, terms = loss.generator(real, mask, fake)
    total_d, terms_d = loss.discriminator(real, mask, fake)
    assert terms["adversarial"].item() == pytest.approx(expected["gen_adv"], rel=1e-4)
    assert terms["feature_matching"].item() == pytest.approx(100 * expected["fm"], rel=1e-4)
    assert terms["l1"].item() == pytest.approx(expected["l1_known10"], rel=1e-4)
    assert total_d.item() == pytest.approx(expected["disc_loss"], rel=1e-4)
    assert terms_d["r1"].item() == pytest.approx(expected["discr_real_gp"], rel=1e-3)
    assert total.item() == pytest.approx(sum(t.item() for t in terms.values()), rel=1e-6)
    assert set(terms) == {"l1", "adversarial", "feature_matching"}
    assert set(terms_d) == {"real", "fake", "r1"}


def test_l1_divides_by_all_pixels():
    prediction, target = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0, :] = 1  # a quarter is hole
    assert masked_l1(prediction, target, mask, 10, 0).item() == pytest.approx(10 * 0.5 * 0.75)
    assert masked_l1(prediction, target, mask, 1, 3).item() == pytest.approx(0.375 + 0.375)


def test_features_of_the_real_picture_are_a_target():
    real, fake = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    value = feature_matching([real, real], [fake, 0 * fake])
    expected = (F.mse_loss(fake, real) + real.square().mean()) / 2
    assert value.item() == pytest.approx(expected.item())
    value.backward()
    assert real.grad is None and fake.grad is not None


def test_patch_labels():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 1, 1] = 1  # off the sampled pixels 0 and 4
    mask[..., 4, 4] = 1
    nearest, touched = (patch_labels(mask, (2, 2), mode)[0, 0] for mode in ("nearest", "maxpool"))
    assert nearest.tolist() == [[0, 0], [0, 1]] and touched.tolist() == [[1, 0], [0, 1]]
    for size in (19, 35):  # the published index: floor(i * H / h)
        big = (torch.rand(1, 1, 256, 256) > 0.5).float()
        index = [i * 256 // size for i in range(size)]
        assert torch.equal(patch_labels(big, (size, size))[0, 0], big[0, 0][index][:, index])
    with pytest.raises(ValueError, match="'cubic'"):
        patch_labels(mask, (2, 2), "cubic")


def test_r1_of_a_linear_discriminator_is_the_norm_of_its_weights():
    weight = torch.randn(3, 5, 5, dtype=torch.float64, requires_grad=True)
    picture = torch.randn(4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty((picture * weight).sum((1, 2, 3)), picture)
    assert penalty.item() == pytest.approx(weight.square().sum().item())
    penalty.backward()  # second order: d |w|^2 / dw = 2 w
    torch.testing.assert_close(weight.grad, 2 * weight.detach())


def test_the_penalty_pushes_the_slope_down():
    """Its sign: a step on R1 alone makes the discriminator flatter."""
    torch.manual_seed(0)
    d = build_discriminator(4, 2).eval()
    picture, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    loss = LaMaLoss(d, weights=LossWeights(r1=1.0))
    _, terms = loss.discriminator(picture, mask, picture)
    terms["r1"].backward()
    step = 1e-2 / max(p.grad.norm() for p in d.parameters() if p.grad is not None)
    with torch.no_grad():
        for p in d.parameters():
            p -= step * (p.grad if p.grad is not None else 0)
    _, after = loss.discriminator(picture, mask, picture)
    assert 0 < after["r1"] < terms["r1"]


class Constant(torch.nn.Module):
    """Scores 2 for pictures brighter than one half, else -1, on a 2 x 2 grid."""

    def forward(self, picture):
        bright = (picture.mean((1, 2, 3), keepdim=True) > 0.5).float()
        logits = (3 * bright - 1).expand(-1, 1, 2, 2) + 0 * picture.sum()
        return logits, [picture]


def test_labels_of_the_discriminator_by_hand():
    real, fake = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :2] = 1  # one of the four patches is fake
    _, terms = LaMaLoss(Constant()).discriminator(real, mask, fake)
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731
    assert terms["real"].item() == pytest.approx(softplus(-2))
    # D(fake) = -1: a fake patch costs softplus(-1), a known one, which should be real, softplus(1)
    assert terms["fake"].item() == pytest.approx((softplus(-1) + 3 * softplus(1)) / 4)
    assert terms["r1"].item() == 0


def test_gradients_go_where_they_should(golden):
    d, real, fake, mask = golden
    loss = LaMaLoss(d)
    prediction = fake.clone().requires_grad_()
    loss.discriminator(real, mask, prediction)[0].backward()
    assert prediction.grad is None and d.model0[0].weight.grad is not None
    loss.generator(real, mask, prediction)[0].backward()
    assert prediction.grad.abs().sum() > 0
    with torch.no_grad():
        assert "r1" not in loss.discriminator(real, mask, fake)[1]
    with pytest.raises(ValueError, match="without a discriminator"):
        LaMaLoss(None).discriminator(real, mask, fake)


def test_gradient_of_the_whole_by_finite_differences():
    torch.manual_seed(0)
    d = build_discriminator(2, 1).double().eval()
    real, mask = torch.rand(1, 3, 6, 6).double(), (torch.rand(1, 1, 6, 6) > 0.5).double()
    loss = LaMaLoss(d, lambda x: [x.square(), x.mean((2, 3))], LossWeights(l1_hole=1.0))
    prediction = torch.rand(1, 3, 6, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: loss.generator(real, mask, y)[0], prediction)
    perceptual = loss.generator(real, mask, prediction)[1]["perceptual"].item()
    y = prediction.detach()
    expected = F.mse_loss(y**2, real**2) + F.mse_loss(y.mean((2, 3)), real.mean((2, 3)))
    assert perceptual == pytest.approx(30 * expected.item())
