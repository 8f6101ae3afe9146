"""Checks of notebook 08, high resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ... import masks
from ...generator import pad_to
from ...highres.refine import _mean_l1, halve
from ...highres.strategies import Crop
from ...masks import feather
from .core import by_hand, compare, exercise, expect, numbers, tensor

__all__ = ["context_box", "any_size", "blend_weights", "agreement_loss"]


# --------------------------------------------------------------------------- 8.1
@exercise("8.1")
def context_box(answer: Callable[[np.ndarray, float], tuple[int, int, int, int]]) -> None:
    """``answer(hole, share)``: one cut around all of a mask, with context, inside the picture."""
    answer = by_hand(answer, Crop.cuts)
    cases = {
        "one pixel": ((30, 41), [(12, 20, 13, 21)]),
        "a wide hole in the middle": ((60, 90), [(25, 30, 31, 54)]),
        "a hole in the upper left corner": ((50, 64), [(0, 0, 9, 6)]),
        "a hole in the lower right corner": ((50, 64), [(40, 52, 50, 64)]),
        "two holes": ((80, 80), [(20, 30, 28, 33), (33, 50, 36, 61)]),
        "a picture lower than the cut": ((20, 90), [(5, 40, 12, 62)]),
        "nothing but hole": ((8, 9), [(0, 0, 8, 9)]),
    }
    for name, (size, boxes) in cases.items():
        hole = np.zeros(size, bool)
        for top, left, bottom, right in boxes:
            hole[top:bottom, left:right] = True
        for share in (0, 0.25, 1, 1.3):
            what = f"{name} {size}, share {share}"
            given = hole.copy()
            got = answer(given, share)
            expect(np.array_equal(given, hole), f"{what}: your function changed its input")
            found = tuple(numbers(got, "top, left, bottom, right", what))
            expect(
                all(v == int(v) for v in found),
                f"{what}: {found}: rows and columns are whole numbers",
            )
            expected = _context_box(boxes, size, share)
            inside = min(found) >= 0 and found[2] <= size[0] and found[3] <= size[1]
            expect(inside, f"{what}: {_whole(found)} leaves the picture, expected {expected}")
            expect(_whole(found) == expected, f"{what}: {_whole(found)}, expected {expected}")


def _whole(numbers: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(int(v) for v in numbers)


def _context_box(boxes: list, size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """(top, left, bottom, right), from the corners of the holes."""
    sides = np.array(boxes)
    low, high = sides[:, :2].min(0), sides[:, 2:].max(0)
    margin = round(share * int((high - low).max()))
    length = np.minimum(high - low + 2 * margin, size)
    start = np.clip(low - margin, 0, np.array(size) - length)
    top, left, bottom, right = (int(v) for v in (*start, *(start + length)))
    return top, left, bottom, right


# --------------------------------------------------------------------------- 8.2
class _Picky(nn.Module):
    """Doubles what it gets, writes it down, and takes only multiples."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple, self.seen = multiple, []

    def forward(self, x: Tensor) -> Tensor:
        sides = tuple(x.shape[-2:])
        expect(
            not any(side % self.multiple for side in sides),
            f"the network was given {sides[0]} x {sides[1]} px: no multiples of {self.multiple}",
        )
        self.seen.append(x.clone())
        return 2 * x[:, :3]


@exercise("8.2")
def any_size(answer: Callable[[nn.Module, Tensor, int], Tensor]) -> None:
    """``answer(network, x, multiple)``: mirrored padding, and back."""
    answer, draw = by_hand(answer, pad_to), torch.Generator().manual_seed(0)
    for multiple, size in (
        *((4, (8, 12)), (4, (9, 12)), (4, (8, 11)), (8, (13, 21)), (8, (8, 8)), (8, (9, 15))),
        *((1, (5, 7)), (16, (17, 16))),
    ):
        what = f"{size[0]} x {size[1]} px, multiples of {multiple}"
        x = torch.rand(2, 4, *size, generator=draw)
        network, given = _Picky(multiple), x.clone()
        got = tensor(answer(network, given, multiple), what)
        expect(torch.equal(given, x), f"{what}: your function changed its input")
        expect(len(network.seen) > 0, f"{what}: the network was not called")
        padded = pad_to(x, multiple)
        compare(network.seen[-1], padded, f"{what}: what the network was given", 0)
        compare(got, 2 * x[:, :3], f"{what}: the result", 1e-6)


