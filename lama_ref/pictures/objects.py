"""Masks shaped like the objects of a picture, from any label map.

Source: the segmentation masks of LaMa section 3.1, whose published code needs a panoptic
segmentation network; here any label map will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
from scipy import ndimage

from . import scenes

# As published, but for the tries: there, all columns of a map of 64 pixels.
SCALE, SHIFT = 0.25, 0.3  # largest change of size; of height, as a share of the picture's
HIDDEN = 0.5  # largest share of a silhouette beyond the picture's border
OVERLAP = 0.2  # largest share of a mask, and of what it meets, that they have in common
TRIES = 20  # columns tried for a mask before it is given up


def object_masks(
    labels: np.ndarray,
    things: Sequence[int] | None,
    rng: np.random.Generator,
    variants: int = 3,
    *,
    area: tuple[float, float] = (0.05, 0.5),
) -> list[np.ndarray]:
    """Silhouettes of a picture's objects, moved to where they hide something else.

    Each object is scaled, mirrored by chance and moved, up to ``variants`` times. A mask may cover
    the object's own place and its earlier masks a little only, so that what it hides is known.

    Args:
        labels: (H, W) whole numbers.
        things: which labels are objects; connected pixels of one label are one. None if ``labels``
            is an instance map already: each value above 0 is one object.
        rng: source of randomness.
        variants: most masks per object.
        area: an object may cover at most the second share of the picture, a mask must cover at
            least the first.

    Returns:
        (H, W) bool masks, True in the hole; none if there is no object, or no place for one.

    Raises:
        ValueError: labels are not a map of whole numbers.
    """
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
        fits = (values > 0) & (share < area[1]) & (share * (1 + SCALE) ** 2 >= area[0])
        for value in values[fits]:
            placed = [parts == value]
            while len(placed) <= variants and (mask := _moved(placed, rng)) is not None:
                placed.append(mask)
            masks += [mask for mask in placed[1:] if mask.mean() >= area[0]]
    return masks


def _moved(placed: list[np.ndarray], rng: np.random.Generator) -> np.ndarray | None:
    """The object ``placed[0]`` scaled, mirrored and moved, clear of all; None if it cannot be.

    Size, side and height are drawn once, then columns. It grows only as far as it would still fit
    where it is.
    """
    thing = placed[0]
    height, width = thing.shape
    ((rows, columns),) = ndimage.find_objects(thing.astype(np.uint8))
    above_below = min(rows.start, height - rows.stop) / height
    left_right = min(columns.start, width - columns.stop) / width
    factor = min(rng.uniform(1 - SCALE, 1 + SCALE), 1 + 2 * min(above_below, left_right))
    shape = thing[rows, columns]
    h, w = (max(1, int(side * factor)) for side in shape.shape)
    pick = [np.arange(n) * side // n for n, side in zip((h, w), shape.shape)]
    shape = shape[np.ix_(*pick)][:, :: 1 if rng.random() < 0.5 else -1]

    total = shape.sum()
    middle = (rows.start + rows.stop) / 2 + rng.uniform(-SHIFT, SHIFT) * height
    low, high = _offsets(shape.sum(1), height, HIDDEN * total)
    y = min(max(round(middle - h / 2), low), high)
    shape, y = shape[max(0, -y) : height - y], max(0, y)
    low, high = _offsets(shape.sum(0), width, HIDDEN * total - (total - shape.sum()))
    for x in rng.integers(low, high + 1, TRIES):
        mask = np.zeros_like(thing)
        mask[y : y + len(shape), max(0, x) : x + w] = shape[:, max(0, -x) : width - x]
        if all((mask & p).sum() <= OVERLAP * min(mask.sum(), p.sum()) for p in placed):
            return mask
    return None


def _offsets(pixels: np.ndarray, side: int, most: float) -> tuple[int, int]:
    """First and last place at which a shape loses at most so many pixels beyond the border.

    ``pixels`` counts them row by row or column by column.
    """
    before = np.concatenate([[0], np.cumsum(pixels)])
    after = before[-1] - before
    return -int(np.flatnonzero(before <= most)[-1]), side - int(np.flatnonzero(after <= most)[0])


def draw(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One (H, W) bool mask, shaped like an object of a new scene."""
    fine = -(-32 // min(size))  # tiny pictures take every n-th pixel of larger ones
    for tries in count():  # until a scene has a thing that is large enough
        scene = scenes.sample_scene(rng)
        least = 0.05 / 2 ** (tries // 30)  # long pictures hold small things only
        labels = scene.render((fine * size[0], fine * size[1]))[1]
        if found := object_masks(labels, scenes.THINGS, rng, area=(least, 0.5)):
            return found[rng.integers(len(found))][fine // 2 :: fine, fine // 2 :: fine]
    raise AssertionError("unreachable")
