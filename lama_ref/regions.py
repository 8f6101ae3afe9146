"""Masks from what is given: checked, grown, softened, or shaped like the objects of a label map.

A mask is 1 (or True) in the hole. All names here are names of :mod:`lama_ref.masks` as well.

Source of the object-shaped masks: the segmentation masks of LaMa section 3.1, whose published
code needs a panoptic segmentation network; here any label map will do.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor


def validate(mask: Tensor, image: Tensor | None = None) -> Tensor:
    """Check the convention and return the mask as float32 zeros and ones.

    Args:
        mask: (B, 1, H, W), bool or numbers in [0, 1]; above 0.5 is hole.
        image: if given, (B, 3, H, W) or a batch of one, whose height and width must agree.

    Raises:
        TypeError: not a tensor.
        ValueError: wrong shape, NaN, or values outside [0, 1].

    Warns:
        UserWarning: more than 95 % is hole, which is what an inverted mask looks like.
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


def _check_radius(radius: float) -> None:
    if not 0 <= radius < float("inf"):
        raise ValueError(f"the radius must be 0 or more pixels, not {radius!r}")


def _squared_distance(mask: Tensor, reach: int) -> Tensor:
    """Squared distance to the nearest hole pixel; exact up to ``reach`` pixels, larger beyond.

    dx^2 + dy^2 is smallest where its parts are: the nearest in each column, then along each row.
    """
    distance = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~(mask > 0.5), torch.inf)
    for axis in (-2, -1):
        nearest, n = distance.clone(), distance.shape[axis]
        for d in range(1, min(reach, n - 1) + 1):
            for here, there in ((0, d), (d, 0)):
                view = nearest.narrow(axis, here, n - d)
                torch.minimum(view, distance.narrow(axis, there, n - d) + d * d, out=view)
        distance = nearest
    return distance


def dilate(mask: Tensor, radius: float) -> Tensor:
    """Grow the hole by ``radius`` pixels in every direction: (B, 1, H, W) -> the same, 0 or 1.

    A mask drawn tightly around an object leaves its shadow and its blurred edge visible, and
    the network continues what it sees; growing the hole by some pixels is the cure.
    """
    _check_radius(radius)
    return (_squared_distance(mask, int(radius)) <= radius**2).float()


def feather(mask: Tensor, radius: float) -> Tensor:
    """Soft weights for blending: 1 in the hole, falling to 0 over ``radius`` pixels around it.

    (B, 1, H, W) -> (B, 1, H, W) float32. The weight at a distance d outside the hole is
    1 - d / (radius + 1). Inside the hole nothing changes, so that no hidden pixel shows.
    """
    _check_radius(radius)
    distance = _squared_distance(mask, int(radius) + 1).sqrt()
    return (1 - distance / (radius + 1)).clamp(min=0)


