"""The first picture: sample photographs with holes, inpainted, side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from .. import masks
from ..pictures import photographs

PHOTOGRAPHS = {  # name: mask preset (of a size that the shipped weights can fill) and seed
    "astronaut": ("narrow", 1),
    "chelsea": ("narrow", 2),
    "coffee": ("narrow", 3),
    "rocket": ("medium", 4),
}


def demo_inputs(height: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Photographs (height, W, 3) uint8 and masks (height, W) bool, hiding 5 to 20 % each."""
    if height < 16:
        raise ValueError(f"the pictures must be at least 16 px high, not {height}")
    inputs = {}
    for name, (preset, seed) in PHOTOGRAPHS.items():
        photo = Image.fromarray(photographs.sample_photo(name))
        width = round(photo.width * height / photo.height)
        array = np.asarray(photo.resize((width, height), Image.Resampling.LANCZOS))
        rng = np.random.default_rng(seed)
        inputs[name] = array, masks.sample(preset, array.shape[:2], 1, rng, share=(0.05, 0.2))[0]
    return inputs


def demo_picture(inpaint: Callable, height: int) -> tuple[Image.Image, list[str]]:
    """Columns: photograph with its hole, result, original; and a line of text for each row.

    Args:
        inpaint: (photo, mask) -> photo, such as a :class:`lama_ref.Inpainter`.
        height: of each photograph, in pixels.
    """
    rows, lines = [], []
    for name, (photo, mask) in demo_inputs(height).items():
        result = inpaint(photo, mask)
        holed = np.where(mask[..., None], np.array([255, 90, 90], np.uint8), photo)
        rows.append([holed, result, photo])
        error = np.abs(result[mask].astype(float) - photo[mask]).mean() / 255
        lines.append(f"{name:10} hole {mask.mean():4.0%} of the picture, hole L1 {error:.3f}")
    gap, widest = 6, max(row[0].shape[1] for row in rows)
    size = (3 * widest + 2 * gap, len(rows) * height + (len(rows) - 1) * gap)
    picture = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, array in enumerate(row):
            left = x * (widest + gap) + (widest - array.shape[1]) // 2
            picture.paste(Image.fromarray(array), (left, y * (height + gap)))
    return picture, lines
