"""What is in a folder of photographs, and is it fit for training? ``lama-ref doctor data``.

Every file is read once, whole, as training would read it: a header that looks right says nothing
about a file that ends too early.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import photographs

SHOWN = 20  # unreadable files, by name
FEW = 100  # photographs are learned by heart
_MASK = re.compile(r"(?<![a-z])masks?(?![a-z])", re.IGNORECASE)


@dataclass
class Survey:
    """What was found.

    Attributes:
        size: side of the crops that training is to take, in pixels.
        total: image files in the folder.
        errors: names of unreadable files, and what is wrong with each.
        masks: names that look like masks.
        small: number of pictures that would be enlarged for the crops.
        grey: number of pictures without colour.
    """

    folder: str
    size: int
    total: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    masks: list[str] = field(default_factory=list)
    small: int = 0
    grey: int = 0

    def to_do(self) -> list[str]:
        """What to put right before training; empty if nothing."""
        readable, found = max(1, self.total - len(self.errors)), []
        if self.errors:
            found.append(
                f"replace or remove {len(self.errors)} unreadable files; training skips them"
            )
        if self.masks:
            found.append(
                f"move {len(self.masks)} files that look like masks, such as {self.masks[0]}, "
                "elsewhere: training draws its own holes and would learn to paint these"
            )
        if self.small > 0.1 * readable:
            found.append(
                f"train on smaller crops, or leave {self.small} small pictures out: of those below "
                f"{self.size} px enlarged ones teach blur"
            )
        if self.grey > 0.1 * readable:
            found.append(f"leave some of {self.grey} grey pictures out: they teach grey fills")
        if self.total < FEW:
            found.append(
                f"add pictures: {self.total} are learned by heart; scenes can help: "
                f"--data scenes:0.5 --data {self.folder}:0.5"
            )
        return found

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.total} image files"]
        lines += [f"  unreadable  {n}: {what}" for n, what in list(self.errors.items())[:SHOWN]]
        if len(self.errors) > SHOWN:
            lines.append(f"  unreadable  and {len(self.errors) - SHOWN} more")
        lines.append(f"  too small   {self.small} below {self.size} px, to be enlarged")
        lines.append(f"  grey        {self.grey}")
        to_do = self.to_do()
        lines.append("To do:" if to_do else "fine: nothing stands against training on it")
        return "\n".join(lines + [f"  * {text}" for text in to_do])


def survey(folder: photographs.PathLike, size: int = 256, progress: bool = True) -> Survey:
    """Reads the photographs of a folder.

    Args:
        folder: searched with :func:`lama_ref.pictures.photographs.image_names`.
        size: side of the crops that training is to take, in pixels.
        progress: show a progress bar.

    Raises:
        FileNotFoundError, ValueError: there is no such folder, no image in it, or size below 1.
    """
    from tqdm import tqdm

    if size < 1:
        raise ValueError(f"size is {size}; expected 1 or more")
    names = photographs.image_names(folder)
    found = Survey(os.fspath(folder), size, len(names))
    found.masks = [name for name in names if _MASK.search(name)]
    for name in tqdm(names, unit="file", disable=not progress):
        try:
            picture = photographs.read_image(Path(folder, name))
        except (OSError, ValueError) as error:
            found.errors[name] = str(error.__cause__ or error)
            continue
        found.small += min(picture.shape[:2]) < size
        found.grey += bool((picture == picture[..., :1]).all())
    return found
