"""Every check of notebook 08: right and wrong answers."""

import numpy as np
import torch
import torch.nn.functional as F
from check_suite import check_suite
from scipy import ndimage

from lama_ref.generator import pad_to
from lama_ref.highres.refine import _mean_l1, halve
from lama_ref.highres.strategies import Crop
from lama_ref.masks import feather

PI = torch.pi


# --- right answers ----------------------------------------------------------------------------
def context_box(hole, share, *, longer=max, clip=False, end=1, first=False, square=False):
    hole = hole if not first else ndimage.label(hole)[0] == 1
    spans = [np.flatnonzero(hole.any(axis)) for axis in (1, 0)]
    margins = [round(share * longer(s[-1] - s[0] + 1 for s in spans))] * 2
    starts, ends = [], []
    for s, margin, side in zip(spans, margins, hole.shape):
        length = s[-1] + end - s[0] + 2 * margin
        length = max(t[-1] + 1 - t[0] for t in spans) + 2 * margin if square else length
        start = s[0] - margin
        if not clip:
            start = min(max(start, 0), max(side - length, 0))
        starts.append(max(start, 0))
        ends.append(min(start + length, side))
    return starts[0], starts[1], ends[0], ends[1]


def any_size(network, x, multiple, *, mode="reflect", extra=0, back=True, before=False):
    h, w = x.shape[-2:]
    below, right = -h % multiple + extra, -w % multiple + extra
    sides = (right, 0, below, 0) if before else (0, right, 0, below)
    y = network(F.pad(x, sides, mode))
    if before:
        return y[..., below:, right:]
    return y[..., :h, :w] if back else y


def blend_weights(
    hole, radius, *, plus=1, clip=True, empty=True, invert=False, metric=None, shape=None
):
    shape = shape or (lambda v: (1 - torch.cos(torch.pi * v)) / 2)
    result = torch.zeros_like(hole)
    for i, m in enumerate(hole[:, 0].numpy()):
        if empty and m.all():
            continue
        m = 1 - m if invert else m
        d = ndimage.distance_transform_edt(m)
        if metric:
            d = ndimage.distance_transform_cdt(m, metric)
        weight = torch.from_numpy(np.asarray(1 - d / max(radius + plus, 1e-9)))
        result[i, 0] = shape(weight.clamp(min=0) if clip else weight)
    return result


def mean_l1(a, b, where):
    return ((a - b).abs() * where).sum() / (3 * where.sum()).clamp(min=1)


def agreement_loss(y, image, hole, coarse, inner, *, mean=mean_l1, smaller=halve, known=1, agree=1):
    where = 1 - hole if known else hole
    return mean(y, image, where) + agree * mean(smaller(y), coarse, inner)


RIGHT = {
    "context_box": context_box,
    "any_size": any_size,
    "blend_weights": blend_weights,
    "agreement_loss": agreement_loss,
}


def slowly(y, image, hole, coarse, inner):
    """Terms of pixels, picked one by one."""
    known = (hole[0, 0] < 0.5).nonzero().tolist()
    hidden = inner[0, 0].nonzero().tolist()
    small = halve(y)
    stay = [(y - image)[0, :, i, j].abs().mean() for i, j in known]
    agree = [(small - coarse)[0, :, i, j].abs().mean() for i, j in hidden]
    return torch.stack([sum(v) / max(len(v), 1) * torch.ones(()) for v in (stay, agree)]).sum()


ALSO_RIGHT = [
    ("context_box", lambda *a: np.array(context_box(*a))),
    ("blend_weights", lambda m, r: blend_weights(m, r).float()),
    ("blend_weights", lambda m, r: blend_weights(m, r, shape=lambda v: torch.sin(v * PI / 2) ** 2)),
    ("agreement_loss", slowly),
]


# --- wrong answers ----------------------------------------------------------------------------
def plain_mean(a, b, where):
    return ((a - b).abs() * where).mean()


def without_channels(a, b, where):
    return ((a - b).abs() * where).sum() / where.sum().clamp(min=1)


def not_a_number(a, b, where):
    return ((a - b).abs() * where).sum() / where.sum() / 3


def squared(a, b, where):
    return ((a - b) ** 2 * where).sum() / (3 * where.sum()).clamp(min=1)


def spoil(hole, radius):
    result = blend_weights(hole, radius)
    hole.zero_()
    return result


def empty_slice(network, x, multiple):
    h, w = x.shape[-2:]
    below, right = -h % multiple, -w % multiple
    return network(F.pad(x, (0, right, 0, below), "reflect"))[..., :-below, :-right]


def by_pad_to(network, x, multiple):
    return network(pad_to(x, multiple))[:, :, : x.shape[2], : x.shape[3]]


