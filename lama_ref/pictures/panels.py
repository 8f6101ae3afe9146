"""Panels: pictures side by side in named rows. Numbers see less than eyes."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .. import masks
from ..generator import inpaint_batch
from . import formats, photographs, scenes

RED = np.array([1.0, 0.35, 0.35], np.float32)[:, None, None]
COUNT = 4  # pictures of a run's panels


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
                tile = photographs.to_image(torch.from_numpy(pictures[i]))
                tile = tile.resize((side, side), Image.Resampling.LANCZOS)
                page.paste(tile, (margin + c * side, top))
    return page


def hidden(images: NDArray, masks: NDArray) -> NDArray:
    """(n, 3, H, W) with the holes (n, H, W) painted red."""
    return np.where(masks[:, None], RED, images)


@cache
def pictures(folder: str | None, size: int) -> NDArray[np.float32]:
    """Four fixed pictures (4, 3, size, size): of a folder, sample photographs, or scenes."""
    found, paths = [], []
    if folder is not None:
        paths = photographs.list_images(folder)
    else:
        with suppress(ModuleNotFoundError):  # scenes will do
            paths = sorted(photographs.sample_paths().values())
    for path in paths:
        with suppress(OSError, ValueError):  # the next one will do
            found.append(photographs.square(photographs.read_image(path), size))
        if len(found) == COUNT:
            break
    rest = scenes.batch(COUNT - len(found), size, np.random.default_rng(0))[0]
    return np.concatenate([np.array(found, np.float32).reshape(-1, 3, size, size), rest])


@torch.no_grad()
def write(path: Path, generator: torch.nn.Module, folder: str | None, preset: str, size: int):
    """A sheet of :func:`pictures` with their holes, of results and of originals, as a JPEG file."""
    image, rng = pictures(folder, size), np.random.default_rng(0)
    mask = masks.sample(preset, (size, size), len(image), rng, share=(0.1, 0.5))
    device = next(generator.parameters()).device
    given = torch.from_numpy(image).to(device), masks.to_tensor(mask).to(device)
    result = inpaint_batch(generator, *given)[1].float().cpu().numpy()
    rows = {"holes": hidden(image, mask), "result": result, "original": image}
    formats.save(sheet(rows, size), path, quality=90)
