"""The losses of LaMa, and ``LaMaLoss``, their sum.

Every term is already weighted when it is summed, as in the published training code. Names:
``image`` is the real picture x, ``prediction`` the generator's raw output y (not the composite),
``mask`` m is 1 in the hole. Discriminator and perceptual network look at y itself.

Source: LaMa sections 2.2.1 to 2.2.3 (perceptual, adversarial, final); the published weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .perceptual import PerceptualLoss, at_least_float32

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class LossWeights:
    """Factors of the terms; the defaults are the published ones.

    There ``l1_hole`` and ``l1_coarse`` are 0: in the hole only the other three terms act.
    """

    l1_known: float = 10.0
    l1_hole: float = 0.0
    adversarial: float = 10.0
    feature_matching: float = 100.0
    perceptual: float = 30.0
    r1: float = 0.001
    l1_coarse: float = 0.0


def masked_l1(prediction: Tensor, image: Tensor, mask: Tensor, known: float, hole: float) -> Tensor:
    """mean of (known * (1 - m) + hole * m) * abs(y - x), over *all* B * C * H * W values."""
    return ((known * (1 - mask) + hole * mask) * (prediction - image).abs()).mean()


def coarse_l1(prediction: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Error in the hole, averaged over cells of 4, 8, 16 and 32 pixels before its size is taken.

    Texture cancels within a cell, a wrong hue or a missing shadow does not: where a large hole
    leaves no pixel predictable, its coarse structure still is. Not LaMa's; for short trainings.
    """
    error = (prediction - image) * mask
    cells = [k for k in (4, 8, 16, 32) if k <= min(error.shape[-2:])]
    return torch.stack([F.avg_pool2d(error, k).abs().mean() for k in cells]).mean()


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over layers of the mean squared difference of discriminator features.

    Features of the real image are a target: no gradient flows into them.
    """
    pairs = zip(map(at_least_float32, fake), map(at_least_float32, real))
    return torch.stack([F.mse_loss(f, r.detach()) for f, r in pairs]).mean()


def patch_labels(mask: Tensor, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Which patches of the discriminator count as fake: (B, 1, H, W) -> (B, 1, h, w), 1 = fake.

    "nearest" samples one pixel per patch, as in the published code; "maxpool" calls a patch
    fake as soon as its cell of the h x w grid touches the hole, after the paper's text (what a
    patch sees is larger than its cell).
    """
    if mode == "nearest":
        return F.interpolate(mask, size)
    if mode == "maxpool":
        return F.adaptive_max_pool2d(mask, size)
    raise ValueError(f"mask labels must be 'nearest' or 'maxpool', not {mode!r}")


