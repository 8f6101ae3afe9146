"""Fetch a file over the network: resumed where it broke off, checked, and put in place whole.

    address -> NAME.part (grows, survives interruptions) -> size and SHA-256 -> rename to NAME

Only the last step touches NAME, so that it is either absent, the old file, or the new one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile

from .files import atomic, checksum, try_lock, write_json

TIMEOUT = 30  # seconds without a byte
TRIES = 4  # connections that may break before the user is asked
PAUSE = 1.0  # seconds before the second try, twice as many before each further one
CHUNK = 1 << 20
PASSING = (408, 429, 500, 502, 503, 504)  # answers that may be another one in a moment
NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class DownloadError(OSError):
    """What went wrong, and what to do about it."""


class _Broken(Exception):
    """The connection did not hold: worth another try."""


def download(url: str, path: str | Path, known: Mapping[str, int] | None = None) -> str:
    """Bring the file at an address to ``path``; shows a progress bar on a terminal.

    Args:
        url: http, https or file address.
        path: where it goes. ``path.part`` holds what has come, if the download does not end.
        known: SHA-256 and size of each content that is right; without it, anything is.

    Returns:
        SHA-256 of the file.

    Raises:
        DownloadError: address, network, disk, size or checksum; what stood at ``path`` is left.
    """
    path, known = Path(path), known or {}
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise DownloadError(f"{url!r} is no address: expected one that begins with https://")
    part = path.with_name(f"{path.name}.part")
    for attempt in range(TRIES):
        try:
            _transfer(url, part, known)
            break
        except _Broken as error:
            if attempt == TRIES - 1:
                raise DownloadError(
                    f"{error}, {TRIES} times: repeat the command later; it goes on from the "
                    f"{_megabytes(_size(part))} that have come"
                ) from None
            time.sleep(PAUSE * 2**attempt)
    digits = checksum(part)
    if known and digits not in known:
        size = _size(part)
        _forget(part)
        raise DownloadError(
            f"{url} gave another file: its SHA-256 is {digits} ({size:,} bytes), expected "
            f"{' or '.join(f'{d} ({n:,} bytes)' for d, n in known.items())}. It was deleted: try "
            "again, in case it was damaged on the way, or take another address"
        )
    with _disk(path):
        os.replace(part, path)
    _forget(part)
    return digits


def extract(archive: str | Path, member: str, path: str | Path, known: Mapping[str, int]) -> str:
    """Write one file of a zip archive to ``path``, whole or not at all; returns its SHA-256.

    Nothing else is unpacked, and no name in the archive becomes a path.

    Raises:
        DownloadError: no such member, damaged, of another size or checksum, or no room for it.
    """
    try:
        with ZipFile(archive) as opened:
            if member not in opened.namelist():
                raise DownloadError(
                    f"{archive} holds no {member}, but {opened.namelist()[:5]}: another archive"
                )
            size = opened.getinfo(member).file_size
            if size not in known.values():  # before it fills the disk
                raise DownloadError(f"{member} in {archive} has {size:,} bytes: another file")
            with _disk(Path(path)), atomic(path) as temporary:
                _check_room(Path(path), size)
                with opened.open(member) as source, open(temporary, "wb") as target:
                    shutil.copyfileobj(source, target, CHUNK)
                digits = checksum(temporary)
                if digits not in known:
                    raise DownloadError(f"{member} in {archive} has SHA-256 {digits}: another file")
    except (BadZipFile, RuntimeError, EOFError, zlib.error) as error:
        raise DownloadError(f"{archive} is no zip archive that can be read ({error})") from None
    return digits


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Let one process at a time work on ``path``; others wait.

    The system gives the lock back when its holder ends, however it ends: none is ever stale.

    Raises:
        DownloadError: the folder cannot be made, or not be written to.
    """
    path = Path(path)
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.with_name(f".{path.name}.lock"), "ab")  # closed below
    with handle:
        waiting = False
        while not try_lock(handle.fileno()):
            if not waiting:
                print(f"{path.name}: another process is at it, waiting", file=sys.stderr)
            waiting = True
            time.sleep(0.1)
        yield


