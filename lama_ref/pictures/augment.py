"""Augmentation: the many crops that one photograph is good for.

Each kind follows the published configuration (its probability and its range), has a name, and
can be switched off without changing what the others draw:

===========  ====  ===============================================================================
name         odds  what it does
===========  ====  ===============================================================================
flip         1/2   mirrors left and right
perspective  1/2   moves the corners of the window that is cut out inward, by abs(N(0, s)) of its
                   side each, with s uniform in (0, 0.06)
affine       1/2   turns by up to 40 degrees; stretches x and y, each by 0.7 to 1.3
contrast     1/2   equalises lightness locally (CLAHE, 8 x 8 tiles), with a clip limit of 1 to 4
colour       1/2   contrast by 0.8 to 1.2, brightness by up to 0.2; and, with odds of 1/2 as well,
                   hue by up to 10 degrees, saturation by 0.7 to 1.3, brightness by up to 0.02
===========  ====  ===============================================================================

Departures from the published code, and why:

* It warps the whole photograph twice and then cuts, and invents what lies beyond its edges by
  mirroring. Here window, perspective and affine map are one homography, the photograph is
  resampled once, and the window is placed where it fits: no invented pixels. Perspective is
  relative to the window. The published shear, 0.1 *degrees*, and optical distortion, up to a few
  pixels at the corners and no homography, are left out.
* It cuts at full resolution. Here the window's side is ``zoom`` times the crop's, so that small
  crops show more than plain patches, and shrinking is anti-aliased. ``zoom=(1, 1)`` is published.
* Saturation is scaled (there: shifted, which tints grey pixels red), and hue turns about the grey
  axis of RGB, so that all of "colour" is one affine map of (R, G, B).

Source: LaMa, supplementary material, and the published training configuration ("distortions").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AUGMENTATIONS = ("flip", "perspective", "affine", "contrast", "colour")
"""All augmentations, as :func:`augment` applies them when none are named."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Range = tuple[float, float]
_CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2


def augment(
    photo: Pixels,
    size: int,
    rng: np.random.Generator,
    augmentations: Sequence[str] = AUGMENTATIONS,
    zoom: Range = (1.0, 4.0),
) -> Floats:
    """A random crop of a photograph.

    Args:
        photo: (H, W, 3) uint8.
        size: side of the crop in pixels.
        rng: whence everything random comes; a crop takes the same number of draws from it
            whatever the augmentations and the photograph.
        augmentations: some of :data:`AUGMENTATIONS`, in any order.
        zoom: least and most side of the window that is cut out, relative to ``size``
            (log-uniform); never beyond the photograph, so a small photograph is enlarged.

    Returns:
        (3, size, size) float32 in [0, 1].

    Raises:
        ValueError: an unknown augmentation, a size below 1 or a zoom that is no range.
    """
    names, zoom = checked(augmentations), checked_zoom(zoom)
    if size < 1:
        raise ValueError(f"size is {size}; expected 1 or more: the side of the crop in pixels")
    square = cut(photo, window(photo.shape[:2], size, rng, names, zoom), size)
    return recolour(square.transpose(2, 0, 1) / np.float32(255), rng, names)


def recolour(
    image: Floats, rng: np.random.Generator, augmentations: Sequence[str] = AUGMENTATIONS
) -> Floats:
    """The augmentations that leave the geometry alone: flip, contrast, colour.

    Args:
        image: (3, H, W) float32 in [0, 1].
    """
    names = checked(augmentations)
    flip, contrast, light, hue = rng.random(4) < 0.5
    clip, gain, shift, *turn = rng.uniform(*_COLOUR_RANGES)
    if flip and "flip" in names:
        image = image[:, :, ::-1]
    if contrast and "contrast" in names:
        image = equalise(image, clip)
    if "colour" in names and (light or hue):
        matrix = hue_matrix(*turn[:2]) if hue else np.eye(3)
        shift = (shift if light else 0) + (turn[2] if hue else 0)
        matrix = ((1 + gain if light else 1) * matrix).astype(np.float32)
        image = np.clip(matrix @ image.reshape(3, -1) + np.float32(shift), 0, 1).reshape(
            image.shape
        )
    return np.ascontiguousarray(image)


# clip limit; contrast - 1, brightness; hue in radians, saturation, brightness ("value")
_COLOUR_RANGES = np.array(
    [(1, 4), (-0.2, 0.2), (-0.2, 0.2), (-np.pi / 18, np.pi / 18), (0.7, 1.3), (-0.02, 0.02)]
).T


