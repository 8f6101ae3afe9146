"""The losses of LaMa, and ``LaMaLoss``, their sum.

Every term is already weighted when it is summed, as in the published training code. Names:
``image`` is the real picture x, ``prediction`` the generator's raw output y (not the composite),
``mask`` m is 1 in the hole. Discriminator and perceptual network look at y itself.

Source: LaMa section 2.3 (adversarial) and 2.2 (perceptual); weights of the published configs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class LossWeights:
    """Factors of the terms; the defaults are the published ones.

    ``l1_hole`` is 0 there: in the hole only the other three terms act.
    """

    l1_known: float = 10.0
    l1_hole: float = 0.0
    adversarial: float = 10.0
    feature_matching: float = 100.0
    perceptual: float = 30.0
    r1: float = 0.001


def masked_l1(prediction: Tensor, image: Tensor, mask: Tensor, known: float, hole: float) -> Tensor:
    """mean of (known * (1 - m) + hole * m) * abs(y - x), over *all* B * C * H * W values."""
    return ((known * (1 - mask) + hole * mask) * (prediction - image).abs()).mean()


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over layers of the mean squared difference of discriminator features.

    Features of the real image are a target: no gradient flows into them.
    """
    return torch.stack([F.mse_loss(f, r.detach()) for r, f in zip(real, fake)]).mean()


def patch_labels(mask: Tensor, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Which patches of the discriminator count as fake: (B, 1, H, W) -> (B, 1, h, w), 1 = fake.

    "nearest" samples one pixel per patch, as in the published code; "maxpool" calls a patch
    fake as soon as it touches the hole, as in the paper's text.
    """
    if mode == "nearest":
        return F.interpolate(mask, size)
    if mode == "maxpool":
        return F.adaptive_max_pool2d(mask, size)
    raise ValueError(f"mask labels must be 'nearest' or 'maxpool', not {mode!r}")


def r1_penalty(logits: Tensor, image: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of d(sum of logits) / d(image); on reals only.

    Source: Mescheder et al., ICML 2018, equation 9, without the factor 1/2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


class LaMaLoss(nn.Module):
    """The final loss of LaMa, for the generator's step and for the discriminator's.

    Args:
        discriminator: image -> (logits, features); None leaves out the terms that need it.
        perceptual: image -> feature maps, compared by their mean squared differences, summed
            over layers; None leaves the term out.
        weights: factors of the terms.
        labels: how mask labels are made, see :func:`patch_labels`.
    """

    def __init__(
        self,
        discriminator: Callable | None,
        perceptual: Callable | None = None,
        weights: LossWeights | None = None,
        labels: str = "nearest",
    ):
        super().__init__()
        self._d = discriminator
        self.perceptual, self.labels = perceptual, labels
        self.weights = weights or LossWeights()

    def generator(self, image: Tensor, mask: Tensor, prediction: Tensor) -> tuple[Tensor, Terms]:
        """Loss that the generator minimises: (total, weighted terms by name)."""
        w = self.weights
        terms = {"l1": masked_l1(prediction, image, mask, w.l1_known, w.l1_hole)}
        if self._d is not None:
            _, real = self._d(image)
            logits, fake = self._d(prediction)
            # non-saturating: -log sigmoid(D(y)) = softplus(-D(y)), known patches included
            terms["adversarial"] = w.adversarial * F.softplus(-logits).mean()
            terms["feature_matching"] = w.feature_matching * feature_matching(real, fake)
        if self.perceptual is not None:
            with torch.no_grad():
                real = self.perceptual(image)
            fake = self.perceptual(prediction)
            layers = [F.mse_loss(f, r) for f, r in zip(fake, real)]
            terms["perceptual"] = w.perceptual * torch.stack(layers).sum()
        return torch.stack(list(terms.values())).sum(), terms

    def discriminator(
        self, image: Tensor, mask: Tensor, prediction: Tensor
    ) -> tuple[Tensor, Terms]:
        """Loss that the discriminator minimises: (total, terms by name).

        Patches of the prediction outside the hole are labelled real: they show known pixels.
        """
        if self._d is None:
            raise ValueError("this LaMaLoss was made without a discriminator")
        image = image.detach().requires_grad_(torch.is_grad_enabled())
        logits_real, _ = self._d(image)
        logits_fake, _ = self._d(prediction.detach())
        fake = patch_labels(mask, logits_fake.shape[-2:], self.labels)
        terms = {
            "real": F.softplus(-logits_real).mean(),
            "fake": (fake * F.softplus(logits_fake) + (1 - fake) * F.softplus(-logits_fake)).mean(),
        }
        if self.weights.r1 and torch.is_grad_enabled():
            terms["r1"] = self.weights.r1 * r1_penalty(logits_real, image)
        return torch.stack(list(terms.values())).sum(), terms
