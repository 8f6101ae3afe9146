"""Downloads against a local server: every way to fail has a message, and harms no file."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from file_server import serve

from lama_ref.weights import download as module
from lama_ref.weights.download import DownloadError, download, extract, locked

DATA = np.random.default_rng(0).bytes(200_000)
OTHER = np.random.default_rng(1).bytes(200_000)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


KNOWN = {digest(DATA): len(DATA)}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serve() as running:
        running.files["/f"] = DATA
        yield running


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def left(folder) -> set[str]:
    return names(folder) - {".f.lock"}


# --- what goes right --------------------------------------------------------------------------


@pytest.mark.parametrize("known", [KNOWN, None])
def test_a_file_comes_whole_and_alone(server, tmp_path, known):
    assert download(f"{server.url}/f", tmp_path / "f", known) == digest(DATA)
    assert (tmp_path / "f").read_bytes() == DATA and names(tmp_path) == {"f"}


def test_an_address_on_the_disk(tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    download((tmp_path / "source").as_uri(), tmp_path / "f", KNOWN)
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_server_that_does_not_say_how_much_will_come(server, tmp_path):
    server.length = False
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_redirect_is_followed_with_the_range(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.redirects["/here"] = "/f"
    server.cuts = [70_000]
    with pytest.raises(DownloadError):
        download(f"{server.url}/here", tmp_path / "f", KNOWN)
    download(f"{server.url}/here", tmp_path / "f", KNOWN)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.asked("Range") == [None, None, "bytes=70000-", "bytes=70000-"]


# --- resuming ---------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [KNOWN, None])
def test_the_next_call_goes_on_where_the_last_broke_off(server, tmp_path, monkeypatch, known):
    monkeypatch.setattr(module, "TRIES", 1)
    server.cuts = [70_000]
    with pytest.raises(DownloadError, match="was cut.*repeat the command"):
        download(f"{server.url}/f", tmp_path / "f", known)
    assert names(tmp_path) == {"f.part", "f.part.json"}
    assert (tmp_path / "f.part").read_bytes() == DATA[:70_000]
    assert download(f"{server.url}/f", tmp_path / "f", known) == digest(DATA)
    assert names(tmp_path) == {"f"}
    assert server.asked("Range") == [None, "bytes=70000-"]
    assert server.asked("If-Range") == [None, server.etag]


def test_a_call_goes_on_by_itself_a_few_times(server, tmp_path):
    server.cuts = [50_000, 60_000, 70_000]
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.asked("Range") == [None, "bytes=50000-", "bytes=110000-", "bytes=180000-"]
    server.requests.clear()
    server.cuts = [10] * 9
    with pytest.raises(DownloadError, match=f"cut, {module.TRIES} times"):
        download(f"{server.url}/f", tmp_path / "g", KNOWN)
    assert len(server.requests) == module.TRIES and not (tmp_path / "g").exists()


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cuts = False, [150_000]
    assert download(f"{server.url}/f", tmp_path / "f") == digest(DATA)
    assert server.asked("Range") == [None, "bytes=150000-"]


def test_a_file_that_changed_meanwhile_is_loaded_anew(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.cuts = [70_000]
    with pytest.raises(DownloadError):
        download(f"{server.url}/f", tmp_path / "f")
    server.files["/f"], server.etag = OTHER, '"two"'
    assert download(f"{server.url}/f", tmp_path / "f") == digest(OTHER)


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_mark_and_checksum_nothing_is_pieced_together(server, tmp_path, etag):
    server.etag, server.cuts = etag, [70_000]
    assert download(f"{server.url}/f", tmp_path / "f") == digest(DATA)
    assert server.asked("Range") == [None, None]


def test_another_address_does_not_continue_the_first_ones_part(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.files["/other"], server.cuts = OTHER, [70_000]
    with pytest.raises(DownloadError):
        download(f"{server.url}/other", tmp_path / "f")
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert server.asked("Range") == [None, None] and (tmp_path / "f").read_bytes() == DATA


def test_a_part_that_is_complete_or_too_long(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.cuts = [70_000]
    with pytest.raises(DownloadError):
        download(f"{server.url}/f", tmp_path / "f", KNOWN)
    (tmp_path / "f.part").write_bytes(DATA)  # killed before it could be renamed
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert len(server.requests) == 1 and (tmp_path / "f").read_bytes() == DATA
    monkeypatch.setattr(module, "TRIES", 2)
    (tmp_path / "f.part").write_bytes(DATA + b"more")
    module.write_json(tmp_path / "f.part.json", {"url": f"{server.url}/f", "version": '"one"'})
    assert download(f"{server.url}/f", tmp_path / "f") == digest(DATA)


@pytest.mark.parametrize("about", ["", "[]", "{"])
def test_a_damaged_note_about_a_part_is_ignored(server, tmp_path, about):
    (tmp_path / "f.part").write_bytes(OTHER[:1000])
    (tmp_path / "f.part.json").write_text(about)
    assert download(f"{server.url}/f", tmp_path / "f", KNOWN) == digest(DATA)


# --- what the network does --------------------------------------------------------------------


def fails(server, tmp_path, message, url="/f", known=KNOWN) -> str:
    """Fails with one line, and leaves an old file as it was."""
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(DownloadError, match=message) as error:
        download(f"{server.url}{url}", tmp_path / "f", known)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert "\n" not in str(error.value)
    return str(error.value)


def test_wrong_checksum_deletes_what_came(server, tmp_path):
    server.files["/f"] = OTHER
    text = fails(server, tmp_path, "another file")
    assert digest(DATA) in text and digest(OTHER) in text and "try again" in text
    assert names(tmp_path) == {"f"}


def test_a_stale_part_cannot_survive_a_server_that_mixes_versions(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.files["/f"], server.cuts, server.if_range = OTHER, [70_000], False
    fails(server, tmp_path, "cut")
    server.files["/f"] = DATA
    fails(server, tmp_path, "another file")
    assert names(tmp_path) == {"f"}
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert (tmp_path / "f").read_bytes() == DATA


def test_truncated_on_the_server_or_a_page_instead_of_the_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.cuts = [70_000]
    fails(server, tmp_path, "cut")
    server.files["/f"], server.etag = b"<html>quota exceeded</html>", '"page"'
    text = fails(server, tmp_path, "27 bytes, expected 200,000")
    assert "browser" in text
    assert (tmp_path / "f.part").read_bytes() == DATA[:70_000], "a page must not cost the part"
    server.files["/f"], server.etag = DATA, '"one"'
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert server.asked("Range")[-1] == "bytes=70000-"


def test_truncated_without_a_length(server, tmp_path):
    server.files["/f"], server.length = DATA[:100_000], False
    assert "100,000 bytes" in fails(server, tmp_path, "another file")
    assert names(tmp_path) == {"f"}


@pytest.mark.parametrize("status", [404, 410, 403])
def test_answers_that_are_final(server, tmp_path, status):
    server.answers = [status] * 9
    text = fails(server, tmp_path, str(status))
    assert len(server.requests) == 1 and "another address" in text
    assert names(tmp_path) == {"f"}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_answers_that_may_change(server, tmp_path, status):
    server.answers = [status] * module.TRIES
    fails(server, tmp_path, f"{status}.*{module.TRIES} times")
    server.answers = [status, status]
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert (tmp_path / "f").read_bytes() == DATA


def test_nobody_there(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/f", "http://no-such-host.invalid/f"):
        with pytest.raises(DownloadError, match="cannot reach .*check the connection"):
            download(url, tmp_path / "f", KNOWN)
    assert names(tmp_path) == set()


def test_a_server_that_hangs_before_or_within_the_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    monkeypatch.setattr(module, "TRIES", 1)
    server.pause = 1.0
    fails(server, tmp_path, "cut .*timed out")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/f"
        with pytest.raises(DownloadError, match="does not answer"):
            download(url, tmp_path / "f", KNOWN)


def test_a_slow_server_is_no_error(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 2)
    server.pause = 0.02
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert len(server.requests) == 1


def test_redirects_in_a_circle(server, tmp_path):
    server.redirects = {"/a": "/b", "/b": "/a"}
    fails(server, tmp_path, "302", url="/a")


@pytest.mark.parametrize("url", ["big-lama.zip", "ftp://host/f", ""])
def test_what_is_no_address(tmp_path, url):
    with pytest.raises(DownloadError, match="begins with https"):
        download(url, tmp_path / "f")


def test_a_server_that_answers_with_the_wrong_place(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    server.cuts, server.misplaced = [70_000], 5
    fails(server, tmp_path, "cut")
    fails(server, tmp_path, "byte 70005, asked for 70000")
    assert (tmp_path / "f.part").read_bytes() == DATA[:70_000]


# --- what the disk does -----------------------------------------------------------------------

CHILD = """if True:
    import os, sys
    os.environ["no_proxy"] = "*"
    from lama_ref.weights import download as module
    module.PAUSE = 0
    url, path, digits, size, *steps = sys.argv[1:]
    exec("\\n".join(steps))
    try:
        with module.locked(path):
            if not os.path.exists(path):
                module.download(url, path, {digits: int(size)})
    except module.DownloadError as error:
        sys.exit(str(error))