def checked(augmentations: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple; ValueError if one is unknown."""
    names = (augmentations,) if isinstance(augmentations, str) else tuple(augmentations)
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise ValueError(f"no augmentation {unknown[0]!r}; expected {', '.join(AUGMENTATIONS)}")
    return names


def checked_zoom(zoom: Range) -> Range:
    """The range; ValueError unless 0 < least <= most < infinity."""
    if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1] < np.inf:
        raise ValueError(f"zoom is {zoom}; expected two numbers with 0 < least <= most")
    return zoom


# --------------------------------------------------------------------------- geometry
def window(
    shape: tuple[int, ...], size: int, rng: np.random.Generator, names: tuple[str, ...], zoom: Range
) -> NDArray[np.float64]:
    """Where in a photograph the crop's corners come from: (4, 2) x and y, clockwise."""
    warp, spread, jitter = rng.random(2) < 0.5, rng.uniform(0, 0.06), rng.standard_normal((4, 2))
    stretch, angle, u = rng.uniform(0.7, 1.3, 2), np.radians(rng.uniform(-40, 40)), rng.random(3)
    warp &= ["perspective" in names, "affine" in names]
    corners = _CORNERS
    if warp[0]:
        corners = corners * (1 - 2 * spread * np.abs(jitter))
    if warp[1]:  # the inverse, since corners say where pixels come from
        cos, sin = np.cos(angle), np.sin(angle)
        corners = corners @ np.array([[cos, -sin], [sin, cos]]) / stretch
    corners = corners - corners.min(0)
    extent, limits = corners.max(0), np.array(shape[1::-1])  # width and height
    least, most = (min(*(limits / extent), factor * size) for factor in zoom)
    side = least * (most / least) ** u[0]
    if not warp.any():  # a square of whole pixels, at a whole position
        side = max(1, round(side))
        return side * corners + np.floor(u[1:] * (limits - side + 1))
    return side * corners + u[1:] * (limits - side * extent)


def cut(photo: Pixels, corners: NDArray[np.float64], size: int) -> Pixels:
    """The window (4, 2) of a photograph as a square (size, size, 3), anti-aliased."""
    from PIL import Image

    height, width = photo.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0) + 1e-6), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(0) - 1e-6), (width, height)).astype(int)
    image = Image.fromarray(photo[top:bottom, left:right])
    corners = corners - (left, top)
    if np.array_equal(corners, image.size * (_CORNERS + 0.5)):
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(image)
    # pixels of the photograph to one of the crop, along the longest side of the window
    scale = np.linalg.norm(corners - np.roll(corners, 1, 0), axis=1).max() / size
    whole = max(1, int(scale))
    image, corners, scale = image.reduce(whole), corners / whole, scale / whole
    fine = size if scale <= 1 else 2 * size  # the mean of 2 x 2 points, where it shrinks still
    image = image.transform(
        (fine, fine),
        Image.Transform.PERSPECTIVE,
        homography((_CORNERS + 0.5) * fine, corners),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(image if fine == size else image.reduce(2))


def homography(start: NDArray, end: NDArray) -> list[float]:
    """The eight numbers a..h that take four points (4, 2) to four others.

    (x, y) -> (a x + b y + c, d x + e y + f) / (g x + h y + 1), in Pillow's order.
    """
    x, y = start.T
    one, zero = np.ones(4), np.zeros(4)
    rows = [
        np.stack([x, y, one, zero, zero, zero, -x * end[:, 0], -y * end[:, 0]], 1),
        np.stack([zero, zero, zero, x, y, one, -x * end[:, 1], -y * end[:, 1]], 1),
    ]
    return np.linalg.solve(np.concatenate(rows), end.T.ravel()).tolist()


# --------------------------------------------------------------------------- colour
def hue_matrix(angle: float, saturation: float) -> NDArray[np.float64]:
    """(3, 3): turns RGB about the grey axis by an angle, scales its distance from the axis."""
    # Rodrigues' formula, with axis (1, 1, 1) / sqrt 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    grey = np.full((3, 3), 1 / 3)
    return grey + saturation * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)


def equalise(image: Floats, clip: float) -> Floats:
    """Contrast-limited adaptive histogram equalisation (CLAHE) of the lightness, L of Lab.

    Args:
        image: (3, H, W) float32 in [0, 1].
        clip: limit of a tile's histogram, relative to its mean; 1 changes little.

    Raises:
        ModuleNotFoundError: OpenCV is not installed.
    """
    try:
        import cv2
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'the augmentation "contrast" needs OpenCV: pip install opencv-python-headless, or '
            "train without it, with --augmentations"
        ) from None

    cv2.setNumThreads(1)  # its threads do not survive the fork of a DataLoader's workers
    pixels = np.ascontiguousarray((image.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8))
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, (8, 8)).apply(lab[..., 0])
    pixels = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return pixels.transpose(2, 0, 1) / np.float32(255)
