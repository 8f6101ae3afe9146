"""Every check of notebook 04: right and wrong answers."""

import math

import pytest
import torch
import torch.nn.functional as F
from check_suite import check_suite

from lama_ref.losses import chance_level, patch_labels, r1_penalty


# --- right answers ----------------------------------------------------------------------------
def blind(share, *, probability=None, factor=1.0):
    q = share / 2
    loss = -2 * sum(v * math.log(v) for v in (q, 1 - q) if v > 0)
    return (1 - q if probability is None else probability), factor * loss


def field_labels(mask, layers, *, extra=2, kernel=4, padding=2):
    for stride in [2] * layers + [1] * extra:
        mask = F.max_pool2d(mask, kernel, stride, padding)
    return mask


def d_loss(real, fake, mask, *, flip=False, every=False, leave_out=False, naive=False, factor=1):
    m = patch_labels(mask, fake.shape[-2:])
    m = 1 - m if flip else torch.ones_like(m) if every else m
    known = 0 if leave_out else 1 - m
    if naive:
        up, down = (lambda s: -s.sigmoid().log()), (lambda s: -(1 - s.sigmoid()).log())
    else:
        up, down = (lambda s: F.softplus(-s)), F.softplus
    return factor * (up(real) + m * down(fake) + known * up(fake)).mean()


def r1(d, image, *, root=False, factor=1.0, graph=True, reduce="sum", copy=True):
    image = image.detach().clone().requires_grad_() if copy else image.requires_grad_()
    logits = d(image)[0]
    total = logits.sum() if reduce == "sum" else logits.mean()
    (g,) = torch.autograd.grad(total, image, create_graph=graph)
    square = g.square().sum((1, 2, 3))
    return factor * (square.sqrt() if root else square).mean()


def lama(real, fake, labels):
    on_fake = labels * F.softplus(fake) + (1 - labels) * F.softplus(-fake)
    return (F.softplus(-real) + on_fake).mean(), F.softplus(-fake).mean()


def hinge(real, fake, labels):
    on_fake = labels * F.relu(1 + fake) + (1 - labels) * F.relu(1 - fake)
    return (F.relu(1 - real) + on_fake).mean(), -fake.mean()


RIGHT = {
    "best_blind_score": blind,
    "field_labels": field_labels,
    "discriminator_loss": d_loss,
    "r1_from_scratch": r1,
    "adversarial_pair": lama,
}


def numerical(share):
    s = torch.linspace(-12, 14, 200_001, dtype=torch.float64)
    losses = (2 - share) * F.softplus(-s) + share * F.softplus(s)
    return s[losses.argmin()].sigmoid(), losses.min()


def by_cross_entropy(real, fake, mask):
    bce, m = F.binary_cross_entropy_with_logits, patch_labels(mask, fake.shape[-2:])
    return bce(real, torch.ones_like(real)) + bce(fake, 1 - m)


def least_squares(real, fake, labels, *, low=0.0):  # the targets are low and 1
    on_fake = labels * (fake - low) ** 2 + (1 - labels) * (fake - 1) ** 2
    return ((real - 1) ** 2 + on_fake).mean(), ((fake - 1) ** 2).mean()


def relativistic(real, fake, labels):  # only differences of scores count
    return (labels * F.softplus(fake - real)).mean(), F.softplus(real - fake).mean()


def of_the_module(d, image):
    leaf = image.clone().requires_grad_()
    return r1_penalty(d(leaf)[0], leaf)


# LaMa's constant score is logit(1 - 0.35 / 2); the hinge's is 1, where the reals are content
SCORES = (
    "LaMa's  with 35 % fake: best constant score +1.55, loss 0.927",
    "yours   with 35 % fake: best constant score +1.00, loss 0.700",
)
ALSO_RIGHT = [
    ("best_blind_score", numerical),
    ("discriminator_loss", by_cross_entropy),
    ("adversarial_pair", hinge, *SCORES),
    ("adversarial_pair", least_squares, "best constant score +0.82"),
    ("adversarial_pair", lambda *a: least_squares(*a, low=-1.0)),
    ("adversarial_pair", relativistic, "every constant score is as good, loss 0.243"),
]


def test_the_score_and_loss_of_chance_have_a_closed_form():
    assert chance_level(0.35) == pytest.approx(0.927, abs=5e-4)
    assert math.log(1.65 / 0.35) == pytest.approx(1.55, abs=5e-3)


# --- wrong answers ----------------------------------------------------------------------------
def spoilt(mask, layers):
    labels = field_labels(mask, layers)
    mask.zero_()
    return labels


