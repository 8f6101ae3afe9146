"""One style for all figures: readable in grey, by colour-blind readers, and at a glance.

Functions take arrays or tensors, draw, and return the matplotlib figure. Titles state the
finding, not the topic.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
LINES = ("-", "--", "-.", ":")


def style() -> None:
    """Set matplotlib's defaults for the course; ``runtime.setup`` does not, the figures do."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "figure.dpi": 80,
            "savefig.dpi": 80,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.prop_cycle": cycler(color=COLOURS),
            "image.cmap": "viridis",
            "figure.constrained_layout.use": True,
        }
    )


def compact(quality: int = 55) -> None:
    """From now on a notebook stores figures as PNG of 256 colours or JPEG, whichever is smaller.

    The colours cover all that occur: the usual choice, by frequency, would paint over rare ones,
    and speckle is what a figure of fillings must show. Where 256 are too few, JPEG it is.
    """
    import matplotlib.pyplot as plt
    from IPython.core.getipython import get_ipython
    from PIL import Image

    def stored(figure, kind: str) -> str | None:
        buffer, files = io.BytesIO(), {}
        figure.savefig(buffer, format="png", dpi=figure.dpi, bbox_inches="tight")
        picture = Image.open(buffer).convert("RGB")
        coded = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE)
        for name, version in (("png", coded), ("jpeg", picture)):
            file = io.BytesIO()
            version.save(file, name, optimize=True, quality=quality)
            files[name] = file.getvalue()
        drawn, kept = (np.asarray(p.convert("RGB"), np.int16) for p in (picture, coded))
        error = np.abs(kept - drawn).mean()  # in levels of 255
        smaller = min(files, key=lambda name: len(files[name])) if error < 1.5 else "jpeg"
        return base64.b64encode(files[kind]).decode() if smaller == kind else None

    plt.close(plt.figure())  # the backend sets its own formats when it is first used
    if (shell := get_ipython()) is not None:
        for kind in ("png", "jpeg"):
            formatter = shell.display_formatter.formatters[f"image/{kind}"]  # type: ignore
            formatter.for_type(plt.Figure, partial(stored, kind=kind))


def to_array(image) -> np.ndarray:
    """An image of any of our shapes as (H, W, 3) or (H, W), in numpy."""
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy()
    image = np.asarray(image)
    while image.ndim > 3 and image.shape[0] == 1:
        image = image[0]
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (3, 4):
        image = np.moveaxis(image, 0, -1)
    return image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image


def png(image) -> bytes:
    """An image of any of our shapes, floats in [0, 1] or uint8, as a PNG for a widget."""
    from PIL import Image

    array = to_array(image)
    if array.dtype.kind == "f":
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def images(
    pictures: Sequence,
    titles: Sequence[str] | None = None,
    *,
    title: str | None = None,
    columns: int | None = None,
    width: float = 2.4,
    cmap: str = "gray",
):
    """Pictures in a grid, without axes: RGB in [0, 1] or uint8, grey ones through ``cmap``."""
    import matplotlib.pyplot as plt

    style()
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    first = to_array(pictures[0])
    height = width * first.shape[0] / first.shape[1] + (0.25 if titles else 0)
    size = (width * columns, height * rows + (0.3 if title else 0))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, (axis, picture) in enumerate(zip(axes.flat, pictures)):
        array = to_array(picture)
        if array.dtype.kind == "f" and array.ndim == 3:
            array = array.clip(0, 1)
        axis.imshow(array, cmap=cmap, interpolation="nearest")
        if titles and i < len(titles):
            axis.set_title(titles[i])
    if title:
        figure.suptitle(title)
    return figure


def masked(image, mask, colour=(1.0, 0.35, 0.35)) -> np.ndarray:
    """The picture with its hole painted in one colour: (H, W, 3) float32."""
    image, mask = to_array(image), to_array(mask)
    image = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image
    return np.where(np.asarray(mask)[..., None] > 0.5, np.float32(colour), image)


