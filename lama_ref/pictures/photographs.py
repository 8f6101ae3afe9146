"""Photographs: folders of them, and single ones as arrays and tensors.

`image_names` lists a folder of any size and depth. `read_image` turns any file that Pillow can
open into the same thing, (H, W, 3) uint8 RGB the right way up. `sample_photos` finds the real
photographs that come inside the wheels of scikit-image and matplotlib. Training crops of
photographs are cut by :mod:`lama_ref.pictures.sources`.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_SAMPLES = (  # inside site-packages
    *(f"skimage/data/{name}.png" for name in ("astronaut", "chelsea", "coffee", "motorcycle_left")),
    *("skimage/data/rocket.jpg", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
)
PathLike = str | os.PathLike[str]
Pixels = NDArray[np.uint8]


def list_images(folder: PathLike) -> list[Path]:
    """All image files in a folder and the folders below it; see :func:`image_names`."""
    return [Path(folder, name) for name in image_names(folder)]


def image_names(folder: PathLike) -> list[str]:
    """Names, relative to a folder, of all image files in it and below, in a fixed order.

    Only directories are read, so a million files take seconds. Links to folders are followed, but
    no folder is listed twice. What is hidden (".name") is left out.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: a folder in it cannot be read.
        ValueError: no file in it ends, in either case, in one of `SUFFIXES`.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} is not a folder; expected one of images: check the path")
    names, others, seen = [], Counter(), set()
    for place, folders, files in os.walk(folder, onerror=_complain, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(place, folder)
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if not name.startswith(".") and suffix in SUFFIXES:
                names.append(name if inside == os.curdir else os.path.join(inside, name))
            elif not name.startswith("."):
                others[suffix or "without suffix"] += 1
    if not names:
        found = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5)) or "no file"
        raise ValueError(
            f"no image in {folder}; expected {', '.join(SUFFIXES)}, found {found}: check the path"
        )
    return sorted(names, key=lambda name: name.split(os.sep))  # as paths, part by part


def _complain(error: OSError) -> None:
    raise error


def read_image(path: PathLike | IO[bytes]) -> Pixels:
    """Reads an image file (a path or an open binary file) as (H, W, 3) uint8 RGB in [0, 255].

    Grey, palette and CMYK files become RGB, transparency is laid on white, 16 bits are scaled
    to 8, and the orientation in the EXIF data is applied.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: Pillow cannot read it, or the file ends too early.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; expected an image: check it") from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        message = f"cannot read {path} as an image ({error}): replace or remove the damaged file"
        raise ValueError(message) from error


def square(picture: Pixels, size: int) -> NDArray[np.float32]:
    """The largest centred square of (H, W, 3), resized (bicubic): (3, size, size) in [0, 1]."""
    image = Image.fromarray(picture)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB, for which Pillow's own convert() clips 16 bits and drops alpha."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = (1, 255) if image.mode == "F" else (65535, 2**31 - 1)  # the usual maxima
        limit = low if values.max(initial=0) <= low else high
        image = Image.fromarray(np.clip(values * 255 / limit + 0.5, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def to_tensor(array: Pixels) -> torch.Tensor:
    """(H, W, 3) uint8 in [0, 255] to (3, H, W) float32 in [0, 1]; ValueError for other arrays."""
    array = np.asarray(array)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        given = f"array is {array.dtype} {array.shape}"
        raise ValueError(f"{given}; expected uint8 (H, W, 3): use read_image or multiply by 255")
    return torch.from_numpy(array.transpose(2, 0, 1).astype(np.float32)) / 255


def to_image(tensor: torch.Tensor) -> Image.Image:
    """(3, H, W) float in [0, 1] to an image, rounded and clipped; ValueError for other tensors."""
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        given = f"tensor is {tensor.dtype} {tuple(tensor.shape)}"
        raise ValueError(f"{given}; expected float (3, H, W): take one of a batch with batch[i]")
    pixels = (tensor.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def sample_photos() -> dict[str, Pixels]:
    """The real photographs inside the installed wheels, by name, each (H, W, 3) uint8.

    astronaut, chelsea, coffee, motorcycle and rocket come with scikit-image, grace_hopper with
    matplotlib; ModuleNotFoundError if neither is installed. Nothing is downloaded.
    """
    return {name: read_image(path) for name, path in sorted(sample_paths().items())}


def sample_photo(name: str) -> Pixels:
    """One of `sample_photos`, (H, W, 3) uint8; ValueError for an unknown name."""
    paths = sample_paths()
    if name not in paths:
        raise ValueError(f"no sample photograph {name!r}; expected one of {', '.join(paths)}")
    return read_image(paths[name])


def sample_paths() -> dict[str, Path]:
    """Files of `sample_photos`, by name; ModuleNotFoundError if there are none."""
    paths = {}
    for file in _SAMPLES:
        package, _, rest = file.partition("/")
        spec = importlib.util.find_spec(package)  # finds the package without importing it
        if spec and spec.origin and (path := Path(spec.origin).parent / rest).is_file():
            paths[path.stem.removesuffix("_left")] = path
    if not paths:
        missing = "no sample photographs: scikit-image and matplotlib, which hold them, are missing"
        raise ModuleNotFoundError(f"{missing}: pip install scikit-image matplotlib")
    return paths
