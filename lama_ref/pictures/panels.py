"""Panels: what a network makes of the same few photographs, as a picture file."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .. import masks
from ..generator import inpaint_batch
from ..weights.files import atomic
from . import photographs, scenes

COUNT = 4


@cache
def pictures(folder: str | None, size: int) -> NDArray[np.float32]:
    """Four fixed pictures (4, 3, size, size): of a folder, sample photographs, or scenes."""
    try:
        if folder is not None:
            readable = (_read(path) for path in photographs.list_images(folder))
            found = list(islice((x for x in readable if x is not None), COUNT))
        else:
            found = list(photographs.sample_photos().values())[:COUNT]
    except ModuleNotFoundError:
        found = []
    cut = [photographs.square(picture, size) for picture in found]
    rest = scenes.batch(COUNT - len(cut), size, np.random.default_rng(0))[0]
    return np.concatenate([np.array(cut, np.float32).reshape(-1, 3, size, size), rest])


def _read(path: Path) -> NDArray[np.uint8] | None:
    try:
        return photographs.read_image(path)
    except (OSError, ValueError):
        return None


@torch.no_grad()
def write(path: Path, generator: torch.nn.Module, folder: str | None, preset: str, size: int):
    """A row each of pictures with their holes, of results and of originals, as a JPEG file."""
    image = torch.from_numpy(pictures(folder, size))
    rng = np.random.default_rng(0)
    mask = masks.to_tensor(masks.sample(preset, (size, size), len(image), rng, share=(0.1, 0.5)))
    device = next(generator.parameters()).device
    _, result = inpaint_batch(generator, image.to(device), mask.to(device))
    hidden = image * (1 - mask) + mask * torch.tensor([1.0, 0.35, 0.35])[:, None, None]
    rows = [torch.cat(list(row), 2) for row in (hidden, result.cpu().float(), image)]
    path.parent.mkdir(exist_ok=True)
    with atomic(path, suffix=path.suffix) as temporary:
        photographs.to_image(torch.cat(rows, 1)).save(temporary, quality=90)
