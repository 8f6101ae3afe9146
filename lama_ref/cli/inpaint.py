"""The commands ``lama-ref inpaint`` and ``lama-ref demo``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..highres.strategies import STRATEGIES, named
from ..pictures.formats import check_name, opened, save
from ..pictures.photographs import list_images


def inpaint(
    photo: Positional[Path],
    mask: Positional[Path],
    output: Annotated[Path, arg(aliases=["-o"])],
    weights: str = "mini-fourier",
    device: str = "auto",
    dilate: float = 0,
    strategy: Literal[tuple(STRATEGIES)] = "whole",  # type: ignore
    context: float | None = None,
    steps: int | None = None,
) -> int:
    """Fill the holes of a photograph, or of a folder of photographs.

    Known pixels are copied as they are: choose a lossless output format such as PNG to keep them.

    Args:
        photo: Picture file or folder.
        mask: White where the picture is to be filled. A file (for all pictures of a folder), or
            a folder with a mask NAME.* or NAME_mask.* for each picture NAME.*.
        output: Picture file to write, or folder for a folder.
        weights: Shipped weights by name, or the path of a weights file.
        device: auto, cpu, cuda or mps.
        dilate: Grow the holes by this many pixels first; helps where a mask is drawn tightly.
        strategy: For large pictures: whole (one pass), crop (around each hole; small memory),
            refine (slow), auto (whole up to two million pixels, else crop; says which).
        context: For crop and auto: what is cut reaches beyond a hole by this share of its size.
        steps: For refine: passes for each size of the picture.
    """
    from tqdm import tqdm

    from ..inference import Inpainter

    given = {name: x for name, x in (("context", context), ("steps", steps)) if x is not None}
    say = {"say": tqdm.write} if strategy == "auto" else {}
    way = named(strategy, **given, **say)
    jobs = list(inpainting_jobs(photo, mask, output))
    inpainter = Inpainter(weights, device=device, strategy=way)
    failed = 0
    for source, hole, target in tqdm(jobs, unit="picture", disable=len(jobs) == 1):
        try:
            inpaint_file(inpainter, source, hole, target, dilate)
        except (OSError, ValueError, TypeError, MemoryError) as error:
            if len(jobs) == 1:
                raise
            failed += 1
            tqdm.write(f"lama-ref: {source}: {error}", file=sys.stderr)
    print(f"wrote {len(jobs) - failed} of {len(jobs)} to {output}")
    return 1 if failed else 0


def demo(
    output: Annotated[Path, arg(aliases=["-o"])] = Path("demo.png"),
    weights: str = "mini-fourier",
    size: int = 192,
) -> int:
    """Continue patterns, remove objects from photographs, and write a picture of it all.

    Args:
        output: Picture file to write.
        weights: Shipped weights by name, or the path of a weights file.
        size: Side of the pictures in pixels.
    """
    from ..course.demo import demo_picture

    check_name(output)
    picture, lines = demo_picture(weights, size)
    save(picture, output)
    print(*lines, f"wrote {output}: holes, four ways to fill them, the truth", sep="\n")
    return 0


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
        yield photo, mask, output / f"{photo.stem}.png" if output.is_dir() else output
        return
    if output.is_file():
        raise ValueError(f"{output} is a file, but {photo} a folder: give an output folder")
    same, taken = mask.resolve() == photo.resolve(), {}
    found = list_images(mask) if mask.is_dir() else []
    holes = {path.relative_to(mask).with_suffix("").as_posix(): path for path in found}
    for source in list_images(photo):
        name = source.relative_to(photo).with_suffix("").as_posix()
        if same and name.endswith("_mask"):
            continue
        hole = holes.get(f"{name}_mask") or (None if same else holes.get(name))
        if mask.is_dir() and hole is None:
            raise FileNotFoundError(
                f"no mask for {source}: expected {mask / name}_mask.png or {mask / name}.png"
            )
        target = output / f"{name}.png"
        if target in taken:
            raise ValueError(f"{taken[target]} and {source} would both become {target}: rename one")
        taken[target] = source
        yield source, hole or mask, target


def inpaint_file(inpainter, source: Path, mask: Path, target: Path, dilate: float) -> None:
    """Fill the holes of one picture file and write the result."""
    from PIL import ImageOps

    from ..inference import read_mask
    from ..masks import dilate as grow

    check_name(target)
    with opened(source) as picture, opened(mask) as hole:
        if dilate:
            hole = ImageOps.exif_transpose(hole)
            hole = grow(read_mask(hole, (hole.height, hole.width), 1), dilate)
        result = inpainter(picture, hole)
    if result.mode[0] in "IF" and target.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise ValueError(
            f"{target.suffix} cannot hold a picture of mode {result.mode}: write a .png or .tif"
        )
    if target.suffix.lower() in (".jpg", ".jpeg") and result.mode not in ("L", "RGB", "CMYK"):
        result = result.convert("RGB")
    save(result, target)
