"""Sheets: the first pictures of an evaluation, side by side. Numbers see less than eyes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .photographs import to_image

RED = np.array([1.0, 0.35, 0.35], np.float32)[:, None, None]


def sheet(rows: dict[str, NDArray], side: int = 160, across: int = 10) -> Image.Image:
    """Pictures in columns, what was done with them in named rows, ``across`` columns at a time.

    Args:
        rows: name -> pictures (n, 3, H, W) in [0, 1], the same n for all.
        side: of a picture on the sheet, in pixels.
    """
    n, margin, gap = len(next(iter(rows.values()))), 90, 6
    blocks = [range(first, min(first + across, n)) for first in range(0, n, across)]
    height = len(blocks) * (len(rows) * side + gap) - gap
    page = Image.new("RGB", (margin + min(n, across) * side, height), "white")
    text = ImageDraw.Draw(page)
    for b, columns in enumerate(blocks):
        for r, (name, pictures) in enumerate(rows.items()):
            top = b * (len(rows) * side + gap) + r * side
            text.text((4, top + side // 2 - 6), name, fill="black")
            for c, i in enumerate(columns):
                tile = to_image(torch.from_numpy(pictures[i])).resize(
                    (side, side), Image.Resampling.LANCZOS
                )
                page.paste(tile, (margin + c * side, top))
    return page


def hidden(images: NDArray, masks: NDArray) -> NDArray:
    """(n, 3, H, W) with the holes (n, H, W) painted red."""
    return np.where(masks[:, None], RED, images)