def by_the_strategy(hole, share):
    """The strategy's own cut, of the box around all holes."""
    rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    solid = torch.zeros(hole.shape)
    solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    ((box, _),) = Crop(context=share, least=1).cuts(solid)
    return np.array(box)


WRONG = [
    ("context_box", by_the_strategy, "lama_ref's own Crop.cuts"),
    ("any_size", by_pad_to, "lama_ref's own pad_to"),
    ("blend_weights", lambda m, r: feather(1 - m, r), "lama_ref's own feather"),
    ("blend_weights", lambda *a: blend_weights(*a, shape=lambda v: v), "a straight ramp"),
    ("blend_weights", lambda *a: blend_weights(*a, shape=lambda v: v**2), "radius"),
    ("agreement_loss", lambda *a: agreement_loss(*a, mean=_mean_l1), "lama_ref's own _mean_l1"),
    ("context_box", lambda *a: context_box(*a, longer=min), "a wide hole in the middle"),
    ("context_box", lambda *a: context_box(*a, clip=True), "a wide hole in the middle"),
    ("context_box", lambda *a: context_box(*a, end=0), "one pixel"),
    ("context_box", lambda *a: context_box(*a, first=True), "two holes"),
    ("context_box", lambda *a: context_box(*a, square=True), "a wide hole in the middle"),
    ("context_box", lambda h, s: context_box(h, 2 * s), "share 1"),
    ("context_box", lambda h, s: np.add(context_box(h, s), (0, 0, 9, 9)), "leaves the picture|exp"),
    ("context_box", lambda *a: (v := context_box(*a)) and (v[1], v[0], v[3], v[2]), "one pixel"),
    ("context_box", lambda *a: context_box(*a)[:2], "expected 4 numbers"),
    ("context_box", lambda *a: None, "None"),
    ("any_size", lambda *a: any_size(*a, mode="constant"), "what the network was given"),
    ("any_size", lambda *a: any_size(*a, mode="replicate"), "what the network was given"),
    ("any_size", lambda *a: any_size(*a, back=False), r"the result: shape \(2, 3, 12, 12\)"),
    ("any_size", lambda *a: any_size(*a, before=True), "what the network was given"),
    ("any_size", lambda g, x, k: g(x), "no multiples of 4"),
    ("any_size", lambda g, x, k: any_size(g, x, k, extra=k), r"given: shape \(2, 4, 12, 16\)"),
    ("any_size", empty_slice, "the result: shape"),
    ("any_size", lambda g, x, k: 2 * x[:, :3], "was not called"),
    ("any_size", lambda *a: None, "None"),
    ("blend_weights", lambda *a: blend_weights(*a, plus=0), "one hidden pixel"),
    ("blend_weights", lambda m, r: blend_weights(m, max(r, 1), plus=0), "radius 0|radius 1"),
    ("blend_weights", lambda *a: blend_weights(*a, clip=False), "one known pixel"),
    ("blend_weights", lambda *a: blend_weights(*a, empty=False), "nothing but hole"),
    ("blend_weights", lambda *a: blend_weights(*a, invert=True), "one hidden pixel"),
    ("blend_weights", lambda *a: blend_weights(*a, metric="taxicab"), "one known pixel"),
    ("blend_weights", lambda *a: blend_weights(*a, metric="chessboard"), "one known pixel"),
    ("blend_weights", lambda *a: 1 - blend_weights(*a), "one hidden pixel"),
    ("blend_weights", lambda m, r: blend_weights(m, int(r)), "radius 2.5"),
    ("blend_weights", lambda *a: blend_weights(*a)[:1], "two pictures"),
    ("blend_weights", spoil, "changed its input"),
    ("blend_weights", lambda *a: None, "None"),
    ("agreement_loss", lambda *a: agreement_loss(*a, mean=plain_mean), "the loss"),
    ("agreement_loss", lambda *a: agreement_loss(*a, mean=without_channels), "the loss"),
    ("agreement_loss", lambda *a: agreement_loss(*a, mean=not_a_number), "NaN"),
    ("agreement_loss", lambda *a: agreement_loss(*a, mean=squared), "the loss"),
    ("agreement_loss", lambda *a: agreement_loss(*a, known=0), "the loss"),
    ("agreement_loss", lambda *a: agreement_loss(*a, agree=0), "even sides"),
    (
        "agreement_loss",
        lambda *a: agreement_loss(*a, smaller=lambda v: F.avg_pool2d(v, 2)),
        "the loss",
    ),
    ("agreement_loss", lambda y, *a: agreement_loss(y.detach(), *a), "no gradient"),
    ("agreement_loss", lambda *a: agreement_loss(*a).item(), "return a tensor, not a float"),
    ("agreement_loss", lambda *a: None, "None"),
]

TestChecks = check_suite("8", RIGHT, ALSO_RIGHT, WRONG)
