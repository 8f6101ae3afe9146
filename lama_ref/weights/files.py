"""Files written whole or not at all, their checksums, and locks. Imports nothing of ours."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path in the same folder, renamed to ``path`` on success, removed on failure.

    The temporary name ends in ``suffix`` (writers that choose a format by name need it).

    Raises:
        OSError: a full disk, or a folder that cannot be written to; names the file.
    """
    path = Path(path)
    with _named(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        with _named(path):
            yield Path(name)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)  # mkstemp gives 0600
            os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of writing say which file it was; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        why = f"{error.strerror}: make room, or write elsewhere; what was there before still is"
        raise OSError(f"cannot write {path}: {why}") from error


def write_json(path: str | Path, value: object) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):  # checkpoints may be larger than memory
            digest.update(block)
    return digest.hexdigest()


def try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # EDEADLK is Windows' word for it; a file system without locks leaves it to the checksum
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True
