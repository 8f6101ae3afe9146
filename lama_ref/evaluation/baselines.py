"""Classical inpainting, which any network has to beat: (image, mask) -> image.

Images are (3, H, W) float32 in [0, 1], masks (H, W) bool, True in the hole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .networks import need

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def mean_fill(image: Image, mask: Mask) -> Image:
    """Fill with the mean colour of the known pixels."""
    if mask.all():
        return np.full_like(image, 0.5)
    return np.where(mask, image[:, ~mask].mean(1)[:, None, None], image)


def telea(image: Image, mask: Mask) -> Image:
    """Telea's fast marching (Journal of Graphics Tools, 2004), from OpenCV."""
    return _opencv(image, mask, "INPAINT_TELEA")


def navier_stokes(image: Image, mask: Mask) -> Image:
    """Bertalmio's Navier-Stokes transport (CVPR 2001), from OpenCV."""
    return _opencv(image, mask, "INPAINT_NS")


def biharmonic(image: Image, mask: Mask) -> Image:
    """Smooth continuation: the biharmonic equation with the known pixels as its boundary.

    Source: Damelin and Hoang (IJMMS, 2018), from scikit-image. Seconds a picture at 512 px.
    """
    need("skimage", "scikit-image")
    from skimage.restoration import inpaint_biharmonic

    if mask.all():
        return mean_fill(image, mask)
    filled = inpaint_biharmonic(
        image.transpose(1, 2, 0), mask, split_into_regions=True, channel_axis=-1
    )
    return np.where(mask, filled.transpose(2, 0, 1), image).astype(np.float32)


def _opencv(image: Image, mask: Mask, method: str) -> Image:
    need("cv2", "opencv-python-headless")
    import cv2

    pixels = (image.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    filled = cv2.inpaint(pixels, mask.astype(np.uint8), 3, getattr(cv2, method))
    return np.where(mask, filled.transpose(2, 0, 1).astype(np.float32) / 255, image)


BASELINES = {
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
    "mean": mean_fill,
}


def version(name: str) -> str:
    """Whose implementation of a baseline runs here, and its version."""
    if name == "mean":
        return "lama_ref"
    if name == "biharmonic":
        from importlib.metadata import version as installed

        return f"scikit-image {installed('scikit-image')}"
    if name not in ("telea", "navier-stokes"):
        raise ValueError(f"whose is {name!r}? Name its author in evaluation.baselines.version")
    import cv2

    return f"OpenCV {cv2.__version__}"
