"""Fetching from a local server: every way to fail has a message, and harms no file."""

import dataclasses
import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from helpers import sums

from lama_ref.weights.fetch import Entry, fetch

DATA = np.random.default_rng(0).bytes(200_000)
OTHER = np.random.default_rng(1).bytes(200_000)


def entry(url: str, known: bytes | None = DATA, **others) -> Entry:
    texts = dict.fromkeys(("what", "size", "licence", "data"), "")
    known_sums = {} if known is None else sums(known)
    return Entry("generator", file="f", url=url, known=known_sums, **texts, **others)


def zipped(data: bytes, **others: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**others, "top/models/best.ckpt": data}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def server(server):
    server.files["/f"] = DATA
    return server


def left(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".f.lock"}


# --- what goes right --------------------------------------------------------------------------


def test_a_file_comes_whole_and_alone(server, tmp_path):
    server.redirects["/here"] = "/f"
    fetch(entry(f"{server.url}/here"), tmp_path / "new" / "f")
    assert (tmp_path / "new" / "f").read_bytes() == DATA and left(tmp_path / "new") == {"f"}
    fetch(entry(f"{server.url}/f"), tmp_path / "new" / "f")
    assert server.requests == ["/here", "/f"], "it is there, and is not asked for again"


def test_another_address_one_on_the_disk_too(server, tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    fetch(entry("http://no-such-host.invalid/f"), tmp_path / "f", (tmp_path / "source").as_uri())
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"source", "f"}


def test_one_member_of_an_archive_and_nothing_else(server, tmp_path):
    data = zipped(DATA, **{"../../escape": b"x", "top/config.yaml": b"y"})
    server.files["/f.zip"] = data
    e = entry(f"{server.url}/f.zip", archive=sums(data), member="top/models/best.ckpt")
    fetch(e, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}
    (tmp_path / "f").unlink()
    fetch(e, tmp_path / "f", f"{server.url}/f")  # the file itself
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}


def test_without_a_checksum_it_must_hold_weights(server, tmp_path):
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(3)}, buffer)
    server.files["/weights"] = buffer.getvalue()
    fetch(entry(f"{server.url}/weights", known=None), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == buffer.getvalue()
    fails(entry(f"{server.url}/f", known=None), tmp_path / "page", "expected a PyTorch file")


# --- what goes wrong --------------------------------------------------------------------------


def fails(e: Entry, path, message: str) -> str:
    """Fails with one line, and leaves an old file as it was."""
    path.write_bytes(b"old")
    before = left(path.parent)
    if not e.known:  # whatever is there is taken for right
        path.unlink()
        before = left(path.parent)
    with pytest.raises(OSError, match=message) as error:
        fetch(e, path)
    assert left(path.parent) - {f".{path.name}.lock"} == before
    assert not e.known or path.read_bytes() == b"old"
    text = str(error.value)
    assert "\n" not in text and "Try again" in text and str(path) in text and "--url" in text
    return text


def test_another_file_or_one_that_was_cut(server, tmp_path):
    server.files["/f"] = OTHER
    text = fails(entry(f"{server.url}/f", mirror="http://x/y"), tmp_path / "f", "another file")
    assert list(sums(DATA))[0] in text and list(sums(OTHER))[0] in text and "http://x/y" in text
    server.files["/f"] = DATA
    server.cut = 70_000
    text = fails(entry(f"{server.url}/f"), tmp_path / "f", "cut short")
    assert "70,000 bytes" in text and "200,000 bytes" in text


@pytest.mark.parametrize("status", [404, 403, 503])
def test_answers_of_a_server(server, tmp_path, status):
    server.status = status
    fails(entry(f"{server.url}/f"), tmp_path / "f", f"{server.url}/f: .*{status}")


def test_nobody_there(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fails(entry(f"http://127.0.0.1:{port}/f"), tmp_path / "f", "HTTPS_PROXY")
    fails(entry("http://no-such-host.invalid/f"), tmp_path / "f", "no-such-host")


@pytest.mark.parametrize("url", ["big-lama.zip", "nothing://host/f"])
def test_what_is_no_address(tmp_path, url):
    fails(entry(url), tmp_path / "f", "unknown url type")


def test_another_archive(server, tmp_path):
    server.files["/f.zip"] = zipped(DATA)
    other, right = zipped(OTHER), zipped(DATA, more=b"")
    e = entry(f"{server.url}/f.zip", archive=sums(right), member="top/models/best.ckpt")
    assert list(sums(right))[0] in fails(e, tmp_path / "f", "another file")
    server.files["/f.zip"] = other
    fails(dataclasses.replace(e, archive=sums(other)), tmp_path / "f", "another file")


# --- disk and processes -----------------------------------------------------------------------

CHILD = """if True:
    import os, sys
    from pathlib import Path
    os.environ["no_proxy"] = "*"
    from lama_ref.weights.fetch import Entry, fetch
    url, path, digits, size, *steps = sys.argv[1:]
    exec("\\n".join(steps))
    try:
        fetch(Entry("generator", "", "f", url, "", "", "", {digits: int(size)}), Path(path))
    except OSError as error:
        sys.exit(str(error))
"""


def child(server, path, *steps):
    """Another process that fetches to ``path``."""
    ((digits, size),) = sums(DATA).items()
    arguments = [f"{server.url}/f", str(path), digits, str(size), *steps]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_is_full(server, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (81_920, 81_920))"
    process = child(server, tmp_path / "f", limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "File too large" in error and "LAMA_REF_CACHE" in error
    assert "Traceback" not in error and not left(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_cannot_be_written_to(server, tmp_path):
    tmp_path.chmod(0o555)
    someone = "os.getuid() or os.setuid(65534)"  # root may write everywhere
    process = child(server, tmp_path / "cache" / "f", someone)
    _, error = process.communicate(timeout=60)
    tmp_path.chmod(0o755)
    assert process.returncode == 1 and "Permission denied" in error, error
    assert "LAMA_REF_CACHE" in error and "Traceback" not in error and not left(tmp_path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="LAMA_REF_CACHE"):
        fetch(entry("http://x/f"), tmp_path / "file" / "f")


@pytest.mark.slow
def test_two_processes_at_once_load_it_once(server, tmp_path):
    server.pause = 0.2
    both = [child(server, tmp_path / "f") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert server.requests == ["/f"]
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.slow
def test_a_killed_process_leaves_no_lock_and_its_rest_is_swept(server, tmp_path):
    server.pause = 2.0  # 26 seconds for the file
    first = child(server, tmp_path / "f")
    while not list(tmp_path.glob(".f.part/*")):
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    assert left(tmp_path) == {".f.part"}
    server.pause = 0.0
    fetch(entry(f"{server.url}/f"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}
