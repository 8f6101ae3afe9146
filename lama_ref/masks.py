"""What to hide: random masks like the published ones.

A mask is 1 (or True) in the hole. Training masks mix two kinds: *chains*, strokes of connected
thick segments, and *boxes*. Lengths are in pixels of a picture whose short side is the preset's
reference (256 or 512) and scale with the picture, so a preset hides the same share at any size.

Sources: LaMa section 2.3 and the published configurations, whose sampling is reproduced with
its oddities: directions take four values and their mirror images, and the number of strokes
reaches one more than the configured maximum.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class Chains:
    """Strokes of 1 to 5 connected segments each.

    Attributes:
        strokes: smallest and largest number of strokes, both included.
        max_length: segments are 10 to 9 + max_length pixels long.
        max_width: the brush is nominally 5 to 4 + max_width pixels wide.
        max_angle: directions are 0.01, 1.01, ... radians, this many of them.
    """

    strokes: tuple[int, int]
    max_length: int
    max_width: int
    max_angle: int = 4

    def draw(self, size: Size, scale: float, rng: np.random.Generator, u: float) -> np.ndarray:
        """One (H, W) bool mask; a reference pixel has ``scale`` pixels; u in [0, 1): how many."""
        mask = np.zeros(size, bool)
        height, width = (side / scale for side in size)
        for i in range(_whole(self.strokes, u)):
            x, y = rng.integers(max(1, int(width))), rng.integers(max(1, int(height)))
            for _ in range(rng.integers(1, 6)):
                angle = 0.01 + rng.integers(self.max_angle)
                angle = 2 * np.pi - angle if i % 2 == 0 else angle
                length = 10 + rng.integers(self.max_length)
                brush = 5 + rng.integers(self.max_width)
                x2 = float(np.clip(np.trunc(x + length * np.sin(angle)), 0, width))
                y2 = float(np.clip(np.trunc(y + length * np.cos(angle)), 0, height))
                # OpenCV, which drew the published masks, rounds the radius up and adds a little
                _capsule(mask, scale * np.array([x, y, x2, y2, (brush + 1) // 2 + 0.3]))
                x, y = x2, y2
        return mask


def _whole(between: tuple[int, int], u: float) -> int:
    """The whole number, from the first to the second, that u in [0, 1) stands for."""
    return min(between[0] + int(u * (between[1] - between[0] + 1)), between[1])


def _capsule(mask: np.ndarray, x1_y1_x2_y2_r: np.ndarray) -> None:
    """Fill all pixels within r of the segment from (x1, y1) to (x2, y2), in place."""
    x1, y1, x2, y2, r = map(float, x1_y1_x2_y2_r)
    top, bottom = max(0, int(min(y1, y2) - r)), int(max(y1, y2) + r) + 2
    left, right = max(0, int(min(x1, x2) - r)), int(max(x1, x2) + r) + 2
    window = mask[top:bottom, left:right]
    y = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - y1
    x = np.arange(left, left + window.shape[1], dtype=np.float32) - x1
    dx, dy = x2 - x1, y2 - y1
    # t = position of the nearest point on the segment, 0 at one end and 1 at the other
    t = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    window |= (x - t * dx) ** 2 + (y - t * dy) ** 2 <= r * r


@dataclass(frozen=True)
class Boxes:
    """Axis-parallel rectangles.

    Attributes:
        count: smallest and largest number, both included.
        sides: smallest and largest side in pixels, both included.
        margin: distance kept from the picture's border.
    """

    count: tuple[int, int]
    sides: tuple[int, int]
    margin: int

    def draw(self, size: Size, scale: float, rng: np.random.Generator, u: float) -> np.ndarray:
        """One (H, W) bool mask; a reference pixel has ``scale`` pixels; u in [0, 1): how many."""
        mask = np.zeros(size, bool)
        margin = min(round(scale * self.margin), (min(size) - 1) // 2)
        room = min(size) - 2 * margin  # at least 1
        low, high = (max(1, round(scale * side)) for side in self.sides)
        high = max(1, min(high, room - 1))
        low = min(low, high)
        for _ in range(_whole(self.count, u)):
            w, h = rng.integers(low, high + 1, 2)
            left = rng.integers(margin, size[1] - margin - w + 1)
            top = rng.integers(margin, size[0] - margin - h + 1)
            mask[top : top + h, left : left + w] = True
        return mask


@dataclass(frozen=True)
class Grid:
    """Rows and columns hidden at regular steps, as if to be interpolated: super-resolution.

    Attributes:
        step: smallest and largest period in pixels of the picture itself, both included.
        width: smallest and largest number of hidden rows or columns in each; fewer than the step.
    """

    step: tuple[int, int] = (2, 4)
    width: tuple[int, int] = (1, 3)

    def draw(self, size: Size, scale: float, rng: np.random.Generator, u: float) -> np.ndarray:
        """One (H, W) bool mask; u in [0, 1) decides the horizontal step."""
        hidden = []
        for side, where in ((size[1], u), (size[0], rng.random())):
            step = _whole(self.step, where)
            width = rng.integers(self.width[0], min(step - 1, self.width[1]) + 1)
            hidden.append((np.arange(side) - rng.integers(step)) % step < width)
        return hidden[0][None, :] | hidden[1][:, None]


class Borders:
    """Strips along the sides, to be continued outward: outpainting.

    Each of the four comes up with odds of 1/2, and one at least; it takes 0.04 to 0.25 of the side
    that it shortens (the published code mixes up height and width).
    """

    def draw(self, size: Size, scale: float, rng: np.random.Generator, u: float) -> np.ndarray:
        """One (H, W) bool mask; u is not used."""
        mask = np.zeros(size, bool)
        chosen = rng.random(4) < 0.5
        if not chosen.any():
            chosen[rng.integers(4)] = True
        for i, share in enumerate(rng.uniform(0.04, 0.25, 4)):
            view = np.rot90(mask, i)  # each side in turn is the upper one
            view[: max(1, round(share * view.shape[0])) * int(chosen[i])] = True
        return mask


class Objects:
    """Shapes of things in new scenes, moved; of other pictures: ``pictures.objects``."""

    def draw(self, size: Size, scale: float, rng: np.random.Generator, u: float) -> np.ndarray:
        """One (H, W) bool mask; u is not used."""
        from .pictures import objects  # the one kind that needs pictures

        return objects.draw(size, rng)


Kind = Chains | Boxes | Grid | Borders | Objects


@dataclass(frozen=True)
class Mixture:
    """One of several kinds, drawn anew for each mask; ``reference`` is their short side."""

    kinds: tuple[tuple[float, Kind], ...]
    reference: int = 256

    def draw(self, size: Size, rng: np.random.Generator, u: float | None = None) -> np.ndarray:
        """One (H, W) bool mask. ``u``, uniform on [0, 1), decides its kind and how many."""
        where = rng.random() if u is None else u
        edges = np.cumsum([0.0] + [weight for weight, _ in self.kinds])
        edges /= edges[-1]
        kind = int(np.searchsorted(edges[1:-1], where, side="right"))
        rest = (where - edges[kind]) / (edges[kind + 1] - edges[kind])  # again uniform on [0, 1)
        return self.kinds[kind][1].draw(size, min(size) / self.reference, rng, float(rest))


_TRAIN_CHAINS = Chains((1, 6), 200, 100)
_TRAIN_BOXES = Boxes((1, 4), (30, 150), 10)

PRESETS: dict[str, tuple[Mixture, ...]] = {
    # training: "large masks" of all published models, and the narrow ones of Table 4
    "train-wide": (Mixture(((1, _TRAIN_CHAINS), (1, _TRAIN_BOXES))),),
    "train-narrow": (Mixture(((1, Chains((4, 13), 80, 40)), (1, Boxes((1, 1), (30, 128), 0)))),),
    "irregular": (Mixture(((1, Chains((1, 5), 200, 100)),)),),
    "box": (Mixture(((1, _TRAIN_BOXES),)),),
    # evaluation: one mixture for pictures below 512 px (short side), one from there on
    "narrow": (
        Mixture(((1, Chains((4, 51), 40, 10)),)),
        Mixture(((1, Chains((4, 71), 100, 20)),), 512),
    ),
    "medium": (
        Mixture(((1, Chains((4, 6), 100, 50)), (0.3, Boxes((1, 5), (10, 50), 0)))),
        Mixture(((1, Chains((4, 11), 200, 100)), (0.3, Boxes((1, 5), (30, 150), 0))), 512),
    ),
    "wide": (
        Mixture(((1, Chains((1, 6), 200, 100)), (0.3, Boxes((1, 3), (30, 150), 10)))),
        Mixture(((1, Chains((1, 6), 450, 250)), (0.3, Boxes((1, 4), (30, 300), 10))), 512),
    ),
    "segmentation": (Mixture(((1, Objects()),)),),
    "outpainting": (Mixture(((1, Borders()),)),),
    "super-resolution": (Mixture(((1, Grid()),)),),
}
"""Named mixtures: the published training masks and evaluation sets (narrow is thin, wide thick)."""


def sample(
    preset: str | Mixture,
    size: Size,
    n: int = 1,
    rng: np.random.Generator | None = None,
    *,
    share: tuple[float, float] | None = None,
) -> np.ndarray:
    """Random masks: (n, H, W) bool, True in the hole.

    Each mask alone has the preset's distribution; the masks of a call are stratified: one falls in
    each n-th part of the range over kinds and numbers of strokes or boxes, in random order.

    Args:
        preset: a name from :data:`PRESETS` or a :class:`Mixture`.
        size: (H, W) in pixels.
        n: how many.
        rng: source of randomness; the same state gives the same masks. A fresh one if None.
        share: draw again until the hole's share of the picture lies in this closed range
            (the published evaluation sets avoid shares above 0.5).

    Raises:
        ValueError: unknown preset, bad size or number, or a share that cannot be met.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    rng = np.random.default_rng() if rng is None else rng
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng must be a numpy.random.Generator, not {type(rng).__name__}: "
            "use numpy.random.default_rng(seed)"
        )
    if np.shape(size) != (2,) or any(int(side) != side or side < 1 for side in size):
        raise ValueError(f"size must be (height, width), both at least 1, not {size!r}")
    if int(n) != n or n < 0:
        raise ValueError(f"n must be a number of masks, 0 or more, not {n!r}")
    n, size = int(n), (int(size[0]), int(size[1]))
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"no mask preset {preset!r}: choose from {', '.join(PRESETS)}")
        variants = PRESETS[preset]
        preset = next((m for m in variants[::-1] if min(size) >= m.reference), variants[0])
    elif not isinstance(preset, Mixture):
        raise TypeError(f"preset must be a name or a Mixture, not {type(preset).__name__}")
    drawn = np.zeros((n, *size), bool)
    strata = (rng.permutation(n) + rng.random(n)) / max(n, 1)
    for i in range(n):
        for attempt in range(1000):  # the first in its stratum, further ones anywhere
            drawn[i] = preset.draw(size, rng, None if attempt else strata[i])
            if share is None or share[0] <= drawn[i].mean() <= share[1]:
                break
        else:
            raise ValueError(f"1,000 masks in a row had no hole share in {share}: widen the range")
    return drawn


