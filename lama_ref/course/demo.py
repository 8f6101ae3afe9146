"""The first picture: patterns continued through a hole, then objects removed from photographs.

The patterns are held-out scenes, ranked by how well the network continues what is hidden; shown are
the best of ten, the middle one and the worst of ten, and one that is eight times as large as what
the trio was trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .. import masks
from ..evaluation import baselines, held_out
from ..evaluation.metrics import hole_correlation
from ..inference import Inpainter
from ..pictures import panels, photographs

RANKED, TRAINED = 20, 64  # scenes to rank; side of the crops that the trio was trained on
OBJECTS = {  # sample photograph: corners of the hole, as shares of width and height
    "rocket": ((0.443, 0.25), (0.563, 0.955)),
    "coffee": ((0.52, 0.52), (0.70, 0.80)),
    "astronaut": ((0.70, 0.0), (0.90, 0.62)),
}
Fill = Callable[[NDArray, NDArray], NDArray]  # (n, 3, H, W), (n, H, W) -> (n, 3, H, W)


def network(model: Inpainter) -> Fill:
    """An inpainter as a function of arrays."""

    def fill(images: NDArray, holes: NDArray) -> NDArray:
        return model(torch.from_numpy(images), masks.to_tensor(holes)).numpy()

    return fill


def telea(images: NDArray, holes: NDArray) -> NDArray:
    """The classical filling that most people know."""
    return np.stack([baselines.telea(image, hole) for image, hole in zip(images, holes)])


def patterns(fill: Fill, size: int) -> tuple[NDArray, NDArray, list[str]]:
    """Three of twenty held-out patterns and their holes, ranked by ``fill``: with a title each."""
    images = held_out.pictures("periodic", size, RANKED, 1_000_000)
    holes = held_out.holes("wide", size, RANKED, 1_000_000)
    score = hole_correlation(fill(images, holes), images, holes)
    places = {"90th": 0.9, "50th": 0.5, "10th": 0.1}
    order = np.argsort(score)
    chosen = [order[round(share * (RANKED - 1))] for share in places.values()]
    titles = [f"{p} percentile\ncorrelation {score[i]:.2f}" for p, i in zip(places, chosen)]
    return images[chosen], holes[chosen], titles


def objects(size: int) -> tuple[NDArray, NDArray]:
    """Squares (n, 3, size, size) of sample photographs, and holes over an object in each."""
    photos = [photographs.sample_photo(name) for name in OBJECTS]
    holes = np.zeros((len(photos), size, size), bool)
    for photo, hole, corners in zip(photos, holes, OBJECTS.values()):
        height, width = photo.shape[:2]
        side = np.array([width, height])  # the centred square is what is shown
        offset = (side - side.min()) / 2
        (left, top), (right, bottom) = (np.array(corners) * side - offset) / side.min() * size
        hole[max(0, round(top)) : round(bottom), max(0, round(left)) : round(right)] = True
    return np.stack([photographs.square(photo, size) for photo in photos]), holes


def demo_picture(weights: str = "mini-fourier", size: int = 192) -> tuple[Image.Image, list[str]]:
    """Rows of hole, fillings and truth; and a line of text for each row.

    Args:
        weights: a name or file for :class:`lama_ref.Inpainter`.
        size: side of each picture in pixels, but for the large pattern.
    """
    if size < 32:
        raise ValueError(f"the pictures must be at least 32 px, not {size}")
    first = network(Inpainter(weights))
    columns: dict[str, Fill] = {
        weights: first,
        "trio: Fourier": network(Inpainter("trio-fourier")),
        "trio: Regular": network(Inpainter("trio-regular")),
        "Telea": telea,
    }
    large = 8 * TRAINED
    one = held_out.pictures("periodic", large, 1, 1_000_003)
    one_hole = held_out.holes("wide", large, 1, 1_000_003)
    images, holes, titles = patterns(first, size)
    photos, gaps = objects(size)
    parts = [(images[i : i + 1], holes[i : i + 1], t) for i, t in enumerate(titles)]
    parts.append((one, one_hole, f"{large} px: 8 times\nas trained"))
    parts += [(photos[i : i + 1], gaps[i : i + 1], name) for i, name in enumerate(OBJECTS)]
    rows, lines = [], []
    for image, hole, title in parts:
        fills = [np.where(hole[:, None], f(image, hole), image) for f in columns.values()]
        rows.append((title, [panels.hidden(image, hole)[0], *(f[0] for f in fills), image[0]]))
        error = np.abs(fills[0] - image)[0][:, hole[0]].mean()
        what = title.replace("\n", ", ")
        lines.append(f"{what:45} hole {hole.mean():4.0%} of the picture, hole L1 {error:.3f}")
    return _page(["hole", *columns, "truth"], rows, side=max(128, size)), lines


def _page(columns: list[str], rows: list[tuple[str, list[NDArray]]], side: int) -> Image.Image:
    margin, head, gap = 130, 22, 6
    size = (margin + len(columns) * (side + gap), head + len(rows) * (side + gap))
    page = Image.new("RGB", size, "white")
    text = ImageDraw.Draw(page)
    for c, name in enumerate(columns):
        text.text((margin + c * (side + gap) + 4, 5), name, fill="black")
    for r, (title, pictures) in enumerate(rows):
        top = head + r * (side + gap)
        text.multiline_text((6, top + side // 2 - 14), title, fill="black")
        for c, picture in enumerate(pictures):
            tile = photographs.to_image(torch.from_numpy(np.ascontiguousarray(picture)))
            tile = tile.resize((side, side), Image.Resampling.LANCZOS)
            page.paste(tile, (margin + c * (side + gap), top))
    return page
