"""How to fill a large picture: whole, crop by crop around the holes, refined, or as fits.

A strategy takes (inpainter, image (B, 3, H, W), mask (B, 1, H, W)) to a fill (B, 3, H, W), of
which the inpainter keeps the hole. Any function of that form will do; four have names:

    whole    one pass over the whole picture
    crop     cut the surroundings of each hole, fill these, blend: small memory, fast
    refine   :class:`lama_ref.highres.refine.Refine`: slow, for structures too large for the network
    auto     whole where it fits into memory, else crop; says which, and why
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks import feather
from . import memory
from .refine import Inpainting, Refine, blur

Box: TypeAlias = tuple[int, int, int, int]
"""First row, first column, row and column after the last."""


@dataclass(frozen=True)
class Whole:
    """The strategy "whole": one pass, whatever the size. What the paper does."""

    def __call__(self, inpainter: Inpainting, image: Tensor, mask: Tensor) -> Tensor:
        return inpainter.predict(image, mask)


@dataclass(frozen=True)
class Crop:
    """The strategy "crop": each hole with its surroundings, as if it were a small picture.

    Attributes:
        context: what is cut reaches beyond the hole on every side by this share of the hole's
            longer side.
        least: smallest side of what is cut (where the picture is that large): the network has
            learned from crops of such size and needs something to go on.
        budget: most pixels given to the network; larger cuts are shrunk to it, and their fill is
            enlarged. Holes whose cuts overlap are filled together where that costs less.
        feather: pixels inside the hole over which the fill takes on the colours around it.
    """

    context: float = 1.0
    least: int = 256
    budget: int = 512 * 512
    feather: int = 16

    def __post_init__(self) -> None:
        for name, least in {"context": 0, "least": 1, "budget": 4096, "feather": 0}.items():
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be at least {least}, not {value!r}")

    def __call__(self, inpainter: Inpainting, image: Tensor, mask: Tensor) -> Tensor:
        hole = (mask > 0.5).float()
        fill = torch.where(hole > 0, 0.0, image.float())
        known = fill.clone()
        for i in range(len(fill)):
            for (top, left, bottom, right), own in self.cuts(hole[i, 0]):
                cut = slice(i, i + 1), slice(None), slice(top, bottom), slice(left, right)
                part = self._fill(inpainter, known[cut], hole[cut])
                fill[cut] = torch.where(own, part, fill[cut])
        return fill

    def _fill(self, inpainter: Inpainting, image: Tensor, hole: Tensor) -> Tensor:
        """Predict one cut, shrunk to the budget if need be; (1, 3, h, w)."""
        size = height, width = hole.shape[-2:]
        scale = math.sqrt(self.budget / (height * width))
        if scale >= 1:
            prediction = inpainter.predict(image, hole)
        else:
            small = max(1, int(height * scale)), max(1, int(width * scale))
            shrunk, holes = (
                F.interpolate(x, small, mode="bilinear", antialias=True) for x in (image, hole)
            )
            # A small pixel that saw any of the hole belongs to it: all others are pure.
            prediction = inpainter.predict(shrunk, (holes > 1e-6).float())
            prediction = F.interpolate(prediction, size, mode="bicubic", align_corners=False)
        return blend(prediction, image, hole, self.feather)

    def cuts(self, hole: Tensor) -> list[tuple[Box, Tensor]]:
        """What to cut of an (H, W) mask, and the (h, w) bool hole pixels to be filled from it."""
        from scipy import ndimage

        size = (hole.shape[-2], hole.shape[-1])
        labels, _ = ndimage.label(hole.numpy() > 0, structure=[[1, 1, 1]] * 3)  # type: ignore
        slices = ndimage.find_objects(labels)
        groups = [((r.start, c.start, r.stop, c.stop), [i]) for i, (r, c) in enumerate(slices, 1)]
        before = None
        while before != len(groups):  # until nothing is worth joining
            before, joined = len(groups), []
            for box, members in groups:
                for other in reversed(joined):  # neighbours have neighbouring labels
                    if self._cheaper(other[0], box, size):
                        joined.remove(other)
                        box, members = _union(other[0], box), other[1] + members
                        break
                joined.append((box, members))
            groups = joined
        cuts = []
        for box, members in groups:
            top, left, bottom, right = self._grown(box, size)
            own = np.isin(labels[top:bottom, left:right], members)
            cuts.append(((top, left, bottom, right), torch.from_numpy(own)))
        return cuts

    def _grown(self, box: Box, size: tuple[int, int]) -> Box:
        """A box with its surroundings, moved into the picture where it would leave it."""
        margin = round(self.context * max(box[2] - box[0], box[3] - box[1]))
        spans = []
        for first, end, side in zip(box[:2], box[2:], size):
            length = max(end - first + 2 * margin, self.least)
            start = min(max((first + end - length) // 2, 0), max(side - length, 0))
            spans.append((start, min(start + length, side)))
        (top, bottom), (left, right) = spans
        return top, left, bottom, right

    def _cheaper(self, a: Box, b: Box, size: tuple[int, int]) -> bool:
        """Whether two holes are better filled together: fewer pixels, and no more shrinking."""
        areas = [_area(self._grown(box, size)) for box in (a, b, _union(a, b))]
        return areas[2] <= min(areas[0] + areas[1], max(self.budget, *areas[:2]))


@dataclass(frozen=True)
class Auto(Crop):
    """The strategy "auto": whole where memory allows, else crop with these settings.

    The memory of a pass is proportional to its pixels; how much each takes is measured on a
    small picture first. Refinement is never chosen: it takes some 30 times as long.

    Attributes:
        share: part of the available memory to use, as the measurement cannot see everything.
        say: is told what was chosen, and why.
    """

    share: float = 0.5
    say: Callable[[str], object] = field(default=print, repr=False)

    def __call__(self, inpainter: Inpainting, image: Tensor, mask: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        free = memory.available(inpainter.device)
        room = 4 * memory.GIB if free is None else free
        each = bytes_per_pixel(inpainter, Whole())
        pixels = int(self.share * room / each)
        need = height * width * each / memory.GIB
        reason = (
            f"{width}x{height} px take about {need:.2g} GiB, of "
            f"{'an unknown amount, taken to be ' if free is None else ''}"
            f"{room / memory.GIB:.2g} GiB free on {inpainter.device.type}"
        )
        if pixels >= height * width:
            self.say(f"strategy whole: {reason}")
            n = pixels // (height * width)  # pictures that fit at once
            return torch.cat([inpainter.predict(*x) for x in zip(image.split(n), mask.split(n))])
        if pixels < 128 * 128:
            raise MemoryError(f"even crops do not fit: {reason}; use a smaller generator")
        crop = replace(self, budget=min(self.budget, pixels))
        self.say(f"strategy crop, at most {crop.budget / 1e6:.2g} million pixels: {reason}")
        return Crop.__call__(crop, inpainter, image, mask)


Strategy: TypeAlias = Callable[[Inpainting, Tensor, Tensor], Tensor]
STRATEGIES: dict[str, type] = {"whole": Whole, "crop": Crop, "refine": Refine, "auto": Auto}


def named(name: str | Strategy, **settings) -> Strategy:
    """A strategy by name, with settings; a strategy itself is returned as it is.

    Raises:
        ValueError: unknown name, a setting that the strategy does not have or a bad value.
        TypeError: neither a name nor a strategy.
    """
    if isinstance(name, str):
        if name not in STRATEGIES:
            raise ValueError(f"no strategy {name!r}: choose from {', '.join(STRATEGIES)}")
        known = [f.name for f in fields(STRATEGIES[name])]
        for setting in settings:
            if setting not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"strategy {name!r} has no setting {setting!r}: {has}")
        return STRATEGIES[name](**settings)
    if not callable(name) or isinstance(name, type):
        raise TypeError(
            f"a strategy is one of {', '.join(STRATEGIES)} or a function of (inpainter, image, "
            f"mask), not {name!r}"
        )
    return name


def blend(fill: Tensor, image: Tensor, hole: Tensor, radius: int) -> Tensor:
    """Let a fill take on the colours around the hole, over ``radius`` pixels inside it.

    What the network paints *outside* the hole can be compared with the picture; the local mean
    of that difference is its error of colour there, and is taken off it inside, less and less
    with the distance from the border. All (B, C or 1, H, W); known pixels come from ``image``.
    """
    if radius and hole.any():
        window = ..., _span(hole.amax(-1), 2 * radius), _span(hole.amax(-2), 2 * radius)
        near, known = fill[window], 1 - hole[window]
        weight = blur(known, radius / 2, 2 * radius, "constant")
        error = blur((image[window] - near) * known, radius / 2, 2 * radius, "constant")
        fill = fill.clone()
        fill[window] = near + feather(known, radius) * error / weight.clamp(min=1e-6)
    return torch.where(hole > 0, fill.clamp(0, 1), image)


def _span(line: Tensor, margin: int) -> slice:
    """From the first to the last place that is not zero, and a margin: (B, 1, n) -> slice."""
    places = line.amax((0, 1)).nonzero()
    return slice(max(0, int(places[0]) - margin), int(places[-1]) + margin + 1)


def bytes_per_pixel(inpainter: Inpainting, strategy: Strategy, side: int = 128) -> float:
    """Memory of a pass for each pixel of a picture, measured on a small one, without weights.

    It is the same for all sizes, as each map of the generator grows with the picture.
    """
    side = max(1, -(-side // inpainter.multiple)) * inpainter.multiple
    image, mask = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    return memory.peak_of(lambda: strategy(inpainter, image, mask)) / side**2


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
