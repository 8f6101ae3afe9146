"""Fetch published weights: into a folder of their own, compared as a whole, then put in place.

Where they go is either nothing, the old file, or the new one. Which weights there are, and what
they are called here, says :mod:`.names`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

import torch
from filelock import FileLock

from .checkpoints import read_checkpoint
from .files import checksum


@dataclass(frozen=True)
class Entry:
    """What is known of published weights. Nobody's checksum is invented.

    Attributes:
        kind: "generator" (for ``Inpainter``), "features" (of the perceptual loss), "metric".
        licence, data, known_from: what is said of the terms, of what trained it, of checksums.
        file: its name in the cache folder; ``others`` are further names of the same network.
        url, mirror: addresses of the file, or of a zip archive that holds it as ``member``.
        package: Python package that carries it; ``file`` is then a path in there.
        known: SHA-256 and bytes of what is right; ``archive``: of the archive.
    """

    kind: Literal["generator", "features", "metric"]
    what: str
    file: str
    url: str
    size: str
    licence: str
    data: str
    known: Mapping[str, int] = field(default_factory=dict)
    known_from: str = "nobody publishes a checksum; fetch tells that of what it brought"
    archive: Mapping[str, int] = field(default_factory=dict)
    member: str = ""
    mirror: str = ""
    others: tuple[str, ...] = ()
    package: str = ""
    parameters: int | None = None


def fetch(entry: Entry, path: Path, url: str | None = None) -> None:
    """Bring published weights to ``path``, unless another process does so meanwhile.

    Args:
        url: another address than the entry's, of the archive or of the file itself.

    Raises:
        OSError: network, disk, or not the file that it should be; what stood there is left.
    """
    url, work = url or entry.url, path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.is_file() and (not entry.known or checksum(path) in entry.known):
                return
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
            work.mkdir()
            try:
                came = work / path.name
                torch.hub.download_url_to_file(url, str(came), progress=sys.stderr.isatty())
                if checksum(came) in entry.archive:
                    with ZipFile(came) as archive:
                        came = Path(archive.extract(entry.member, work))
                _check(came, {**entry.archive, **entry.known})
                os.replace(came, path)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except (OSError, ValueError, HTTPException) as error:
        why = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        other = f", such as {entry.mirror}" if entry.mirror else ""
        raise OSError(
            f"{path.name} not fetched from {url}: {why}. Try again; take another address with "
            f"--url{other}; behind a proxy set HTTPS_PROXY; for another folder set LAMA_REF_CACHE; "
            f"or load it with a browser and put it at {path}"
        ) from None


def _check(path: Path, known: Mapping[str, int]) -> None:
    """ValueError unless a file is one of those known or, where none is, holds weights."""
    if not known:
        read_checkpoint(path)  # and no page that asks to log in
    elif (digits := checksum(path)) not in known:
        expected = " or ".join(f"{sha} ({n:,} bytes)" for sha, n in known.items())
        raise ValueError(
            f"it was cut short, or is another file: its SHA-256 is {digits} "
            f"({path.stat().st_size:,} bytes), expected {expected}"
        )
