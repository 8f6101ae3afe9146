"""Checks of notebook 04, adversarial losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...discriminator import build_discriminator
from ...losses import LaMaLoss, LossWeights, chance_level, patch_labels, r1_penalty
from .core import by_hand, compare, exercise, expect, normal, tensor

__all__ = [
    "best_blind_score",
    "field_labels",
    "discriminator_loss",
    "r1_from_scratch",
    "adversarial_pair",
]


# --------------------------------------------------------------------------- 4.1
@exercise("4.1")
def best_blind_score(answer: Callable[[float], tuple[float, float]]) -> None:
    """``answer(share)``: (sigmoid of the best constant score, its loss)."""
    answer = by_hand(answer, chance_level)
    for share in (0.316, 1.0, 0.5, 0.05, 1e-3, 0.0):
        what = f"share {share:g}"
        try:
            got = answer(share)
        except (ValueError, ZeroDivisionError) as error:
            raise AssertionError(
                f"{what}: your function raised {type(error).__name__} ({error}); the logarithm of "
                "0 is not defined, and 0 * log 0 counts as 0: leave such terms out"
            ) from error
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2,
            f"{what}: return two numbers, (sigmoid of the score, loss), not {got!r}",
        )
        probability, loss = (float(v) for v in got)
        expect(
            math.isfinite(probability) and math.isfinite(loss),
            f"{what}: you return {probability:g} and {loss:g}; 0 * log 0 counts as 0",
        )
        expect(
            not (share > 0 and abs(probability - (1 - share)) < 1e-6),
            f"{what}: sigmoid {probability:g} is best for the prediction alone; "
            "the same score also has to serve the real picture",
        )
        expect(
            abs(probability - (1 - share / 2)) < 1e-4,
            f"{what}: sigmoid of the best score {probability:.5g}, expected {1 - share / 2:.5g}: "
            "set the derivative of the loss to 0",
        )
        expect(
            not (share > 0 and abs(2 * loss - chance_level(share)) < 1e-6),
            f"{what}: loss {loss:g} is the mean of the two passes, but the loss is their sum",
        )
        expect(
            abs(loss - chance_level(share)) < 1e-4,
            f"{what}: loss of the best score {loss:.5g}, expected {chance_level(share):.5g}: "
            "add both passes, with natural logarithms",
        )


# --------------------------------------------------------------------------- 4.2
def _field_labels(mask: Tensor, layers: int) -> Tensor:
    """A discriminator whose weights are all 1 adds up its field: above 0 where it has a hole."""
    d = build_discriminator(1, layers, max_width=1).eval()
    for name, value in d.named_parameters():
        value.detach().fill_(0.0 if name.endswith("bias") else 1.0)
    with torch.no_grad():
        return (d.double()(mask.double().expand(-1, 3, -1, -1))[0] > 0).float()


@exercise("4.2")
def field_labels(answer: Callable[[Tensor, int], Tensor]) -> None:
    """``answer(mask, layers)``: 1 where a patch's whole receptive field has a hole pixel."""
    for layers, size in ((4, (256, 256)), (3, (64, 64)), (2, (61, 50)), (1, (16, 23))):
        dot, frame = torch.zeros(1, 1, *size), torch.ones(1, 1, *size)
        dot[..., size[0] // 2, size[1] // 2 + 1] = 1
        frame[..., 1:, 1:] = 0  # a hole along two borders
        masks = {
            "one pixel of hole": dot,
            "a hole of the first row and column": frame,
            "no hole": torch.zeros(1, 1, *size),
            "nothing but hole": torch.ones(2, 1, *size),
            "scattered holes": (normal(3, 1, *size) > 3).float(),
        }
        for name, mask in masks.items():
            what = f"{name}, {size[0]} x {size[1]} px, {layers} layers"
            expected, before = _field_labels(mask, layers), mask.clone()
            got = answer(mask, layers)
            expect(torch.equal(mask, before), f"{what}: your function changed the mask")
            shape = (expected.shape[-2], expected.shape[-1])
            same = isinstance(got, Tensor) and got.shape == expected.shape
            for mode in ("nearest", "maxpool"):
                usual = patch_labels(mask, shape, mode)
                expect(
                    not same or torch.equal(usual, expected) or not torch.equal(got, usual),
                    f"{what}: these are the labels of patch_labels(..., {mode!r}); "
                    "a patch sees far more than its cell of the grid",
                )
            compare(got, expected, what)


# --------------------------------------------------------------------------- 4.3
@exercise("4.3")
def discriminator_loss(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """``answer(logits_real, logits_fake, mask)``: the loss with nearest labels, without R1."""
    cases = (((2, 1, 7, 7), 64), ((3, 1, 5, 8), 61), ((1, 1, 19, 19), 256), ((1, 1, 1, 1), 8))
    for shape, side in cases:
        mask = (normal(shape[0], 1, side, side, seed=2) > 0.4).double()
        blank = torch.zeros(shape, dtype=torch.float64)
        inputs = {
            "random scores": (normal(*shape), normal(*shape, seed=1)),
            "scores of 0": (blank, blank),
            "a constant score of 1.5": (blank + 1.5, blank + 1.5),
            "scores of +-200": (200 * normal(*shape).sign(), 200 * normal(*shape, seed=1).sign()),
        }
        for name, (real, fake) in inputs.items():
            what = f"{name}, {shape[-2]} x {shape[-1]} patches of a {side} px mask"
            parts = [v.clone().requires_grad_() for v in (real, fake)]
            got = tensor(answer(parts[0], parts[1], mask), what)
            labels = patch_labels(mask, (shape[-2], shape[-1]))
            both = [v.clone().requires_grad_() for v in (real, fake)]
            first, second = F.softplus(-both[0]), F.softplus(both[1])
            expected = (first + labels * second + (1 - labels) * F.softplus(-both[1])).mean()
            if name == "random scores" and shape[-1] > 1:
                known = (first + (1 - labels) * second + labels * F.softplus(-both[1])).mean()
                known_mistakes = {
                    "the labels are upside down: 1 in the mask is hole, and hole is fake": known,
                    "all patches of the prediction are called fake": (first + second).mean(),
                    "known patches of the prediction are left out; they are labelled real": (
                        first + labels * second
                    ).mean(),
                    "this is the mean of the two passes; the loss is their sum": expected / 2,
                }
                for explanation, wrong in known_mistakes.items():
                    same = got.numel() == 1 and abs(got.item() - wrong.item()) < 1e-9
                    expect(not same, f"{what}: {explanation}")
            compare(got, expected, what)
            wanted = torch.autograd.grad(expected, both)
            found = torch.autograd.grad(got, parts, allow_unused=True)
            for which, g, w in zip(("real", "fake"), found, wanted):
                expect(g is not None, f"{what}: no gradient reaches the {which} scores")
                compare(g, w, f"{what}: gradient of the {which} scores", 1e-9)


# --------------------------------------------------------------------------- 4.4
class _Smooth(nn.Module):
    """A smooth discriminator with parameters, and without BatchNorm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 1, 2)
        self.double()

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        feature = self.first(image).tanh()
        return self.last(feature), [feature]


class _Linear(nn.Module):
    """The same weights for every picture: the penalty is their squared length."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.weight = nn.Parameter(normal(3, *size))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return (image * self.weight).sum((1, 2, 3))[:, None, None, None], [image]


@exercise("4.4")
def r1_from_scratch(answer: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """``answer(discriminator, image)``: R1, and its gradient in the parameters."""
    answer = by_hand(answer, r1_penalty)
    for shape in ((1, 3, 8, 8), (3, 3, 9, 12), (2, 3, 7, 7)):
        size = (shape[-2], shape[-1])
        for name, d in {"a linear discriminator": _Linear(size), "a smooth one": _Smooth()}.items():
            what = f"{name} on {shape[0]} pictures of {size[0]} x {size[1]} px"
            image = normal(*shape, seed=3)
            leaf = image.clone().requires_grad_()
            expected = r1_penalty(d(leaf)[0], leaf)
            got = tensor(answer(d, image), what)
            expect(
                not image.requires_grad and image.grad is None,
                f"{what}: your function changed the picture's requires_grad; work on a copy",
            )
            expect(got.numel() == 1, f"{what}: shape {tuple(got.shape)}, expected one number")
            ratio = got.item() / expected.item()
            mistakes = {
                "the root of the right one: R1 is the squared length": expected.item() ** -0.5,
                "half of the right one: R1 has no factor 1/2 here": 0.5,
                "the sum over the pictures: R1 is their mean": shape[0],
            }
            for explanation, wrong in mistakes.items():
                same = abs(ratio / wrong - 1) < 1e-9
                expect(not same or wrong == 1, f"{what}: your penalty is {explanation}")
            expect(
                abs(ratio - 1) < 1e-9,
                f"{what}: your penalty is {ratio:.4g} times the right one; the gradient is that of "
                "the sum of all scores, squared, summed over a picture",
            )
            expect(
                got.requires_grad,
                f"{what}: the penalty has no gradient; is create_graph=True missing?",
            )
            wanted = torch.autograd.grad(expected, tuple(d.parameters()), allow_unused=True)
            found = torch.autograd.grad(got, tuple(d.parameters()), allow_unused=True)
            for (key, _), w, g in zip(d.named_parameters(), wanted, found):
                if w is not None and bool(w.any()):
                    expect(g is not None, f"{what}: no gradient reaches {key}")
                    compare(g, w, f"{what}: gradient of {key}", 1e-8)


# --------------------------------------------------------------------------- 4.5
def _blind(answer: Callable, labels: Tensor) -> str:
    """The best constant score between -8 and 8, on a grid, and its loss, in words."""
    blank = torch.zeros_like(labels)
    scores = torch.linspace(-8, 8, 641, dtype=torch.float64)
    losses = torch.stack([answer(blank + s, blank + s, labels)[0].detach() for s in scores])
    if losses.max() - losses.min() < 1e-9:
        return f"every constant score is as good, loss {float(losses[0]):.3f}"
    return f"best constant score {float(scores[losses.argmin()]):+.2f}, loss {losses.min():.3f}"


def _directions(answer: Callable, labels: Tensor, at: float) -> str:
    """What is wrong with the directions in which both players pull scores of ``at``, or ""."""
    parts = [torch.full_like(labels, at).requires_grad_() for _ in range(2)]
    d_loss, g_loss = answer(parts[0], parts[1], labels)
    for who, loss in (("discriminator", d_loss), ("generator", g_loss)):
        expect(loss.requires_grad, f"the {who}'s loss does not depend on any scores")
    up, fake = torch.autograd.grad(d_loss, parts, retain_graph=True, allow_unused=True)
    (wish,) = torch.autograd.grad(g_loss, parts[1], allow_unused=True)
    expect(up is not None, "the discriminator's loss does not depend on the real scores")
    expect(fake is not None, "the discriminator's loss does not depend on the fake scores")
    expect(wish is not None, "the generator's loss does not depend on the fake scores")
    assert up is not None and fake is not None
    hole, known = labels == 1, labels == 0
    what = "at undecided scores the discriminator's step"
    if not ((up <= 0).all() and (up < 0).any()):
        return f"{what} must raise the scores of real pictures"
    if not (fake[hole] > 0).all():
        return f"{what} must lower the scores of hole patches"
    if not (fake[known] <= 0).all():
        return f"{what} must not lower the scores of known patches of the prediction"
    if not (wish[hole] < 0).all():
        return "at undecided scores the generator's step must raise the scores of hole patches"
    return ""


@exercise("4.5")
def adversarial_pair(answer: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """``answer(logits_real, logits_fake, labels)``: (discriminator's, generator's) loss."""
    for shape in ((1, 1, 7, 7), (3, 1, 4, 9)):
        labels = (normal(*shape, seed=2) > 0.4).double()
        blank = torch.zeros(shape, dtype=torch.float64)
        for name, scale in {"scores near 0": 0.3, "scores of +-300": 300.0}.items():
            what = f"{name}, {shape[0]} pictures"
            real, fake = (scale * normal(*shape, seed=s) + blank for s in (0, 1))
            parts = [v.requires_grad_() for v in (real, fake)]
            losses = answer(parts[0], parts[1], labels)
            expect(
                isinstance(losses, (tuple, list)) and len(losses) == 2,
                f"{what}: return two losses, the discriminator's and the generator's",
            )
            for who, loss in zip(("discriminator", "generator"), losses):
                expect(
                    isinstance(loss, Tensor) and loss.shape == (),
                    f"{what}: the {who}'s loss must be one number in a tensor",
                )
                expect(bool(loss.isfinite()), f"{what}: the {who}'s loss is {loss.item()}")
        # undecided is 0, or 1/2 where the targets are 0 and 1
        wrong = [_directions(answer, labels, at) for at in (0.0, 0.5)]
        expect(not all(wrong), wrong[0])
    labels = (torch.arange(1000) < 350).double().reshape(1, 1, 20, 50)
    print(f"yours   with 35 % fake: {_blind(answer, labels)}")
    weights = LossWeights(r1=0)

    def lama(real: Tensor, fake: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scores = iter((real, fake))
        module = LaMaLoss(lambda _: (next(scores), []), weights=weights)
        return module.discriminator(real, labels, fake)[0], F.softplus(-fake).mean()

    print(f"LaMa's  with 35 % fake: {_blind(lama, labels)}")