# --------------------------------------------------------------------------- one connection
def _transfer(url: str, part: Path, known: Mapping[str, int]) -> None:
    """Add to ``part`` what it lacks."""
    have, about = _size(part), _about(part)
    if known and have in known.values() and about.get("url") == url:
        return  # all of it came, and then the process ended
    headers = {"User-Agent": "lama-ref", "Accept-Encoding": "identity"}
    if have and about.get("url") == url and (known or about.get("version")):
        headers["Range"] = f"bytes={have}-"
        if about.get("version"):  # if the file has changed since, the server sends all of it
            headers["If-Range"] = about["version"]
    response = _open(url, headers, part)
    with response:
        start, total = _extent(response)
        if start not in (0, have):
            raise DownloadError(f"{url} answers with byte {start}, asked for {have}: try again")
        if known and total is not None and total not in known.values():
            expected = " or ".join(f"{size:,}" for size in known.values())
            raise DownloadError(
                f"{url} has {total:,} bytes, expected {expected}: it is another file, or a page "
                "that says something; look at it in a browser, or take another address"
            )
        with _disk(part):
            _check_room(part, (total or 0) - start)
            tag = response.headers.get("ETag", "")
            version = response.headers.get("Last-Modified") if tag[:2] in ("", "W/") else tag
            write_json(_about_file(part), {"url": url, "version": version})
            _copy(response, part, start, total)
    if total is not None and _size(part) < total:
        raise _Broken(f"the connection to {_host(url)} was cut")


def _open(url: str, headers: dict[str, str], part: Path) -> Any:
    host = _host(url)
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        answer = f"{error.code} {error.reason}".splitlines()[0]  # redirects in a circle: three
        if error.code == 416:  # less is there than has come
            _forget(part)
        if error.code in (416, *PASSING):
            raise _Broken(f"{host} answers {answer}") from None
        gone = "it is not there (any more)" if error.code in (404, 410) else "the server refuses"
        raise DownloadError(f"{url} answers {answer}: {gone}; take another address") from None
    except URLError as error:
        reason = error.reason
        if isinstance(reason, (TimeoutError, ConnectionResetError, ConnectionAbortedError)):
            raise _Broken(f"{host} does not answer ({reason})") from None
        if url.startswith("file:"):
            raise DownloadError(f"cannot read {url}: {reason}") from None
        hint = "check the connection, and the variable HTTPS_PROXY if there is a proxy"
        raise DownloadError(f"cannot reach {host} ({reason}): {hint}") from None
    except (HTTPException, TimeoutError, ConnectionError) as error:
        raise _Broken(f"{host} does not answer ({error})") from None


def _extent(response: Any) -> tuple[int, int | None]:
    """First byte of an answer, and the size of the whole file where the server tells it."""
    headers = response.headers
    if response.status == 206:  # Content-Range: bytes 100-199/200
        span, _, whole = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        first = span.split("-")[0]
        return int(first) if first.isdigit() else -1, int(whole) if whole.isdigit() else None
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _copy(response: Any, part: Path, start: int, total: int | None) -> None:
    from tqdm import tqdm

    bar = tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=None)
    with bar, open(part, "ab" if start else "wb") as file:
        while data := _read(response):
            file.write(data)
            bar.update(len(data))
        file.flush()
        os.fsync(file.fileno())  # on the disk before it gets its name


def _read(response: Any) -> bytes:
    try:
        return response.read1(CHUNK)  # what is there; read() would wait for all of it
    except (HTTPException, OSError) as error:
        raise _Broken(f"the connection was cut ({error or type(error).__name__})") from None


# --------------------------------------------------------------------------- disk
@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn what a disk refuses into words."""
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DownloadError(
                f"no room in {path.parent} ({error.strerror}): make room and repeat the command, "
                "or name another folder in the variable LAMA_REF_CACHE; what has come is kept"
            ) from None
        raise DownloadError(
            f"cannot write to {path.parent} ({error.strerror or error}): name a folder that can "
            "be written to in the variable LAMA_REF_CACHE"
        ) from None


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DownloadError(
            f"no room in {path.parent}: {_megabytes(needed)} needed, {_megabytes(free)} free: make "
            "room, or name another folder in the variable LAMA_REF_CACHE"
        )


def _about_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _about(part: Path) -> dict:
    """Where a part came from, and the server's mark of the version; empty if that is unknown."""
    try:
        about = json.loads(_about_file(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _forget(part: Path) -> None:
    for file in (part, _about_file(part)):
        file.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _host(url: str) -> str:
    return urlsplit(url).netloc or url
