"""Published weights on this machine: fetch them and verify them.

What is published is in :mod:`.published`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from . import names
from .download import DownloadError, download, extract, locked
from .files import checksum, write_json
from .published import ENTRIES


def fetch(name: str, url: str | None = None) -> Path:
    """Load published weights into the cache folder, unless they are there and undamaged.

    Args:
        name: of :data:`.published.ENTRIES`.
        url: another address of what is loaded, or of the file in the archive itself.

    Returns:
        Where they are.

    Raises:
        ValueError: unknown name.
        DownloadError: says what went wrong and what to do; a file that was there is left.
    """
    entry = names.entry(name)
    path = names.cache_folder() / entry.file
    there = names.find(name)
    if there and check(there)[0] is not False:
        return there
    archive = path.with_suffix(".zip") if entry.archive else path
    try:
        with locked(path):
            if path.is_file() and check(path)[0] is not False:
                return path  # another process brought it meanwhile
            known = _known(path)
            if not (entry.archive and archive.is_file()):  # somebody may have put it there
                download(url or entry.url, archive, {**known, **(entry.archive or {})})
            if entry.archive and checksum(archive) in known:
                os.replace(archive, path)  # the address gave the file itself
            elif entry.archive:
                extract(archive, entry.member, path, known)
                archive.unlink()
            if not known:
                _plausible(path, url or entry.url)
                about = {"url": url or entry.url, "sha256": checksum(path)}
                about |= {"bytes": path.stat().st_size, "fetched": time.strftime("%Y-%m-%d")}
                write_json(_record(path), about)
    except DownloadError as error:
        hints = [f"{name} not fetched: {error}"]
        if entry.mirror and not url:
            hints.append(f"The same is at --url {entry.mirror}")
        if _record(path).exists() and not entry.known:
            hints.append(f"Expected is what the first download gave; forget it: {_record(path)}")
        hints.append(f"Or load it with a browser and put it at {path}")
        raise DownloadError(". ".join(hints)) from None
    return path


def _plausible(path: Path, url: str) -> None:
    """DownloadError, and the file is gone, if it holds no weights: a page that asks to log in."""
    from . import official

    try:
        official.read_checkpoint(path)
    except ValueError as error:
        path.unlink()
        raise DownloadError(f"what {url} gave holds no weights ({error})") from None


def check(path: Path) -> tuple[bool | None, str]:
    """Whether a file of published weights is what it should be (None: nobody knows), and why."""
    known, digits = _known(path), checksum(path)
    if not known:
        return None, f"{path}: no checksum is published; its SHA-256 is {digits}"
    if digits in known:
        return True, f"{path}: SHA-256 {digits[:12]}... as expected"
    return False, f"{path}: SHA-256 is {digits}, expected {' or '.join(known)}: fetch it again"


def _known(path: Path) -> dict[str, int]:
    """SHA-256 and size of what is right under this name: published, or the first download's."""
    entries = sorted(ENTRIES.values(), key=lambda e: e.file != path.name)
    entry = next(e for e in entries if path.name in (e.file, *e.others))
    if entry.known:
        return dict(entry.known)
    try:
        about = json.loads(_record(path).read_text(encoding="utf-8"))
        return {about["sha256"]: about["bytes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _record(path: Path) -> Path:
    """Where the checksum of the first download of a file is kept."""
    return names.cache_folder() / f"{path.name}.json"
