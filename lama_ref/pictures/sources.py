"""Where training pictures come from: scenes, folders of photographs, and mixtures of them.

``open_sources(["scenes:0.3", "photos/:0.7"])`` mixes; ``mixture.sample(size, rng)`` draws. All
that is random about a sample comes from ``rng``, so that (seed, step, index) determines it,
whichever process draws it and whatever was drawn before.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from . import augment, photographs, scenes

CACHE_BYTES = 2**30
"""Memory for decoded photographs, shared by the sources and by the workers of a DataLoader."""
GIVE_UP = 50  # unreadable files in a row
_VIEW = (0.4, 1.0)

Names = tuple[str, ...]
Photo = NDArray[np.uint8] | str
"""A photograph (H, W, 3), or what is wrong with its file."""
Read = Callable[[Path], Photo]


@dataclass
class Scenes:
    """Procedural scenes, of which 0.4 to 1 of the width is seen (log-uniform).

    A crop of a photograph shows patterns large; so do these. They have perspective of their own.
    "periodic" are those of one pattern alone: :func:`lama_ref.pictures.scenes.sample_pattern`.
    """

    kind: str
    weight: float
    augmentations: Names

    def sample(self, size: int, rng: np.random.Generator, read: Read) -> NDArray[np.float32]:
        """(3, size, size) float32 in [0, 1]."""
        draw = scenes.sample_pattern if self.kind == "periodic" else scenes.sample_scene
        scene, view = draw(rng), _VIEW[0] * (_VIEW[1] / _VIEW[0]) ** rng.random()
        return augment.recolour(scene.render(size, view)[0], rng, self.augmentations)

    def __str__(self) -> str:
        return self.kind


@dataclass
class Photos:
    """The image files of a folder, read when they are drawn.

    Raises:
        FileNotFoundError, ValueError: there is no such folder, or no image in it.
    """

    folder: str
    weight: float
    augmentations: Names
    zoom: augment.Range

    def __post_init__(self) -> None:
        # One array of bytes: a list of a million names would be copied into every worker, name by
        # name, as Python counts references to them.
        self.names = np.array([os.fsencode(name) for name in photographs.image_names(self.folder)])

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        return Path(self.folder, os.fsdecode(self.names[index]))

    def sample(self, size: int, rng: np.random.Generator, read: Read) -> NDArray[np.float32]:
        """(3, size, size) float32 in [0, 1]; ValueError after `GIVE_UP` unreadable files."""
        for _ in range(GIVE_UP):
            photo = read(self.path(int(rng.integers(len(self)))))
            if not isinstance(photo, str):
                return augment.augment(photo, size, rng, self.augmentations, self.zoom)
        raise ValueError(
            f"{GIVE_UP} files in a row are unreadable in {self.folder}, the last because: "
            f"{photo}; `lama-ref doctor data {self.folder}` lists them"
        )

    def __str__(self) -> str:
        return f"{self.folder} ({len(self)} files)"


class Mixture:
    """Sources with odds; made by :func:`open_sources`. Can be pickled, as DataLoaders need.

    Attributes:
        sources: what is mixed.
        skipped: how often an unreadable file was drawn, and another in its place.
    """

    def __init__(self, sources: Sequence[Scenes | Photos], cache_bytes: int = CACHE_BYTES) -> None:
        self.sources, self.skipped = tuple(sources), 0
        self._odds = np.cumsum([source.weight for source in sources])
        self._limit, self._bytes = cache_bytes, 0
        self._known: dict[Path, Photo] = {}

    def read(self, path: Path) -> Photo:
        """A photograph, or what is wrong with it, which is counted, and warned about once.

        Photographs stay in memory up to the limit: with files drawn at random, no rule of
        replacement would do better.
        """
        if path not in self._known:
            try:
                photo = photographs.read_image(path)
            except (ValueError, OSError) as error:
                self._known[path] = str(error)
                warnings.warn(f"skipping an unreadable file: {error}", stacklevel=4)
            else:
                worker = torch.utils.data.get_worker_info()
                share = self._limit // (worker.num_workers if worker else 1)
                if self._bytes + photo.nbytes > share:
                    return photo
                self._known[path], self._bytes = photo, self._bytes + photo.nbytes
        self.skipped += isinstance(self._known[path], str)
        return self._known[path]

    def sample(self, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """One picture, (3, size, size) float32 RGB in [0, 1].

        Which source, file, crop and augmentation: all comes from ``rng`` alone. A file that
        cannot be read is replaced by another draw.

        Raises:
            ValueError: size below 1, or `GIVE_UP` unreadable files in a row.
        """
        drawn = np.searchsorted(self._odds, rng.random() * self._odds[-1], side="right")
        return self.sources[min(drawn, len(self.sources) - 1)].sample(size, rng, self.read)

    def digest(self) -> str:
        """Hash of the shares and of the files' names: the same pictures wherever they lie."""
        kinds = []
        for source in self.sources:
            names = b"".join(source.names.tolist()) if isinstance(source, Photos) else b""
            kinds.append([type(source).__name__, source.weight, names.hex()])
        return hashlib.sha256(json.dumps(kinds).encode()).hexdigest()

    def __str__(self) -> str:
        shares = (source.weight / self._odds[-1] for source in self.sources)
        return ", ".join(f"{100 * s:.3g} % {source}" for s, source in zip(shares, self.sources))


def open_sources(
    specs: Sequence[str],
    *,
    zoom: augment.Range = (1.0, 4.0),
    augmentations: Sequence[str] = ("flip", "colour"),
    cache_bytes: int = CACHE_BYTES,
) -> Mixture:
    """Opens sources to draw training pictures from. Lists folders but reads no file yet.

    Args:
        specs: each "scenes", "periodic" or a folder, if need be with ":" and its weight relative
            to the others: "scenes:0.3", "photos/:0.7". Without it the weight is 1.
        zoom, augmentations: of photographs; see :func:`lama_ref.pictures.augment.augment`. Scenes
            have their own geometry, and of the augmentations only flip, contrast and colour.
        cache_bytes: memory for decoded photographs.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no source, a folder without an image, a weight that is not a positive number,
            an unknown augmentation, or a zoom that is no range.
    """
    specs = [specs] if isinstance(specs, str) else list(specs)
    if not specs:
        raise ValueError('no source of pictures; expected "scenes" or a folder of photographs')
    names, zoom = augment.checked(augmentations), augment.checked_zoom(zoom)
    return Mixture(
        [
            Scenes(name, weight, names)
            if name in ("scenes", "periodic")
            else Photos(name, weight, names, zoom)
            for name, weight in map(parse, specs)
        ],
        cache_bytes,
    )


def parse(spec: str) -> tuple[str, float]:
    """ "photos/:0.7" to ("photos/", 0.7), knowing that "C:\\photos" has no weight."""
    name, colon, weight = spec.rpartition(":")
    if not colon or "/" in weight or "\\" in weight or os.path.isdir(spec):
        return spec, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not name or not 0 < value < math.inf:
        raise ValueError(
            f'source is "{spec}"; expected "scenes" or a folder, if need be with ":" and its '
            f'weight, a positive number, such as "{name or "photos"}:0.5"'
        )
    return name, value
