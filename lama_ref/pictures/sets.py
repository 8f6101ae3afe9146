"""Evaluation sets: pictures with fixed masks, as files that can be shared and checked.

Procedure of the published sets: a picture is resized to a given short side; some masks are drawn
on the whole of it; from each a square around the hole is cut; squares that are more than half
hole are dropped; one of the rest is kept. Two sets are the same set if their hashes agree.

Departures: masks that are empty are dropped too (the published test for them never fires), and
random numbers depend on the seed and the picture's name alone, so that one picture more or less
changes no other.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import masks
from ..runtime import __version__
from ..weights.files import atomic, write_json
from . import objects, photographs, scenes

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class MaskSet:
    """What determines an evaluation set, up to its pictures.

    Attributes:
        preset: of :data:`lama_ref.masks.PRESETS`. "segmentation" takes shapes from the pictures'
            label maps.
        size: side of the square pictures, in pixels.
        images: folder of photographs; without it procedural scenes are used.
        labels: for "segmentation" of photographs, a folder of instance maps: grey or palette PNG
            files of the photographs' names and sizes, each value above 0 one object.
        scenes: number of scenes, where there is no folder of photographs.
        variants: masks drawn for each picture, of which one is kept ("segmentation": 3 of each
            object).
        max_share: largest share of the square that may be hole; None for the published 0.5 (1 for
            "super-resolution", whose masks hide more than half).
        seed: of everything random.
    """

    preset: str = "wide"
    size: int = 256
    images: Path | None = None
    labels: Path | None = None
    scenes: int = 100
    variants: int = 5
    max_share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset not in masks.PRESETS:
            raise ValueError(
                f"no mask preset {self.preset!r}: choose from {', '.join(masks.PRESETS)}"
            )
        for name, least in {"size": 16, "scenes": 1, "variants": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("images", "labels"):  # strings are fine from Python
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.max_share is None:
            limit = 1.0 if self.preset == "super-resolution" else 0.5
            object.__setattr__(self, "max_share", limit)
        if not 0 < self.share_limit <= 1:
            raise ValueError(f"max_share must lie in (0, 1], not {self.max_share}")
        if self.preset == "segmentation" and self.images and not self.labels:
            raise ValueError(
                "segmentation masks of photographs need their label maps: give a folder of "
                "instance maps as labels, or leave out images to use procedural scenes"
            )
        if self.labels and not (self.preset == "segmentation" and self.images):
            raise ValueError("labels are for the preset segmentation, with a folder of images")

    @property
    def share_limit(self) -> float:
        return 0.5 if self.max_share is None else self.max_share


def make(settings: MaskSet, folder: str | Path, *, progress: bool = True) -> dict:
    """Write a set: pictures ``NAME_crop000.png``, masks ``NAME_crop000_mask000.png``, a manifest.

    Masks are 8-bit, 255 in the hole: the layout that the published prediction script reads.
    A picture that cannot be read, or has no fitting mask, is left out and named in the manifest.

    Returns:
        The manifest: settings, for each picture its crop, hole share and mask hash, and "sha256",
        the hash of the set, which an evaluation should quote.

    Raises:
        ValueError: the folder holds something else than (a part of) this set, or no picture of it
            has a fitting mask.
    """
    from tqdm import tqdm

    folder = Path(folder)
    described = asdict(settings) | {  # paths of one machine mean nothing on another
        "images": settings.images and settings.images.name,
        "labels": settings.labels and settings.labels.name,
    }
    if settings.labels and not settings.labels.is_dir():
        raise FileNotFoundError(f"no folder of label maps {settings.labels}")
    if settings.images:
        if folder.resolve().is_relative_to(settings.images.resolve()):
            raise ValueError(
                f"{folder} lies among the pictures of {settings.images}: choose another"
            )
        names = [p.relative_to(settings.images) for p in photographs.list_images(settings.images)]
    else:
        names = [Path(f"scene{i:05}") for i in range(settings.scenes)]
    taken: dict[Path, Path] = {}
    for name in names:
        if (other := taken.setdefault(name.with_suffix(""), name)) != name:
            raise ValueError(f"{other} and {name} would become one name: rename one")
    of = hashlib.sha256("\n".join(name.as_posix() for name in names).encode()).hexdigest()
    begun = {"lama_ref": __version__, "settings": described, "names": of}
    if folder.exists() and any(folder.iterdir()):
        known = _manifest(folder) if (folder / MANIFEST).is_file() else {}
        if any(known.get(key) != value for key, value in begun.items()):
            raise ValueError(f"{folder} is not empty and holds another set: choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, begun)  # an interrupted run can be repeated

    entries, skipped = {}, {}
    for name in tqdm(names, disable=not progress, unit="picture"):
        try:
            entry = _make_one(settings, name, folder)
        except ValueError as error:
            text = str(error)
            for path in (settings.images, settings.labels):  # one machine's paths help no other
                text = text.replace(f"{path}/", "") if path else text
            skipped[name.as_posix()] = text
        else:
            entries[name.as_posix()] = entry
    if skipped:
        first = next(iter(skipped.items()))
        warnings.warn(f"left out {len(skipped)} of {len(names)} pictures: {first}", stacklevel=2)
    if not entries:
        raise ValueError(f"no picture of {len(names)} has a fitting mask: see the warning")
    manifest = begun | {"sha256": _hash(entries), "pictures": entries, "skipped": skipped}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _make_one(settings: MaskSet, name: Path, folder: Path) -> dict:
    """Make and write one picture and its mask; ValueError if there is none to be had."""
    rng = np.random.default_rng((settings.seed, zlib.crc32(name.as_posix().encode())))
    if settings.images:
        picture = Image.fromarray(photographs.read_image(settings.images / name))
        original, factor = picture.size, settings.size / min(picture.size)
        width, height = (max(settings.size, round(side * factor)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        name = name.with_suffix("")
        if settings.labels:
            labels = _label_map(settings.labels / f"{name}.png", original, picture.size)
            drawn = objects.object_masks(labels, None, rng)
        else:
            drawn = _draw(settings, (height, width), rng)
    else:
        image, labels = scenes.sample_scene(rng).render(settings.size)
        if settings.preset == "segmentation":  # needs a scene with a fitting object
            while not (drawn := objects.object_masks(labels, scenes.THINGS, rng)):
                image, labels = scenes.sample_scene(rng).render(settings.size)
        else:
            drawn = _draw(settings, labels.shape, rng)
        picture = photographs.to_image(torch.from_numpy(image))
    kept = []
    for mask in drawn:
        if mask.any():
            top, left = square_crop(mask, rng)
            square = mask[top : top + settings.size, left : left + settings.size]
            if 0 < square.mean() <= settings.share_limit:
                kept.append((square, top, left))
    if not kept:
        raise ValueError(f"none of {len(drawn)} masks hides up to {settings.share_limit:.0%}")
    square, top, left = kept[rng.integers(len(kept))]
    picture = picture.crop((left, top, left + settings.size, top + settings.size))
    entry = {"picture": f"{name.as_posix()}_crop000.png"}
    entry["mask"] = f"{name.as_posix()}_crop000_mask000.png"
    for key, image in (("picture", picture), ("mask", Image.fromarray(np.uint8(square * 255)))):
        path = folder / entry[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, ".png") as temporary:
            image.save(temporary)
    share = round(float(square.mean()), 5)
    entry |= {"crop": [int(top), int(left)], "share": share, "sha256": _sha256(square)}
    return entry | {"picture_sha256": _sha256(np.asarray(picture))}


def _draw(settings: MaskSet, size: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """Random masks, one by one: those of one call would be spread evenly, not independent."""
    return [masks.sample(settings.preset, size, 1, rng)[0] for _ in range(settings.variants)]


def _label_map(path: Path, original: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The instance map of a photograph, resized from its original (width, height) to size."""
    try:
        with Image.open(path) as labels:
            if labels.size != original:
                raise ValueError(f"{path} is {labels.size}, its photograph {original} pixels")
            return np.array(labels.resize(size, Image.Resampling.NEAREST))
    except FileNotFoundError:
        raise ValueError(f"no label map {path}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read label map {path} ({error})") from None


