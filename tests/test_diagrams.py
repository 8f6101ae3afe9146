"""The diagrams: nothing overlaps, nothing is cut off, and a telephone's width can be read."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from lama_ref.course import diagrams

NAMES = ("fourier_convolution", "generator", "training_step", "lama")


@pytest.fixture(scope="module", params=NAMES)
def drawn(request):
    """A figure, its texts with their extents in pixels, and the same of arrows and boxes."""
    figure = getattr(diagrams, request.param)()
    figure.canvas.draw()
    (axis,) = figure.axes
    texts = [(t.get_text(), t.get_window_extent()) for t in axis.texts if t.get_text()]
    yield figure, axis, texts
    plt.close(figure)


def test_is_tall_and_wide_enough_to_look_at(drawn):
    figure, *_ = drawn
    width, height = figure.get_size_inches() * figure.dpi
    assert width >= 1000 and height > width


def test_texts_lie_inside_and_apart(drawn):
    figure, _, texts = drawn
    assert len(texts) >= 12
    for words, extent in texts:
        assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1, words
        assert figure.bbox.y0 <= extent.y0 and extent.y1 <= figure.bbox.y1, words
    for (a, one), (b, other) in combinations(texts, 2):
        assert not one.overlaps(other), f"{a!r} overlaps {b!r}"


def test_texts_are_inside_a_box_or_outside_it(drawn):
    _, axis, texts = drawn
    boxes = [p.get_window_extent() for p in axis.patches if isinstance(p, FancyBboxPatch)]
    boxes += [image.get_window_extent() for image in axis.images]
    for words, extent in texts:
        for box in boxes:
            inside = box.containsx(extent.x0 - 3) and box.containsx(extent.x1 + 3)
            inside = inside and box.containsy(extent.y0) and box.containsy(extent.y1)
            assert inside or not extent.overlaps(box), f"{words!r} leaves its box"


def test_no_arrow_crosses_a_text(drawn):
    _, axis, texts = drawn
    arrows = [p for p in axis.patches if isinstance(p, FancyArrowPatch)]
    assert arrows
    for arrow in arrows:
        path = arrow.get_transform().transform_path(arrow.get_path())
        codes, points = np.asarray(path.codes), np.asarray(path.vertices)
        drawn_to = codes != Path.CLOSEPOLY  # those vertices are no points
        path = Path(points[drawn_to], codes[drawn_to])
        for words, extent in texts:
            assert not path.intersects_bbox(extent, filled=False), words


def test_letters_are_readable_on_a_telephone(drawn):
    """At 390 px a letter of 10 points is 8.5 px high: no text is smaller."""
    figure, axis, _ = drawn
    pixels = [t.get_fontsize() / 72 / figure.get_figwidth() * 390 for t in axis.texts]
    assert np.min(pixels) >= 8


def test_sizes_are_those_of_the_network():
    """What the generator's diagram says, the module does."""
    import torch

    from lama_ref import build_generator

    figure = diagrams.generator()
    said = [t.get_text() for t in figure.axes[0].texts]
    plt.close(figure)
    with torch.device("meta"):
        network = build_generator("lama-fourier")
        x, sizes = torch.empty(1, 4, 256, 256), []
        for layer in network.model:
            x = layer(x)
            halves = x if isinstance(x, tuple) else (x,)
            parts = [half.shape for half in halves if half is not None]
            sizes.append((sum(p[1] for p in parts), *parts[0][2:]))
    for size in sizes:
        if size[1] in (32, 64, 128, 256):  # not the padded ones
            assert " × ".join(map(str, size)) in said, size
    assert "128 local + 384 global" in said