"""


def child(server, path, *steps, **options):
    """Another process that downloads to ``path``."""
    arguments = [f"{server.url}/f", str(path), digest(DATA), str(len(DATA)), *steps]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_is_full(server, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (81_920, 81_920))"
    process = child(server, tmp_path / "f", limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "no room" in error and "make room" in error, error
    assert "Traceback" not in error
    assert left(tmp_path) == {"f.part", "f.part.json"}
    have = (tmp_path / "f.part").stat().st_size
    assert 0 < have <= 81_920
    download(f"{server.url}/f", tmp_path / "f", KNOWN)
    assert server.asked("Range") == [None, f"bytes={have}-"]
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}


def test_too_little_room_is_noticed_before_it_is_used(server, tmp_path, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=199_999))
    fails(server, tmp_path, "no room .*0 MB needed, 0 MB free")
    assert names(tmp_path) == {"f"}
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=200_000))
    download(f"{server.url}/f", tmp_path / "f", KNOWN)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_cannot_be_written_to(server, tmp_path):
    tmp_path.chmod(0o555)
    someone = "os.getuid() or os.setuid(65534)"  # root may write everywhere
    process = child(server, tmp_path / "cache" / "f", someone)
    _, error = process.communicate(timeout=60)
    tmp_path.chmod(0o755)
    assert process.returncode == 1 and "cannot write to" in error, error
    assert "LAMA_REF_CACHE" in error and "Traceback" not in error and not names(tmp_path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot write to"):
        with locked(tmp_path / "file" / "f"):
            pass


# --- several processes ------------------------------------------------------------------------


def test_two_processes_at_once_load_it_once(server, tmp_path):
    server.pause = 0.2
    both = [child(server, tmp_path / "f") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("another process is at it" in error for error in errors) <= 1
    assert len(server.requests) == 1
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_the_lock_of_a_killed_process_is_free_and_its_part_is_used(server, tmp_path):
    server.pause = 2.0  # 26 seconds for the file
    first = child(server, tmp_path / "f")
    part = tmp_path / "f.part"
    while not (part.exists() and part.stat().st_size):
        time.sleep(0.02)
    second = child(server, tmp_path / "f")
    assert "another process is at it" in second.stderr.readline()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    have, server.pause = part.stat().st_size, 0.0
    _, error = second.communicate(timeout=60)
    assert second.returncode == 0, error
    assert (tmp_path / "f").read_bytes() == DATA and left(tmp_path) == {"f"}
    assert 0 < have < len(DATA) and server.asked("Range") == [None, f"bytes={have}-"]


def test_a_lock_is_held_against_others_and_given_back(server, tmp_path):
    with locked(tmp_path / "f"):
        process = child(server, tmp_path / "f")
        assert "another process is at it" in process.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        assert not server.requests
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0 and not error
    with locked(tmp_path / "f"), locked(tmp_path / "g"):
        pass


# --- archives ---------------------------------------------------------------------------------


def archive_of(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/"), data)
    return path


def test_one_member_and_nothing_else(tmp_path):
    entries = {"..__..__escape": b"x", "top__models__best.ckpt": DATA, "top__config.yaml": b"y"}
    archive = archive_of(tmp_path / "a.zip", **entries)
    assert extract(archive, "top/models/best.ckpt", tmp_path / "f", KNOWN) == digest(DATA)
    assert (tmp_path / "f").read_bytes() == DATA and names(tmp_path) == {"a.zip", "f"}


@pytest.mark.parametrize(
    "case", ["no member", "size", "checksum", "damaged", "stream", "no archive"]
)
def test_archives_that_are_not_right(tmp_path, case):
    entries = {"m": {"size": DATA + b"1", "checksum": OTHER}.get(case, DATA)}
    archive = archive_of(tmp_path / "a.zip", **entries)
    if case == "stream":  # compressed numbers that cannot be unpacked
        data = bytearray(archive_of(archive, m=bytes(len(DATA))).read_bytes())
        data[31] = 0xFF  # behind the header of 30 bytes and the name: a kind of block that is none
        archive.write_bytes(data)
    if case == "damaged":
        data = bytearray(archive.read_bytes())
        data[1000] ^= 1
        archive.write_bytes(data)
    if case == "no archive":
        archive.write_bytes(DATA)
    (tmp_path / "f").write_bytes(b"old")
    message = {"no member": "holds no x, but", "size": "200,001 bytes", "checksum": digest(OTHER)}
    with pytest.raises(DownloadError, match=message.get(case, "no zip archive")):
        extract(archive, "x" if case == "no member" else "m", tmp_path / "f", KNOWN)
    assert names(tmp_path) == {"a.zip", "f"} and (tmp_path / "f").read_bytes() == b"old"
