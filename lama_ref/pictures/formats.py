"""Picture files: opened with a clear message, written whole or not at all."""

from __future__ import annotations

from pathlib import Path


def check_name(target: Path) -> None:
    """ValueError unless a picture can be written under that name."""
    from PIL import Image

    if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:
        raise ValueError(
            f"cannot write {target}: its name must end in .png or another picture type"
        )


def save(picture, target: Path, **options) -> None:
    """Write a PIL image with its colour profile, making the folder where it is missing.

    Args:
        options: of its format, such as ``quality``.
    """
    from ..weights.files import atomic

    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target, suffix=target.suffix) as temporary:
        picture.save(temporary, icc_profile=picture.info.get("icc_profile"), **options)


def opened(path: Path):
    """A file as a PIL image, read to its end; ValueError where it is no picture, or damaged."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path)
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
            raise
        raise ValueError(f"cannot read {path} as a picture ({error})") from None
    return image