def pair(real=None, fake=None, generator=None):
    """LaMa's pair with one part exchanged."""

    def answer(a, b, labels):
        on_real = real(a) if real else F.softplus(-a)
        on_fake = labels * F.softplus(b) + (1 - labels) * F.softplus(-b)
        on_fake = fake(b, labels) if fake else on_fake
        wish = generator(b) if generator else F.softplus(-b).mean()
        return (on_real + on_fake).mean(), wish

    return answer


def without_care(share):  # log 0
    q = share / 2
    return 1 - q, -2 * (q * math.log(q) + (1 - q) * math.log(1 - q))


def saturated(real, fake, labels):
    return lama(real, fake, labels)[0], (1 - fake.sigmoid()).log().mean()


WRONG = [
    ("best_blind_score", lambda p: blind(p, probability=1 - p), "also has to serve the real"),
    ("best_blind_score", without_care, "leave such terms out"),
    ("best_blind_score", lambda p: (1 - p / 2, chance_level(p)), "write that part yourself"),
    ("best_blind_score", chance_level, "write that part yourself"),
    ("best_blind_score", lambda p: blind(p)[1], "return two numbers"),
    ("best_blind_score", lambda p: blind(p, probability=0.5), "sigmoid of the best score"),
    ("best_blind_score", lambda p: blind(p, factor=0.5), "mean of the two passes"),
    ("best_blind_score", lambda p: blind(p, factor=1 / math.log(2)), "loss of the best score"),
    ("best_blind_score", lambda p: (1 - p / 2, -p / 2 * math.log(p / 2)), "loss of the best score"),
    ("field_labels", lambda m, n: patch_labels(m, field_labels(m, n).shape[-2:]), "'nearest'"),
    (
        "field_labels",
        lambda m, n: patch_labels(m, field_labels(m, n).shape[-2:], "maxpool"),
        "'maxpool'",
    ),
    ("field_labels", lambda m, n: field_labels(m, n, extra=1), "shape"),
    ("field_labels", lambda m, n: field_labels(m, n - 1), "shape"),
    ("field_labels", lambda m, n: 1 - field_labels(m, n), "one pixel of hole"),
    ("field_labels", lambda m, n: field_labels(m, n, kernel=5), "one pixel|shape"),
    ("field_labels", spoilt, "changed the mask"),
    ("discriminator_loss", lambda *a: d_loss(*a, flip=True), "upside down"),
    ("discriminator_loss", lambda *a: d_loss(*a, every=True), "all patches"),
    ("discriminator_loss", lambda *a: d_loss(*a, leave_out=True), "left out"),
    ("discriminator_loss", lambda *a: d_loss(*a, naive=True), r"scores of \+-200"),
    ("discriminator_loss", lambda *a: d_loss(*a, factor=0.5), "mean of the two passes"),
    ("discriminator_loss", lambda a, b, m: d_loss(a, b.detach(), m), "fake scores"),
    ("discriminator_loss", lambda a, b, m: d_loss(b, a, m), "random scores"),
    ("discriminator_loss", lambda *a: None, "returned None"),
    ("r1_from_scratch", lambda *a: r1(*a, root=True), "root of the right one"),
    ("r1_from_scratch", lambda *a: r1(*a, factor=0.5), "no factor 1/2"),
    ("r1_from_scratch", lambda d, x: r1(d, x) * len(x), "R1 is their mean"),
    ("r1_from_scratch", lambda *a: r1(*a, graph=False), "create_graph"),
    ("r1_from_scratch", lambda *a: r1(*a, reduce="mean"), "times the right one"),
    ("r1_from_scratch", lambda *a: r1(*a, copy=False), "requires_grad"),
    ("r1_from_scratch", lambda d, x: r1(d, x).item(), "return a tensor"),
    ("r1_from_scratch", of_the_module, "write that part yourself"),
    ("adversarial_pair", lambda *a: lama(*a)[0], "return two losses"),
    ("adversarial_pair", saturated, "loss is -inf"),
    ("adversarial_pair", pair(real=F.softplus), "raise the scores of real"),
    ("adversarial_pair", pair(fake=lambda b, m: F.softplus(b)), "must not lower"),
    ("adversarial_pair", pair(fake=lambda b, m: F.softplus(-b)), "must lower"),
    ("adversarial_pair", pair(generator=lambda b: F.softplus(b).mean()), "must raise the scores"),
    ("adversarial_pair", pair(generator=lambda b: F.softplus(-b)), "one number"),
    ("adversarial_pair", pair(generator=lambda b: b.detach().mean()), "depend on any scores"),
]

TestChecks = check_suite("4", RIGHT, ALSO_RIGHT, WRONG)
