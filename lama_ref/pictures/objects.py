"""Masks shaped like the objects of a picture, from any label map.

Source: the segmentation masks of LaMa section 3.1, whose published code needs a panoptic
segmentation network; here any label map will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from . import scenes


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


def draw(
    labels: np.ndarray | None,
    things: Sequence[int] | None,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """One (H, W) bool mask, shaped like an object of a label map or, without one, of a new scene.

    Raises:
        ValueError: the label map has another size, or no usable object.
    """
    if labels is not None:
        if np.shape(labels) != tuple(size):
            raise ValueError(f"the label map is {np.shape(labels)}, the mask {size} pixels")
        for _ in range(20):  # a place may be missed by chance
            if found := object_masks(labels, things, rng):
                return found[rng.integers(len(found))]
        raise ValueError("the label map has no object that can be moved to make a mask")
    fine = -(-32 // min(size))  # tiny pictures take every n-th pixel of larger ones
    for tries in count():  # until a scene has a thing that is large enough
        scene = scenes.sample_scene(rng)
        if any(thing.kind != "half" for thing in scene.things):
            shown = scene.render((fine * size[0], fine * size[1]))[1]
            least = 0.05 / 2 ** (tries // 30)  # long pictures hold small things only
            found = object_masks(shown, scenes.THINGS, rng, area=(least, 0.5))
            if found:
                return found[rng.integers(len(found))][fine // 2 :: fine, fine // 2 :: fine]
    raise AssertionError("unreachable")
