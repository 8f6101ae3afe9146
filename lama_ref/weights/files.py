"""Files written whole or not at all, and their checksums. Imports nothing of ours."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REFUSED = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EROFS)


@contextmanager
def atomic(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path in the same folder, renamed to ``path`` on success, removed on failure.

    The temporary name ends in ``suffix`` (writers that choose a format by name need it).

    Raises:
        OSError: a full disk, or a folder that cannot be written to; names the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # safetensors writes for the owner's eyes only
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        why = f"{error.strerror}: make room, or write elsewhere; what was there before still is"
        raise OSError(f"cannot write {path}: {why}") from error
    finally:
        temporary.unlink(missing_ok=True)


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