def to_tensor(masks: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """(n, H, W) bool masks, as :func:`sample` returns them, to an (n, 1, H, W) float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(masks))[:, None].float()


# --------------------------------------------------------------------------- shaped like objects
def object_masks(
    labels: np.ndarray,
    things: Sequence[int] | None,
    rng: np.random.Generator,
    variants: int = 3,
    *,
    area: tuple[float, float] = (0.05, 0.5),
    hidden: float = 0.5,
    overlap: float = 0.2,
    scale: float = 0.25,
    shift: float = 0.3,
) -> list[np.ndarray]:
    """Silhouettes of a picture's objects, moved to where they hide something else.

    Each object is scaled, mirrored by chance and moved, up to ``variants`` times. A mask may cover
    the object's own place and its earlier masks a little only, so that what it hides is known.
    The defaults are the published ones; there, a copy of the label map of 64 pixels finds the
    places, here one correlation finds all of them exactly.

    Args:
        labels: (H, W) whole numbers.
        things: which labels are objects; connected pixels of one label are one. None if ``labels``
            is an instance map already: each value above 0 is one object.
        rng: source of randomness.
        variants: most masks per object.
        area: an object may cover at most the second share of the picture, a mask must cover at
            least the first.
        hidden: largest share of a silhouette beyond the picture's border.
        overlap: largest share of a mask, and of what it meets, that they have in common.
        scale: sizes change by up to this, either way; upward less for an object near the border,
            so that it would still fit where it is.
        shift: vertical movement, at most this share of the height.

    Returns:
        (H, W) bool masks, True in the hole; none if there is no object, or no place for one.

    Raises:
        ValueError: labels are not a map of whole numbers.
    """
    try:
        from scipy import ndimage
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "masks shaped like objects need scipy: pip install scipy"
        ) from None

    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iub":
        raise ValueError(
            f"labels must be an (H, W) array of whole numbers, not {labels.dtype} {labels.shape}"
        )
    maps = [labels]
    if things is not None:
        maps = [np.asarray(ndimage.label(labels == thing)[0]) for thing in things]  # type: ignore
    masks = []
    for parts in maps:
        values, counts = np.unique(parts, return_counts=True)
        share = counts / labels.size  # of objects of fitting size only: a map may have thousands
        fits = (values > 0) & (share < area[1]) & (share * (1 + scale) ** 2 >= area[0])
        for value in values[fits]:
            placed = [parts == value]
            while len(placed) <= variants:
                mask = _moved(placed[0], placed, rng, hidden, overlap, scale, shift)
                if mask is None:
                    break
                placed.append(mask)
            masks += [mask for mask in placed[1:] if mask.mean() >= area[0]]
    return masks


def _moved(
    thing: np.ndarray, placed: list[np.ndarray], rng: np.random.Generator,
    hidden: float, overlap: float, scale: float, shift: float,
) -> np.ndarray | None:  # fmt: skip
    """The object scaled, mirrored and moved by chance, clear of ``placed``; None if it cannot be.

    Size, side and height are drawn first; then every column is tried at once.
    """
    height, width = thing.shape
    rows, columns = (np.flatnonzero(thing.any(axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]
    shape = thing[top : rows[-1] + 1, left : columns[-1] + 1]
    margins = (top, height - 1 - rows[-1]), (left, width - 1 - columns[-1])
    limit = 1 + 2 * min(min(margins[0]) / height, min(margins[1]) / width)  # as published
    factor = min(rng.uniform(1 - scale, 1 + scale), limit)
    h, w = (max(1, int(side * factor)) for side in shape.shape)
    pick = [np.arange(n) * side // n for n, side in zip((h, w), shape.shape)]
    shape = shape[np.ix_(*pick)]
    shape = shape[:, :: 1 if rng.random() < 0.5 else -1]

    middle = top + (rows[-1] + 1 - top) / 2 + rng.uniform(-shift, shift) * height
    y = round(middle - h / 2)
    total = shape.sum()
    # what leaves the picture at the top or at the bottom must not exceed the budget
    above = np.concatenate([[0], np.cumsum(shape.sum(1))])  # pixels in the first n rows
    lowest = -int(np.flatnonzero(above <= hidden * total)[-1])
    highest = height - int(np.flatnonzero(total - above <= hidden * total)[0])
    y = min(max(y, lowest), highest)
    shape = shape[max(0, -y) : height - y]
    y = max(0, y)
    if not shape.any():
        return None

    # For the object's left edge at each x from 1 - w to width - 1: pixels in the picture, and
    # pixels in common with each of ``placed``, a correlation of rows.
    band = np.stack([np.ones((len(shape), width)), *(p[y : y + len(shape)] for p in placed)])
    n = width + w - 1
    spectrum = np.fft.rfft(band, n) * np.fft.rfft(shape[:, ::-1].astype(float), n)
    common = np.fft.irfft(spectrum.sum(1), n).round()
    seen, met = common[0], common[1:]
    areas = np.array([p.sum() for p in placed])[:, None]
    fine = (seen > 0) & (seen >= (1 - hidden) * total)
    fine &= (met <= overlap * np.minimum(seen, areas)).all(0)
    if not fine.any():
        return None
    x = int(rng.choice(np.flatnonzero(fine))) + 1 - w
    mask = np.zeros_like(thing)
    window = mask[y : y + len(shape), max(0, x) : x + w]
    window |= shape[:, max(0, -x) :][:, : window.shape[1]]
    return mask


@dataclass(frozen=True, eq=False)
class Objects:
    """Shapes of things, moved: of a label map or, without one, of new procedural scenes.

    Attributes:
        labels, things: see :func:`object_masks`.
    """

    labels: np.ndarray | None = None
    things: Sequence[int] | None = None

    def draw(
        self, size: tuple[int, int], scale: float, rng: np.random.Generator, u: float
    ) -> np.ndarray:
        """One (H, W) bool mask; u is not used. ValueError if the label map has no usable object."""
        if self.labels is not None:
            if np.shape(self.labels) != tuple(size):
                raise ValueError(
                    f"the label map is {np.shape(self.labels)}, the mask {size} pixels"
                )
            for _ in range(20):  # a place may be missed by chance
                if found := object_masks(self.labels, self.things, rng):
                    return found[rng.integers(len(found))]
            raise ValueError("the label map has no object that can be moved to make a mask")
        # Masks know nothing of data, but for this one kind, which needs pictures with labels.
        from .pictures import scenes

        fine = -(-32 // min(size))  # tiny pictures take every n-th pixel of larger ones
        for tries in count():  # until a scene has a thing that is large enough
            scene = scenes.sample_scene(rng)
            if any(thing.kind != "half" for thing in scene.things):
                labels = scene.render((fine * size[0], fine * size[1]))[1]
                least = 0.05 / 2 ** (tries // 30)  # long pictures hold small things only
                found = object_masks(labels, scenes.THINGS, rng, area=(least, 0.5))
                if found:
                    return found[rng.integers(len(found))][fine // 2 :: fine, fine // 2 :: fine]
        raise AssertionError("unreachable")
