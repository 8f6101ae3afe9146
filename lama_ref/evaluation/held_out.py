"""What models are compared on: held-out pictures, cut to squares, with fixed masks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import masks
from ..pictures import photographs, scenes

SHARE = (0.1, 0.5)  # of a picture that may be hole


def scene(kind: str, rng: np.random.Generator) -> scenes.Scene:
    """A held-out scene of a kind.

    "scenes": as trained on. "periodic": one pattern all over, without light, grain or jitter, so
    that what is known of it determines what is hidden. "perspective:S": the same pattern on a
    plane that is tilted by S in a random direction: the period changes by the factor
    (1 + S / 2) / (1 - S / 2) from one side of the picture to the other.

    Raises:
        ValueError: no such kind.
    """
    if kind == "scenes":
        return scenes.sample_scene(rng)
    if kind != "periodic" and not re.fullmatch(r"perspective:[01](\.\d*)?", kind):
        raise ValueError(
            f"scenes are scenes, periodic or perspective:S, S from 0 to 2: not {kind!r}"
        )
    one = scenes.sample_pattern(rng)
    turn, s = rng.uniform(0, 2 * np.pi), float(kind.partition(":")[2] or 0)
    tilt = (float(s * np.cos(turn)), float(s * np.sin(turn)))
    return replace(one, ground=replace(one.ground, tilt=tilt))


class Pictures:
    """n pictures (3, size, size) in [0, 1]: photographs' centres, or procedural scenes.

    They are made when they are asked for, so that a set may be larger than memory.
    Of a photograph the largest centred square is taken and resized to ``size``, bicubic.

    Args:
        data: a folder, of which the first n photographs are taken; "samples", those of
            :func:`lama_ref.pictures.photographs.sample_photos`; or a kind of :func:`scene`.
        seed: of the scenes; training uses none from a million on.

    Raises:
        FileNotFoundError, ValueError: no folder, or none of pictures.
    """

    def __init__(self, data: str | Path, size: int, n: int, seed: int = 1_000_000) -> None:
        self.data, self.size, self.seed, self.paths = str(data), size, seed, None
        if is_photographs(data):
            samples = sorted(photographs.sample_paths().values())
            self.paths = (samples if data == "samples" else photographs.list_images(data))[:n]
        else:
            scene(self.data, np.random.default_rng(0))  # complains at once
        self.n = n if self.paths is None else len(self.paths)

    def chunks(self, length: int) -> Iterator[NDArray[np.float32]]:
        """The pictures, ``length`` at a time: (length or less, 3, size, size)."""
        images = self._make()
        while chunk := list(islice(images, length)):
            yield np.stack(chunk)

    def _make(self) -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(self.seed)
        for i in range(self.n):
            if self.paths is None:
                yield scene(self.data, rng).render(self.size)[0]
            else:
                yield photographs.square(photographs.read_image(self.paths[i]), self.size)

    def sha256(self) -> str:
        """Hash of the pictures as 8-bit pixels, in order."""
        digest = hashlib.sha256(f"{self.n} {self.size}".encode())
        for chunk in self.chunks(1):
            digest.update((chunk * 255).round().astype(np.uint8).tobytes())
        return digest.hexdigest()


def is_photographs(data: str | Path) -> bool:
    """Whether a name of data stands for photographs, rather than for scenes."""
    scenes_of = ("scenes", "periodic", "perspective")
    return isinstance(data, Path) or data.partition(":")[0] not in scenes_of


def pictures(data: str | Path, size: int, n: int, seed: int) -> NDArray[np.float32]:
    """All :class:`Pictures` at once: (n, 3, size, size)."""
    return np.concatenate(list(Pictures(data, size, n, seed).chunks(n)))


def holes(preset: str, size: int, n: int, seed: int) -> NDArray[np.bool_]:
    """n masks (n, size, size) that hide 10 to 50 %, True in the hole."""
    rng = np.random.default_rng((seed, 1))
    return masks.sample(preset, (size, size), n, rng, share=SHARE)


def masks_sha256(masks: NDArray[np.bool_]) -> str:
    """Hash of masks (n, H, W), in order."""
    return hashlib.sha256(str(masks.shape).encode() + np.packbits(masks).tobytes()).hexdigest()
