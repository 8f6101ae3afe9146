"""What is in a folder of photographs, and is it fit for training? ``lama-ref doctor data``.

Every file is read once, whole, as training would read it: a header that looks right says nothing
about a file that ends too early.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import masks
from . import augment, photographs, sources

SHOWN = 20  # unreadable files, by name
FEW = 100  # photographs are learned by heart
_MASK = re.compile(r"(?<![a-z])masks?(?![a-z])", re.IGNORECASE)


@dataclass
class Survey:
    """What was found; sizes are those of photographs the right way up.

    Attributes:
        total: image files in the folder, of which ``checked`` were read.
        kinds: numbers of files by type and mode, such as "JPEG RGB".
        others: suffixes of files that training leaves out.
        errors: names of unreadable files, and what is wrong with each.
        copies: names of files whose bytes equal those of an earlier one, and its name.
        masks: names that look like masks.
        grey: number of pictures without colour.
        sides: (short, long) side of each readable picture.
        decoded_bytes: of the readable pictures, in memory.
        read_seconds: time of one core to read them.
        cut_seconds: time of one core to cut a crop from a photograph in memory.
        mask_seconds: time of one core to draw a mask.
        hidden: shares of the picture that some masks hide.
    """

    folder: str
    size: int
    total: int = 0
    checked: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    masks: list[str] = field(default_factory=list)
    grey: int = 0
    sides: list[tuple[int, int]] = field(default_factory=list)
    decoded_bytes: int = 0
    read_seconds: float = 0.0
    cut_seconds: float = 0.0
    mask_seconds: float = 0.0
    hidden: list[float] = field(default_factory=list)

    @property
    def smaller(self) -> int:
        """Number of pictures that would be enlarged for the crops."""
        return sum(short < self.size for short, _ in self.sides)

    @property
    def memory(self) -> float:
        """Estimated bytes of all photographs of the folder, decoded."""
        return self.decoded_bytes * self.total / max(1, self.checked)

    def to_do(self) -> list[str]:
        """What to put right before training; empty if nothing."""
        n, found = max(1, len(self.sides)), []
        small, grey, copies = self.smaller, self.grey, len(self.copies)
        if self.errors:
            found.append(
                f"replace or remove {len(self.errors)} unreadable files; training skips them"
            )
        if self.masks:
            found.append(
                f"move {len(self.masks)} files that look like masks, such as {self.masks[0]}, "
                "elsewhere: training draws its own holes and would learn to paint these"
            )
        if small > 0.1 * n:
            found.append(
                f"train on smaller crops, or leave {small} small pictures out: of those below "
                f"{self.size} px enlarged ones teach blur"
            )
        if grey > 0.1 * n:
            found.append(f"leave some of {grey} grey pictures out: they teach grey fills")
        if copies > 0.01 * n:
            name, first = next(iter(self.copies.items()))
            found.append(f"remove {copies} copies, such as {name} of {first}: they count double")
        if self.total < FEW:
            found.append(
                f"add pictures: {self.total} are learned by heart; scenes can help: "
                f"--data scenes:0.5 --data {self.folder}:0.5"
            )
        if self.memory > sources.CACHE_BYTES and self.read_seconds > 0.02 * n:
            found.append(
                f"train on copies with a short side of about {4 * self.size} px: these take "
                f"{1000 * self.read_seconds / n:.0f} ms each to read, and memory cannot hold all"
            )
        return found

    def __str__(self) -> str:
        n, lines = len(self.sides), [f"{self.folder}: {self.total} image files"]
        if self.checked < self.total:
            lines[0] += f", of which {self.checked} were drawn at random and read"

        def line(name: str, text: str) -> None:
            lines.append(f"  {name:12}{text}")

        line("types", _counts(self.kinds) or "none readable")
        if self.others:
            line("left out", _counts(self.others) + " (no images by their names)")
        for name, what in list(self.errors.items())[:SHOWN]:
            line("unreadable", f"{name}: {what}")
        if len(self.errors) > SHOWN:
            line("unreadable", f"and {len(self.errors) - SHOWN} more")
        if n:
            short, long = np.array(self.sides).T
            middle = np.percentile(short, (0, 5, 50, 95, 100)).astype(int)
            line(
                "short side",
                "{} px at least, {} to {} px in nine of ten, median {}, {} at most".format(
                    *middle[[0, 1, 3, 2, 4]]
                ),
            )
            line(
                "long side", f"{long.max()} px at most, {(long / short).max():.1f} times the short"
            )
            line("too small", f"{self.smaller} below {self.size} px, to be enlarged")
            line("colour", f"{self.grey} grey, {n - self.grey} coloured")
            line("copies", f"{len(self.copies)} files whose bytes equal another's")
            cut, read = 1000 * self.cut_seconds, 1000 * self.read_seconds / n
            line(
                "speed",
                f"a crop of {self.size} px takes one core {cut:.1f} ms, its mask "
                f"{1000 * self.mask_seconds:.1f} ms, reading a file {read:.1f} ms: "
                f"{1000 / (cut + read):.0f} crops/s, {1000 / cut:.0f} from memory",
            )
            text, fits = f"{_gigabytes(self.memory)} decoded", sources.CACHE_BYTES / self.memory
            kept = f", of which {fits:.2g} are kept and the others read anew each time"
            line("memory", text + (": all are kept" if fits >= 1 else kept))
        if self.hidden:
            least, most, mean = min(self.hidden), max(self.hidden), np.mean(self.hidden)
            line("masks", f"hide {mean:.0%} of a crop on average, {least:.0%} to {most:.0%}")
        to_do = self.to_do()
        lines.append("To do:" if to_do else "fine: nothing stands against training on it")
        return "\n".join(lines + [f"  * {text}" for text in to_do])


def survey(
    folder: photographs.PathLike,
    size: int = 256,
    preset: str = "train-wide",
    n: int | None = None,
    progress: bool = True,
) -> Survey:
    """Reads the photographs of a folder.

    Args:
        folder: searched with :func:`lama_ref.pictures.photographs.image_names`.
        size: side of the crops that training is to take, in pixels.
        preset: of the masks that it is to draw.
        n: read only this many files, drawn at random; None reads all.
        progress: show a progress bar.

    Raises:
        FileNotFoundError, ValueError: there is no such folder, no image in it, no such preset,
            or size or n are below 1.
    """
    from tqdm import tqdm

    for name, value in (("size", size), ("n", 1 if n is None else n)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected 1 or more")
    rng, found = np.random.default_rng(0), Survey(os.fspath(folder), size)
    _time_masks(found, preset, rng)
    names = list(photographs.image_names(folder, found.others))
    found.total, found.masks = len(names), [name for name in names if _MASK.search(name)]
    if n is not None and n < len(names):
        names = [names[i] for i in sorted(rng.choice(len(names), n, replace=False))]
    found.checked, first, some = len(names), {}, []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(names), unit="file", disable=not progress) as bar,
    ):
        for start in range(0, len(names), 64):  # not a million jobs at once
            some = names[start : start + 64]
            for name, result in zip(some, pool.map(_examine, [Path(folder, x) for x in some])):
                _add(found, name, result, first)
                bar.update()
    if found.sides:
        _time_crops(found, [name for name in names if name not in found.errors][:8], rng)
    return found


def _examine(path: Path) -> tuple | str:
    """(kind, shape of the array, grey?, hash of the file, seconds to read it); or an error."""
    from PIL import Image

    begun = time.thread_time()
    try:
        array = photographs.read_image(path)
        seconds = time.thread_time() - begun
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        with Image.open(path) as image:
            kind = f"{image.format} {image.mode}"
    except (OSError, ValueError) as error:
        return str(error.__cause__ or error)
    red, green, blue = np.moveaxis(array, -1, 0)
    grey = np.array_equal(red, green) and np.array_equal(green, blue)
    return kind, array.shape, grey, digest, seconds


def _add(found: Survey, name: str, result: tuple | str, first: dict[bytes, str]) -> None:
    if isinstance(result, str):
        found.errors[name] = result
        return
    kind, (height, width, _), grey, digest, seconds = result
    found.kinds[kind] += 1
    found.sides.append((min(height, width), max(height, width)))
    found.grey += grey
    found.decoded_bytes += 3 * height * width
    found.read_seconds += seconds
    if first.setdefault(digest, name) != name:
        found.copies[name] = first[digest]


def _time_masks(found: Survey, preset: str, rng: np.random.Generator, n: int = 50) -> None:
    begun = time.process_time()
    drawn = [masks.sample(preset, (found.size, found.size), 1, rng)[0] for _ in range(n)]
    found.mask_seconds = (time.process_time() - begun) / n
    found.hidden = [float(mask.mean()) for mask in drawn]


def _time_crops(found: Survey, names: list[str], rng: np.random.Generator, n: int = 40) -> None:
    photos = [photographs.read_image(Path(found.folder, name)) for name in names]
    begun = time.process_time()
    for i in range(n):
        augment.augment(photos[i % len(photos)], found.size, rng, ("flip", "colour"))
    found.cut_seconds = (time.process_time() - begun) / n


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{n} {name or 'without suffix'}" for name, n in counter.most_common())


def _gigabytes(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