def curves(
    x,
    lines: dict[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    size: tuple[float, float] = (5.5, 3.2),
):
    """Lines with a legend; told apart by colour and by dashes."""
    import matplotlib.pyplot as plt

    style()
    figure, axis = plt.subplots(figsize=size)
    for i, (name, y) in enumerate(lines.items()):
        axis.plot(x, y, LINES[i % len(LINES)], label=name, color=COLOURS[i % len(COLOURS)])
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axis.legend(frameon=False)
    return figure


def maps(
    arrays: Sequence,
    titles: Sequence[str],
    *,
    title: str | None = None,
    columns: int | None = None,
    decades: float | None = None,
    width: float = 2.2,
):
    """Maps of numbers side by side, each with its own colour bar.

    Signed maps run from blue through white to red, symmetric about 0; others from dark to
    bright. With ``decades``, log10 of each magnitude relative to its largest, that far down.
    NaN stays white.
    """
    import matplotlib.pyplot as plt

    style()
    columns = columns or len(arrays)
    rows = -(-len(arrays) // columns)
    size = (width * columns, 1.05 * width * rows + (0.3 if title else 0))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, array, name in zip(axes.flat, arrays, titles):
        values = to_array(array).astype(float)
        limits: dict = {}
        if decades is not None:
            values = np.abs(values) / max(np.nanmax(np.abs(values)), 1e-300)
            values = np.log10(values.clip(10.0**-decades))
            limits = {"vmin": -decades, "vmax": 0}
        elif values.min() < 0:
            top = np.abs(values).max()
            limits = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
        drawn = axis.imshow(values, interpolation="nearest", **limits)
        figure.colorbar(drawn, ax=axis, shrink=0.7, aspect=15)
        axis.set_title(name)
    if title:
        figure.suptitle(title)
    return figure


def augmentations(names: Sequence[str] = ("astronaut", "coffee"), size: int = 128, seed: int = 0):
    """What each training augmentation does to the same crop of sample photographs.

    First column: the photograph, and the outlines of the windows of the plain crop and of the
    last. Seeds are counted up until chance applies all of them: each has odds of 1/2.
    """
    import matplotlib.pyplot as plt

    from ..pictures import augment, photographs

    def crop(photo, seed, used):
        return augment.augment(photo, size, np.random.default_rng(seed), used, zoom=(2, 2))

    style()
    kinds = [(), *((name,) for name in augment.AUGMENTATIONS), augment.AUGMENTATIONS]
    size_in = (13, 1.6 * len(names) + 0.5)
    figure, axes = plt.subplots(len(names), 1 + len(kinds), figsize=size_in, squeeze=False)
    for row, name in zip(axes, names):
        photo = photographs.sample_photo(name)
        plain = crop(photo, seed, ())
        while any(np.array_equal(plain, crop(photo, seed, used)) for used in kinds[1:]):
            seed += 1
            plain = crop(photo, seed, ())
        row[0].imshow(photo)
        for used, dashes in ((kinds[0], "--"), (kinds[-1], "-")):
            rng = np.random.default_rng(seed)
            corners = augment.window(photo.shape, size, rng, used, (2, 2))
            for colour, width in (("black", 3), ("white", 1.5)):
                row[0].plot(*corners[[0, 1, 2, 3, 0]].T, dashes, color=colour, linewidth=width)
        for axis, used in zip(row[1:], kinds):
            axis.imshow(to_array(crop(photo, seed, used)))
        seed += 1
    titles = ("photograph", "plain crop", *augment.AUGMENTATIONS, "all together")
    for axis, title in zip(axes.flat, titles):
        axis.set_title(title)
    for axis in axes.flat:
        axis.axis("off")
    outlined = "outlined: the plain crop, dashed, and the last"
    figure.suptitle(f"One photograph gives many crops, without invented borders ({outlined})")
    return figure
