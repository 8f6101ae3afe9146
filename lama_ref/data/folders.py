"""Photographs: folders of them, as arrays and tensors, as random training crops.

`read_image` turns any file that Pillow can open into the same thing, (H, W, 3) uint8 RGB the
right way up. `Photos` keeps a folder in memory and cuts crops out of it. `sample_photos` finds
the real photographs that come inside the wheels of scikit-image and matplotlib.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
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
Range = tuple[float, float]


def list_images(folder: PathLike) -> list[Path]:
    """All image files in a folder and the folders below it, sorted.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no file in it ends, in either case, in one of `SUFFIXES`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected one of images: check the path")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise ValueError(f"no image in {folder}; expected {', '.join(SUFFIXES)}: check the path")
    return paths


def inpainting_jobs(photo: Path, mask: Path, output: Path) -> Iterator[tuple[Path, Path, Path]]:
    """(picture, mask, output) files for a picture or a folder of them.

    A folder of masks holds NAME_mask.* or NAME.* for each picture NAME.*; it may be the same
    folder. FileNotFoundError or ValueError where a mask is missing or two outputs coincide.
    """
    for path in (photo, mask):
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path}")
    if not photo.is_dir():
        if mask.is_dir():
            raise ValueError(f"{mask} is a folder, but {photo} a file: give one mask file")
        if output.is_dir():
            output = output / f"{photo.stem}.png"
        yield photo, mask, output
        return
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file, but {photo} a folder: give an output folder")
    holes: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    same = mask.resolve() == photo.resolve()
    if mask.is_dir():
        holes = {path.relative_to(mask).with_suffix(""): path for path in list_images(mask)}
    for source in list_images(photo):
        name = source.relative_to(photo).with_suffix("")
        if same and name.name.endswith("_mask"):
            continue
        hole = mask
        if mask.is_dir():
            named = name.with_name(name.name + "_mask")
            hole = holes.get(named) or (None if same else holes.get(name))
            if hole is None:
                raise FileNotFoundError(
                    f"no mask for {source}: expected {mask / named}.png or {mask / name}.png"
                )
        target = output / name.with_name(name.name + ".png")
        if target in taken:
            raise ValueError(f"{taken[target]} and {source} would both become {target}: rename one")
        taken[target] = source
        yield source, hole, target


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


class Photos:
    """A folder of photographs, from which random crops are cut.

    Args:
        folder: searched with `list_images`.
        cache: keep the arrays in memory; otherwise read a file each time a crop needs it.

    Attributes:
        paths: the readable files; `skipped` counts the others.

    Raises:
        FileNotFoundError, ValueError: no such folder, or no readable image in it.
    """

    def __init__(self, folder: PathLike, cache: bool = True) -> None:
        self.skipped = 0
        self._arrays: dict[Path, Pixels | None] = {}
        for path in list_images(folder):
            try:
                array = read_image(path)
                self._arrays[path] = array if cache else None
            except ValueError:
                self.skipped += 1
        self.paths = list(self._arrays)
        if not self.paths:
            raise ValueError(f"none of {self.skipped} images in {folder} is readable: replace them")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pixels:
        """The photograph (H, W, 3) uint8."""
        array = self._arrays[self.paths[index]]
        return read_image(self.paths[index]) if array is None else array

    def crops(
        self, n: int, size: int, rng: np.random.Generator, zoom: Range = (1, 4), colour: bool = True
    ) -> NDArray[np.float32]:
        """n random square crops, (n, 3, size, size) float32 in [0, 1].

        Each is a random square of a random photograph, resized with anti-aliasing. Its side lies
        between zoom[0] and zoom[1] times size (log-uniform), but never beyond the photograph. Half
        are mirrored; `colour` varies brightness, contrast and hue a little.
        ValueError unless n >= 0, size >= 1 and 0 < zoom[0] <= zoom[1].
        """
        if n < 0 or size < 1 or not 0 < zoom[0] <= zoom[1]:
            given = f"n is {n}, size is {size} and zoom is {zoom}"
            raise ValueError(f"{given}; expected n >= 0, size >= 1 and 0 < zoom[0] <= zoom[1]")
        out = np.empty((n, 3, size, size), np.float32)
        for i in range(n):
            photo = self[int(rng.integers(len(self)))]
            height, width = photo.shape[:2]
            least, most = (min(height, width, factor * size) for factor in zoom)
            side = max(1, round(least * (most / least) ** rng.random()))
            top, left = rng.integers((height - side + 1, width - side + 1))
            square = Image.fromarray(photo[top : top + side, left : left + side])
            if side != size:
                square = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
            pixels = np.asarray(square)[:, :: 1 if rng.random() < 0.5 else -1]
            crop = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
            out[i] = _vary_colour(crop, rng) if colour else crop
        return out


def _vary_colour(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness, contrast and hue changed a little: one affine map of (R, G, B)."""
    brightness, contrast, angle = rng.uniform((0.85, 0.85, -0.15), (1.15, 1.15, 0.15))
    # turning RGB about the grey axis: Rodrigues' formula, with axis (1, 1, 1) / sqrt 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) / 3
    matrix = (brightness * contrast * turn).astype(np.float32)
    middle = float(brightness * (1 - contrast) * image[:, ::4, ::4].mean())
    return np.clip(matrix @ image.reshape(3, -1) + middle, 0, 1).reshape(image.shape)


def sample_photos() -> dict[str, Pixels]:
    """The real photographs inside the installed wheels, by name, each (H, W, 3) uint8.

    astronaut, chelsea, coffee, motorcycle and rocket come with scikit-image, grace_hopper with
    matplotlib; ModuleNotFoundError if neither is installed. Nothing is downloaded.
    """
    return {name: read_image(path) for name, path in sorted(_sample_paths().items())}


def sample_photo(name: str) -> Pixels:
    """One of `sample_photos`, (H, W, 3) uint8; ValueError for an unknown name."""
    paths = _sample_paths()
    if name not in paths:
        raise ValueError(f"no sample photograph {name!r}; expected one of {', '.join(paths)}")
    return read_image(paths[name])


def _sample_paths() -> dict[str, Path]:
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