# --------------------------------------------------------------------------- 8.3
@exercise("8.3")
def blend_weights(answer: Callable[[Tensor, float], Tensor]) -> None:
    """``answer(hole, radius)``: a raised cosine of the distance to the known pixels."""
    answer, rng = by_hand(answer, feather), np.random.default_rng(0)
    dot = torch.zeros(1, 1, 7, 9)
    dot[..., 3, 4] = 1
    island = torch.ones(1, 1, 15, 12)
    island[..., 6, 5] = 0  # one known pixel
    pair = torch.zeros(2, 1, 14, 16)
    pair[0, :, 2:12, 3:13] = 1
    pair[1, :, :, :6] = 1  # a hole at the picture's border
    cases = {
        "one hidden pixel": dot,
        "one known pixel": island,
        "two pictures, boxes": pair,
        "3 wide masks": masks.to_tensor(masks.sample("wide", (33, 40), 3, rng)),
        "no hole": torch.zeros(1, 1, 6, 5),
        "nothing but hole": torch.ones(1, 1, 6, 5),
        "all hidden in one of two": torch.stack([torch.ones(1, 9, 9), pair[0, :, :9, :9]]),
    }
    for name, hole in cases.items():
        for radius in (0, 1, 2.5, 4, 16):
            what = f"{name} {tuple(hole.shape)}, radius {radius}"
            given = hole.clone()
            got = tensor(answer(given, radius), what)
            expect(torch.equal(given, hole), f"{what}: your function changed its input")
            ramp = _ramp(hole, radius)
            expected = (1 - torch.cos(torch.pi * ramp)) / 2
            if got.shape == ramp.shape and not torch.allclose(ramp, expected, atol=1e-4):
                straight = torch.allclose(got.float(), ramp, atol=1e-5)
                expect(not straight, f"{what}: a straight ramp; the weights follow a cosine")
            compare(got.float(), expected, what, 1e-5)


def _ramp(hole: Tensor, radius: float) -> Tensor:
    """max(0, 1 - d / (radius + 1)), by looking at each known pixel."""
    weights = torch.zeros_like(hole)
    rows, columns = (torch.arange(n) for n in hole.shape[-2:])
    for known, weight in zip(1 - hole[:, 0], weights[:, 0]):
        for i, j in known.nonzero().tolist():
            distance = ((rows - i)[:, None] ** 2 + (columns - j) ** 2).sqrt()
            torch.maximum(weight, 1 - distance / (radius + 1), out=weight)
    return weights


# --------------------------------------------------------------------------- 8.4
@exercise("8.4")
def agreement_loss(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """``answer(prediction, image, hole, coarse, inner)``: value and gradient."""
    answer = by_hand(answer, _mean_l1)
    draw = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw)

    for name, size, box, small in (
        ("even sides", (24, 32), (4, 6, 20, 26), (4, 5, 8, 11)),
        ("odd sides", (21, 27), (3, 2, 15, 20), (3, 3, 6, 8)),
        ("no inner hole", (16, 18), (5, 5, 9, 10), (0, 0, 0, 0)),
        ("no known pixel", (16, 16), (0, 0, 16, 16), (1, 1, 7, 7)),
    ):
        half = size[0] // 2, size[1] // 2
        hole, inner = torch.zeros(1, 1, *size), torch.zeros(1, 1, *half)
        for m, (top, left, bottom, right) in ((hole, box), (inner, small)):
            m[..., top:bottom, left:right] = 1
        image, coarse = rand(1, 3, *size), rand(1, 3, *half)
        own = rand(1, 3, *size).requires_grad_()
        theirs = own.detach().clone().requires_grad_()
        expected = _mean_l1(theirs, image, 1 - hole) + _mean_l1(halve(theirs), coarse, inner)
        what = f"{name} {size}"
        got = tensor(answer(own, image, hole, coarse, inner), what)
        expect(got.numel() == 1, f"{what}: shape {tuple(got.shape)}, expected one number")
        compare(got.reshape(()), expected, f"{what}: the loss", 1e-5)
        expect(got.requires_grad, f"{what}: no gradient reaches the prediction; was it detached?")
        (gradient,) = torch.autograd.grad(got.sum(), own)
        (wanted,) = torch.autograd.grad(expected, theirs)
        scale = wanted.abs().max()
        compare(gradient / scale, wanted / scale, f"{what}: gradient, largest 1", 1e-4)
