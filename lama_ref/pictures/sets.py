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
import os
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
from ..runtime import __version__, at_least
from ..weights.files import write_json
from . import formats, objects, photographs, scenes

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class MaskSet:
    """What determines an evaluation set, up to its pictures.

    Attributes:
        preset: of :data:`lama_ref.masks.PRESETS`; "segmentation" is for scenes, whose objects are
            known.
        size: side of the square pictures, in pixels.
        images: folder of photographs; without it procedural scenes are used.
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
    scenes: int = 100
    variants: int = 5
    max_share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset not in masks.PRESETS:
            raise ValueError(
                f"no mask preset {self.preset!r}: choose from {', '.join(masks.PRESETS)}"
            )
        at_least(self, size=16, scenes=1, variants=1, seed=0)
        if not 0 < self.limit <= 1:
            raise ValueError(f"max_share must lie in (0, 1], not {self.max_share}")
        if self.preset == "segmentation" and self.images:
            raise ValueError(
                "segmentation masks are cut from the objects of scenes, which photographs do not "
                "name: leave out images, or choose another preset"
            )

    @property
    def limit(self) -> float:
        """What ``max_share`` means."""
        usual = 1.0 if self.preset == "super-resolution" else 0.5
        return usual if self.max_share is None else self.max_share


def make(settings: MaskSet, folder: str | Path, *, progress: bool = True) -> dict:
    """Write a set: pictures ``NAME_crop000.png``, masks ``NAME_crop000_mask000.png``, a manifest.

    Masks are 8-bit, 255 in the hole: the layout that the published prediction script reads.
    A picture that cannot be read, or has no fitting mask, is left out and named in the manifest.

    Args:
        folder: to write, new or empty.

    Returns:
        The manifest: settings, for each picture its crop, hole share and mask hash, and "sha256",
        the hash of the set, which an evaluation should quote.

    Raises:
        FileNotFoundError: there is no folder of photographs.
        ValueError: the folder to write is not empty, two photographs have one name, or none has a
            fitting mask.
    """
    from tqdm import tqdm

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose a new folder")
    if settings.images is None:
        names = [f"scene{i:05}" for i in range(settings.scenes)]
    else:
        names = [Path(name).as_posix() for name in photographs.image_names(settings.images)]
    taken: dict[Path, str] = {}
    for name in names:
        if (other := taken.setdefault(Path(name).with_suffix(""), name)) != name:
            raise ValueError(f"{other} and {name} would become one name: rename one")

    entries, skipped = {}, {}
    for name in tqdm(names, disable=not progress, unit="picture"):
        try:
            entries[name] = _make_one(settings, name, folder)
        except ValueError as error:  # one machine's paths help no other
            skipped[name] = str(error).replace(f"{settings.images}{os.sep}", "")
    if skipped:
        first = next(iter(skipped.items()))
        warnings.warn(f"left out {len(skipped)} of {len(names)} pictures: {first}", stacklevel=2)
    if not entries:
        raise ValueError(
            f"no picture of {len(names)} has a fitting mask, see the warning: raise max_share, or "
            "take other pictures"
        )
    where = settings.images and Path(settings.images).name
    described = asdict(settings) | {"images": where, "max_share": settings.limit}
    manifest = {"lama_ref": __version__, "settings": described}
    manifest |= {"sha256": _hash(entries), "pictures": entries, "skipped": skipped}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _make_one(settings: MaskSet, name: str, folder: Path) -> dict:
    """Make and write one picture and its mask; ValueError if there is none to be had."""
    rng, side = np.random.default_rng((settings.seed, zlib.crc32(name.encode()))), settings.size
    drawn: list[np.ndarray] = []
    if settings.images is not None:
        picture = Image.fromarray(photographs.read_image(Path(settings.images, name)))
        factor = side / min(picture.size)
        wanted = [max(side, round(length * factor)) for length in picture.size]
        picture = picture.resize((wanted[0], wanted[1]), Image.Resampling.BICUBIC)
    else:
        image, labels = scenes.sample_scene(rng).render(side)
        if settings.preset == "segmentation":  # needs a scene with a fitting object
            while not (drawn := objects.object_masks(labels, scenes.THINGS, rng)):
                image, labels = scenes.sample_scene(rng).render(side)
        picture = photographs.to_image(torch.from_numpy(image))
    # one by one: the masks of one call would be spread evenly, not independent
    for _ in range(0 if drawn else settings.variants):
        drawn.append(masks.sample(settings.preset, (picture.height, picture.width), 1, rng)[0])
    kept = []
    for mask in drawn:
        if mask.any():
            top, left = square_crop(mask, rng)
            square = mask[top : top + side, left : left + side]
            if 0 < square.mean() <= settings.limit:
                kept.append((square, top, left))
    if not kept:
        raise ValueError(f"none of {len(drawn)} masks hides up to {settings.limit:.0%}")
    square, top, left = kept[rng.integers(len(kept))]
    picture = picture.crop((left, top, left + side, top + side))
    stem = f"{Path(name).with_suffix('').as_posix()}_crop000"
    entry = {"picture": f"{stem}.png", "mask": f"{stem}_mask000.png"}
    formats.save(picture, folder / entry["picture"])
    formats.save(Image.fromarray(np.uint8(square * 255)), folder / entry["mask"])
    share = round(float(square.mean()), 5)
    entry |= {"crop": [int(top), int(left)], "share": share, "sha256": _sha256(square)}
    return entry | {"picture_sha256": _sha256(np.asarray(picture))}


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
        ValueError: the manifest is damaged, or a mask or picture is not the one of the manifest.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no {MANIFEST} in {folder}: it holds no finished set") from None
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} is damaged ({error}): make the set again") from None
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