def chance_level(share: float) -> float:
    """Loss of the best discriminator that does not look: one score for every patch.

    With a share p of the prediction's patches labelled fake, and all of the picture's real, it
    minimises (2 - p) softplus(-s) + p softplus(s). Best is sigmoid(s) = 1 - p / 2, at a loss of
    2 H(p / 2), H being the entropy of a coin in nats. A loss near it says that nothing was learned,
    however sure the scores may look.

    Args:
        share: p in [0, 1], such as ``patch_labels(mask, size).mean()``.

    Raises:
        ValueError: p outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of patches labelled fake must lie in [0, 1], not {share!r}")
    fake = share / 2  # of all patches, of both passes
    return 2 * sum(-p * math.log(p) for p in (fake, 1 - fake) if p > 0)


def r1_penalty(logits: Tensor, image: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of d(sum of logits) / d(image); on reals only.

    With BatchNorm in training mode, as published, this is another penalty than in evaluation mode:
    hundreds of times weaker for the discriminator that notebook 04 trains.

    Source: Mescheder et al., ICML 2018, equation 9, without the factor 1/2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def _check_shapes(image: Tensor, mask: Tensor, prediction: Tensor) -> None:
    shapes = [tuple(t.shape) for t in (image, mask, prediction)]
    b, c, h, w = shapes[0] if image.ndim == 4 else (0, 0, 0, 0)
    if shapes != [(b, c, h, w), (b, 1, h, w), (b, c, h, w)]:
        raise ValueError(
            "image, mask and prediction must be (B, 3, H, W), (B, 1, H, W) and (B, 3, H, W), "
            "not {}, {} and {}".format(*shapes)
        )
    if not mask.is_floating_point():
        raise ValueError(f"mask must be 0.0 or 1.0, not {mask.dtype}: masks.to_tensor converts")


class LaMaLoss(nn.Module):
    """The final loss of LaMa, for the generator's step and for the discriminator's.

    Args:
        discriminator: image -> (logits, features), plain or in DistributedDataParallel; of
            several maps of logits (a list) the mean loss counts. None leaves out the terms that
            need it.
        perceptual: a :class:`~lama_ref.perceptual.PerceptualLoss`, or image -> feature maps, for
            one as published (sum over layers) with BatchNorm in evaluation mode; None leaves
            the term out.
        weights: factors of the terms.
        labels: how mask labels are made, see :func:`patch_labels`.
    """

    def __init__(
        self,
        discriminator: Callable | None,
        perceptual: PerceptualLoss | Callable | None = None,
        weights: LossWeights | None = None,
        labels: str = "nearest",
    ):
        super().__init__()
        self._d = discriminator
        if perceptual is not None and not isinstance(perceptual, PerceptualLoss):
            perceptual = PerceptualLoss(perceptual)
        self.perceptual, self.labels = perceptual, labels
        self.weights = weights or LossWeights()

    def generator(self, image: Tensor, mask: Tensor, prediction: Tensor) -> tuple[Tensor, Terms]:
        """Loss that the generator minimises: (total, weighted terms by name).

        Args:
            image: the real picture (B, 3, H, W) in [0, 1].
            mask: (B, 1, H, W), 1 = hole.
            prediction: the generator's raw output (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: shapes that do not fit each other.
        """
        _check_shapes(image, mask, prediction)
        w = self.weights
        terms = {"l1": masked_l1(prediction, image, mask, w.l1_known, w.l1_hole)}
        if w.l1_coarse:
            terms["l1_coarse"] = w.l1_coarse * coarse_l1(prediction, image, mask)
        if self._d is not None:
            with torch.no_grad():
                _, real = self._d(image)
            logits, fake = self._d(prediction)
            # non-saturating: -log sigmoid(D(y)) = softplus(-D(y)), known patches included
            believed = torch.stack([F.softplus(-s).mean() for s in _maps(logits)]).mean()
            terms["adversarial"] = w.adversarial * believed
            terms["feature_matching"] = w.feature_matching * feature_matching(real, fake)
        if self.perceptual is not None:
            terms["perceptual"] = w.perceptual * self.perceptual(prediction, image)
        return torch.stack(list(terms.values())).sum(), terms

    def discriminator(
        self, image: Tensor, mask: Tensor, prediction: Tensor
    ) -> tuple[Tensor, Terms]:
        """Loss that the discriminator minimises: (total, terms by name).

        Patches of the prediction outside the hole are labelled real: they show known pixels. No
        gradient reaches the prediction. Arguments and errors as for :meth:`generator`; also
        ValueError without a discriminator.
        """
        _check_shapes(image, mask, prediction)
        if self._d is None:
            raise ValueError("this LaMaLoss was made without a discriminator")
        penalised = self.weights.r1 > 0 and torch.is_grad_enabled()
        image = image.detach().requires_grad_(penalised)
        # The penalty squares a sum of many small gradients: half precision loses them, so under
        # autocast this pass alone stays in float32.
        precise = torch.autocast(image.device.type, enabled=False) if penalised else nullcontext()
        with precise:
            real = _maps(self._d(image)[0])
        fake = _maps(self._d(prediction.detach())[0])
        labels = [patch_labels(mask, (s.shape[-2], s.shape[-1]), self.labels) for s in fake]
        terms = {
            "real": torch.stack([F.softplus(-s).mean() for s in real]).mean(),
            "fake": torch.stack(
                [
                    (m * F.softplus(s) + (1 - m) * F.softplus(-s)).mean()
                    for s, m in zip(fake, labels)
                ]
            ).mean(),
        }
        if penalised:
            with precise:
                scores = torch.cat([s.flatten() for s in real])
                terms["r1"] = self.weights.r1 * r1_penalty(scores, image)
        return torch.stack(list(terms.values())).sum(), terms


def _maps(logits: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The maps of scores of a discriminator that gives one, or several, in float32."""
    return [at_least_float32(s) for s in ([logits] if isinstance(logits, Tensor) else logits)]
