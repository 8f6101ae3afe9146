"""How to fill a large picture: whole, crop by crop around the holes, refined, or as fits.

A strategy takes (inpainter, image (B, 3, H, W), mask (B, 1, H, W)) to a fill (B, 3, H, W), of
which the inpainter keeps the hole. Any function of that form will do; four have names:

    whole    one pass over the whole picture
    crop     cut the surroundings of each hole, fill these, blend: small memory, fast
    refine   :class:`lama_ref.highres.refine.Refine`: slow, for structures too large for the network
    auto     whole up to a number of pixels, else crop; says which
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks import feather
from ..runtime import at_least
from .refine import Inpainting, Refine, blur

Box: TypeAlias = tuple[int, int, int, int]  # first row and column, those after the last


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
            learned from crops of such size and needs something to go on. Holes less than a quarter
            of it apart are filled together, unless that takes more than the budget.
        budget: most pixels given to the network; larger cuts are shrunk to it, and their fill is
            enlarged.
        feather: pixels inside the hole over which the fill takes on the colours around it.
    """

    context: float = 1.0
    least: int = 256
    budget: int = 512 * 512
    feather: int = 16

    def __post_init__(self) -> None:
        at_least(self, context=0, least=1, budget=4096, feather=0)

    def __call__(self, inpainter: Inpainting, image: Tensor, mask: Tensor) -> Tensor:
        hole = (mask > 0.5).float()
        known = torch.where(hole > 0, 0.0, image.float())
        fill = known.clone()
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

        left, cuts = hole.numpy() > 0, []
        for apart in (self.least // 4, 0):  # together what lies near each other; then one by one
            near = ndimage.maximum_filter(left, apart + 1)
            labels = ndimage.label(near, structure=[[1, 1, 1]] * 3)[0] * left  # type: ignore
            for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
                box = self._grown((rows.start, columns.start, rows.stop, columns.stop), left.shape)
                cut = slice(box[0], box[2]), slice(box[1], box[3])
                if left[cut].size <= self.budget or not apart:
                    own = labels[cut] == i
                    left[cut] &= ~own
                    cuts.append((box, torch.from_numpy(own)))
        return cuts

    def _grown(self, box: Box, size: tuple[int, ...]) -> Box:
        """A box with its surroundings, moved into the picture where it would leave it."""
        margin = round(self.context * max(box[2] - box[0], box[3] - box[1]))
        spans = []
        for first, end, side in zip(box[:2], box[2:], size):
            length = max(end - first + 2 * margin, self.least)
            start = min(max((first + end - length) // 2, 0), max(side - length, 0))
            spans.append((start, min(start + length, side)))
        (top, bottom), (left, right) = spans
        return top, left, bottom, right


@dataclass(frozen=True)
class Auto(Crop):
    """The strategy "auto": whole up to a number of pixels, else crop with these settings.

    Refinement is never chosen: it takes some 30 times as long.

    Attributes:
        pixels: largest picture that is filled whole. The default is just above 1920x1080, for
            which Big LaMa takes some 2.3 GiB.
        say: is told what was chosen, and why.
    """

    pixels: int = 2**21
    say: Callable[[str], object] = field(default=print, repr=False)

    def __call__(self, inpainter: Inpainting, image: Tensor, mask: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height * width > self.pixels:
            self.say(f"strategy crop: {width}x{height} px are more than {self.pixels:,}")
            return super().__call__(inpainter, image, mask)
        self.say(f"strategy whole: {width}x{height} px are no more than {self.pixels:,}")
        pairs = zip(image.split(1), mask.split(1))
        return torch.cat([inpainter.predict(*pair) for pair in pairs])


Strategy: TypeAlias = Callable[[Inpainting, Tensor, Tensor], Tensor]
STRATEGIES: dict[str, type] = {"whole": Whole, "crop": Crop, "refine": Refine, "auto": Auto}


def named(name: str | Strategy, **settings) -> Strategy:
    """A strategy by name, with settings; a strategy itself is returned as it is.

    Raises:
        ValueError: unknown name, a setting that the strategy does not have or a bad value.
        TypeError: neither a name nor a strategy.
    """
    if not isinstance(name, str):
        if callable(name) and not isinstance(name, type):
            return name
        raise TypeError(
            f"a strategy is one of {', '.join(STRATEGIES)} or a function of (inpainter, image, "
            f"mask), not {name!r}"
        )
    if name not in STRATEGIES:
        raise ValueError(f"no strategy {name!r}: choose from {', '.join(STRATEGIES)}")
    known = [f.name for f in fields(STRATEGIES[name])]
    if unknown := [setting for setting in settings if setting not in known]:
        has = ", ".join(known) or "none"
        raise ValueError(f"strategy {name!r} has no setting {unknown[0]!r}: it has {has}")
    return STRATEGIES[name](**settings)


def blend(fill: Tensor, image: Tensor, hole: Tensor, radius: int) -> Tensor:
    """Let a fill take on the colours around the hole, over ``radius`` pixels inside it.

    What the network paints *outside* the hole can be compared with the picture; the local mean
    of that difference is its error of colour there, and is taken off it inside, less and less
    with the distance from the border. All (B, C or 1, H, W); known pixels come from ``image``.
    """
    if radius and hole.any():
        places = hole.amax((0, 1)).nonzero()
        top, left = (places.amin(0) - 2 * radius).clamp(min=0)
        bottom, right = places.amax(0) + 2 * radius + 1
        window = ..., slice(top, bottom), slice(left, right)  # no more than has to change
        near, known = fill[window], 1 - hole[window]
        weight = blur(known, radius / 2, 2 * radius, "constant")
        error = blur((image[window] - near) * known, radius / 2, 2 * radius, "constant")
        fill = fill.clone()
        fill[window] = near + feather(known, radius) * error / weight.clamp(min=1e-6)
    return torch.where(hole > 0, fill.clamp(0, 1), image)
