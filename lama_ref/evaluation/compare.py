"""Weights against classical inpainting on the same pictures and the same masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import masks
from ..data import scenes
from ..inference import Inpainter
from .baselines import BASELINES
from .metrics import hole_l1, paired_bootstrap


def pictures(photos: str | Path | None, size: int, n: int, seed: int) -> NDArray[np.float32]:
    """n held-out pictures, (n, 3, size, size) in [0, 1]: photographs' centres, or scenes.

    Of a photograph the largest centred square is taken and resized to ``size``.
    """
    if photos is None:
        return scenes.batch(n, size, np.random.default_rng(seed))[0]
    from PIL import Image

    from ..data import folders

    result = []
    for path in folders.list_images(photos)[:n]:
        image = Image.fromarray(folders.read_image(path))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.resize(
            (size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
        )
        result.append(np.asarray(square, np.float32).transpose(2, 0, 1) / 255)
    return np.stack(result)


def compare_with_classical(
    weights: str | Path, photos: str | Path | None, preset: str, size: int, n: int, seed: int
) -> dict:
    """Hole L1 of the weights and of each baseline, with paired differences.

    Returns:
        A JSON-able dictionary: settings, ``hole_l1`` by method, and ``difference`` (weights
        minus baseline: mean and 95 % bootstrap interval over pictures; below 0, the network
        is better).
    """
    if n < 2:
        raise ValueError(f"a comparison needs n >= 2 pictures, not {n}")
    images = pictures(photos, size, n, seed)
    rng = np.random.default_rng((seed, 1))
    holes = masks.sample(preset, (size, size), len(images), rng, share=(0.1, 0.5))
    inpaint = Inpainter(weights)
    filled = inpaint(np.moveaxis(images, 1, -1), holes)
    errors = {str(weights): hole_l1(np.moveaxis(filled, -1, 1), images, holes)}
    for name, fill in BASELINES.items():
        result = np.stack([fill(image, hole) for image, hole in zip(images, holes)])
        errors[name] = hole_l1(result, images, holes)
    ours = errors[str(weights)]
    differences = {name: paired_bootstrap(ours, errors[name]) for name in BASELINES}
    return {
        "pictures": "procedural scenes"
        if photos is None
        else f"photographs of {Path(photos).name}",
        "n": len(images),
        "size": size,
        "masks": f"{preset}, 10 to 50 % hole",
        "seed": seed,
        "hole_l1": {name: round(float(e.mean()), 5) for name, e in errors.items()},
        "difference": {k: [round(v, 5) for v in d] for k, d in differences.items()},
    }


def table(result: dict) -> str:
    """The result as lines of text."""
    lines = [
        f"{result['n']} {result['pictures']}, {result['size']} px, masks {result['masks']}",
        f"{'':16}{'hole L1':>9}   network minus this, 95 % interval",
    ]
    for name, value in result["hole_l1"].items():
        line = f"{name:16}{value:9.4f}"
        if name in result["difference"]:
            mean, low, high = result["difference"][name]
            line += f"   {mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(line)
    return "\n".join(lines)