def square_crop(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """(top, left) of a square of the picture's short side, somewhere over the hole's far end."""
    height, width = mask.shape
    if height == width:
        return 0, 0
    start = int(rng.integers(*crop_range(mask)))
    return (0, start) if height < width else (start, 0)


def crop_range(mask: np.ndarray) -> tuple[int, int]:
    """First start of the square along the longer side, and one after the last; as published."""
    height, width = mask.shape
    along = np.flatnonzero(mask.any(0 if height < width else 1))
    side, length = min(height, width), max(height, width)
    last = int(along[-1])
    low = max(0, min(length - side - 1, last - side))
    return low, max(low + 1, min(length - side, last))


def load(folder: str | Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Read a set: yields (name, image (3, S, S) in [0, 1], mask (1, S, S) float32, 1 = hole).

    Raises:
        FileNotFoundError: no manifest in the folder.
        ValueError: the set was not finished, or a mask or picture is not the one of the manifest.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    if "pictures" not in manifest:
        raise ValueError(f"the set in {folder} was not finished: make it again")
    if _hash(manifest["pictures"]) != manifest["sha256"]:
        raise ValueError(f"the manifest of {folder} was changed: its hash is wrong")
    for name, entry in manifest["pictures"].items():
        mask = photographs.read_image(folder / entry["mask"])[..., 0] > 127
        if _sha256(mask) != entry["sha256"]:
            raise ValueError(f"{folder / entry['mask']} is not the mask of the manifest")
        picture = photographs.read_image(folder / entry["picture"])
        if _sha256(picture) != entry["picture_sha256"]:
            raise ValueError(f"{folder / entry['picture']} is not the picture of the manifest")
        yield name, photographs.to_tensor(picture), torch.from_numpy(mask)[None].float()


def _manifest(folder: Path) -> dict:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no {MANIFEST} in {folder}: it holds no evaluation set") from None
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} is damaged ({error})") from None


def _sha256(array: np.ndarray) -> str:
    """SHA-256 of an array's shape and values."""
    return hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()


def _hash(entries: dict) -> str:
    """SHA-256 over the names, masks and pictures of a set."""
    lines = [
        f"{name} {entry['sha256']} {entry['picture_sha256']}"
        for name, entry in sorted(entries.items())
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