# --------------------------------------------------------------------------- masks that are given
def validate(mask: Tensor, image: Tensor | None = None) -> Tensor:
    """Check the convention and return the mask as float32 zeros and ones.

    ``mask`` is (B, 1, H, W), bool or numbers in [0, 1], of which those above 0.5 are hole; height
    and width must be those of ``image`` if there is one. Warns if more than 95 % is hole, which is
    what an inverted mask looks like.

    Raises:
        TypeError: not a tensor.
        ValueError: wrong shape, NaN, or values outside [0, 1].
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"a mask must be a tensor here, not {type(mask).__name__}")
    if mask.ndim != 4 or mask.shape[1] != 1 or 0 in mask.shape:
        raise ValueError(f"a mask must have shape (B, 1, H, W), not {tuple(mask.shape)}")
    if image is not None and mask.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"the mask has {tuple(mask.shape[-2:])} pixels (height, width) and the image "
            f"{tuple(image.shape[-2:])}: resize the mask with nearest-neighbour sampling"
        )
    if mask.dtype != torch.bool:
        if mask.is_floating_point() and torch.isnan(mask).any():
            raise ValueError(f"the mask has {int(torch.isnan(mask).sum())} NaN values")
        low, high = float(mask.min()), float(mask.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"mask values must lie in [0, 1] with 1 = hole, not in [{low:g}, {high:g}]: "
                "divide an 8-bit mask by 255"
            )
        mask = mask > 0.5
    share = mask.float().mean((1, 2, 3))
    if (share > 0.95).any():
        warnings.warn(
            f"{float(share.max()):.0%} of the picture is hole: is the mask inverted? "
            "1 (white) marks what is to be filled",
            stacklevel=2,
        )
    return mask.float()


def dilate(mask: Tensor, radius: float) -> Tensor:
    """Grow the hole by ``radius`` pixels in every direction: (B, 1, H, W) -> the same, 0 or 1.

    A mask drawn tightly around an object leaves its shadow and its blurred edge visible, and
    the network continues what it sees; growing the hole by some pixels is the cure.
    """
    return (_distance(mask, radius) <= radius).float()


def feather(mask: Tensor, radius: float) -> Tensor:
    """Soft weights for blending: 1 in the hole, falling to 0 over ``radius`` pixels around it.

    (B, 1, H, W) -> (B, 1, H, W) float32. The weight at a distance d outside the hole is
    1 - d / (radius + 1). Inside the hole nothing changes, so that no hidden pixel shows.
    """
    return (1 - _distance(mask, radius) / (radius + 1)).clamp(min=0)


def _distance(mask: Tensor, radius: float) -> Tensor:
    """Distance of each pixel to the nearest hole pixel; infinite where there is no hole."""
    from scipy.ndimage import distance_transform_edt

    if not 0 <= radius < float("inf"):
        raise ValueError(f"the radius must be 0 or more pixels, not {radius!r}")
    distance = torch.full(mask.shape, torch.inf)
    for one, known in zip(distance, ~(mask > 0.5).cpu().numpy()):
        if not known.all():
            one[0] = torch.from_numpy(distance_transform_edt(known[0]))
    return distance.to(mask.device)


def to_tensor(masks: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """(n, H, W) bool masks, as :func:`sample` returns them, to an (n, 1, H, W) float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(masks))[:, None].float()
