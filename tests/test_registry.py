"""Published weights: their entries, fetched from a local server, used without unpickling."""

import hashlib
import io
import json
import re
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from file_server import serve
from test_official import save_lightning, save_torchscript, small_generator

import lama_ref
from lama_ref import cli
from lama_ref.generator import PRESETS, build_generator
from lama_ref.perceptual import ResNet50
from lama_ref.weights import download, format, official
from lama_ref.weights.download import DownloadError
from lama_ref.weights.fetch import check, fetch
from lama_ref.weights.names import cache_folder, load_encoder, load_training, shipped
from lama_ref.weights.published import ENTRIES

GENERATOR = small_generator()
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (20, 30, 3), np.uint8)
HOLE = np.zeros((20, 30), bool)
HOLE[5:12, 8:20] = True


def sums(data: bytes) -> dict[str, int]:
    return {hashlib.sha256(data).hexdigest(): len(data)}


def checkpoint(generator=GENERATOR) -> bytes:
    """As published: Lightning's layout, with settings of classes that nobody has here."""
    buffer = io.BytesIO()
    save_lightning(generator, buffer)
    return buffer.getvalue()


def published_zip(data: bytes) -> bytes:
    """As published: big-lama/config.yaml and big-lama/models/best.ckpt."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big-lama/config.yaml", "run_title: b18_ffc075_batch8x15\n")
        archive.writestr("big-lama/models/best.ckpt", data)
    return buffer.getvalue()


CKPT = checkpoint()
ZIP = published_zip(CKPT)
OTHER = checkpoint(build_generator(GENERATOR.config))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no downloads of other programs."""
    monkeypatch.setenv("LAMA_REF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def server(cache, monkeypatch):
    """The registry's addresses and checksums, put on a local server with small networks."""
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        running.files |= {"/big-lama.zip": ZIP, "/best.ckpt": CKPT, "/fourier.ckpt": CKPT}
        change = {
            "big-lama": {"url": f"{running.url}/big-lama.zip", "known": sums(CKPT),
                         "archive": sums(ZIP), "mirror": f"{running.url}/best.ckpt"},
            "lama-regular": {"url": f"{running.url}/fourier.ckpt"},  # its checksum is not known
        }  # fmt: skip
        for name, values in change.items():
            entry = replace(ENTRIES[name], **values)
            monkeypatch.setitem(ENTRIES, name, entry)
        yield running


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as exit:
        cli.main(["weights", *map(str, arguments)])
    return exit.value.code


def inpainted(model) -> np.ndarray:
    return lama_ref.Inpainter(model)(PHOTO, HOLE)


EXPECTED = inpainted(GENERATOR)


# --- facts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_are_complete(name):
    entry = ENTRIES[name]
    assert re.fullmatch(r"https?://\S+/[\w.-]+\.(zip|ckpt|pt|pth)", entry.url)
    assert all(entry.licence) and "non-commercial" in entry.data and entry.what
    for known in (entry.known, entry.archive or {}):
        assert all(re.fullmatch("[0-9a-f]{64}", digits) and size > 0 for digits, size in
                   known.items())  # fmt: skip
    assert bool(entry.known) != entry.checksum_from.startswith("Checksum not published")
    assert entry.known or entry.archive is None
    digits = re.search(r"-([0-9a-f]{8})\.pth$", entry.file)  # torchvision's way to name files
    assert digits is None or list(entry.known)[0].startswith(digits[1])
    if entry.kind == "generator":
        assert "none stated" in entry.licence[0]
        preset = "big-lama" if name.startswith("big-lama") else name
        with torch.device("meta"):
            parameters = sum(p.numel() for p in build_generator(PRESETS[preset]).parameters())
        assert entry.parameters == parameters
    if entry.kind == "features":
        with torch.device("meta"):
            assert entry.parameters == sum(p.numel() for p in ResNet50().parameters())


def test_names_do_not_collide():
    files = [entry.file for entry in ENTRIES.values()]
    assert len(set(files)) == len(files)
    assert not set(ENTRIES) & {*shipped(), *shipped("features")}
    assert ENTRIES["big-lama"].size() == "381 MB"
    assert ENTRIES["lama-regular"].size() == "~388 MB"
    assert ENTRIES["big-lama-with-discriminator"].size() == "?"


def test_the_cache_folder_is_where_the_user_or_the_system_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMA_REF_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("LAMA_REF_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lama_ref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lama_ref"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "lama_ref"


# --- fetch, then inpaint ----------------------------------------------------------------------


def test_big_lama_from_the_published_archive(server, cache, capsys):
    with pytest.raises(ValueError) as error:
        lama_ref.Inpainter("big-lama")
    text = str(error.value)
    assert "lama-ref weights fetch big-lama" in text and f"{server.url}/big-lama.zip" in text
    assert " MB " in text and str(cache / "big-lama.ckpt") in text
    assert run("fetch", "big-lama") == 0
    assert str(cache / "big-lama.ckpt") in capsys.readouterr().out
    assert (cache / "big-lama.ckpt").read_bytes() == CKPT
    assert {p.name for p in cache.iterdir()} == {"big-lama.ckpt", ".big-lama.ckpt.lock"}
    np.testing.assert_array_equal(inpainted("big-lama"), EXPECTED)
    assert (EXPECTED[HOLE] != PHOTO[HOLE]).any()
    assert run("fetch", "big-lama") == 0 and len(server.requests) == 1, "it is there"


def test_two_at_once_fetch_it_once(server, cache):
    server.pause = 0.05
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(fetch, ["big-lama", "big-lama"]))
    assert paths == [cache / "big-lama.ckpt"] * 2 and len(server.requests) == 1
    assert paths[0].read_bytes() == CKPT


def test_a_mirror_may_give_the_archive_or_the_file_in_it(server, cache):
    assert run("fetch", "big-lama", "--url", f"{server.url}/best.ckpt") == 0
    assert (cache / "big-lama.ckpt").read_bytes() == CKPT
    assert not list(cache.glob("*.zip*"))
    (cache / "big-lama.ckpt").unlink()
    (cache.parent / "mine.zip").write_bytes(ZIP)
    fetch("big-lama", (cache.parent / "mine.zip").as_uri())
    assert (cache / "big-lama.ckpt").read_bytes() == CKPT
    assert (cache.parent / "mine.zip").exists()


def test_fetching_is_resumed_through_the_command(server, cache, monkeypatch, capsys):
    monkeypatch.setattr(download, "TRIES", 1)
    server.cuts = [len(ZIP) // 2]
    assert run("fetch", "big-lama") == 1
    error = capsys.readouterr().err
    assert error.startswith("lama-ref: big-lama not fetched: the connection") and "\n" == error[-1]
    assert error.count("\n") == 1 and f"--url {server.url}/best.ckpt" in error
    assert f"put it at {cache / 'big-lama.ckpt'}" in error
    assert run("fetch", "big-lama") == 0
    assert server.asked("Range") == [None, f"bytes={len(ZIP) // 2}-"]
    np.testing.assert_array_equal(inpainted("big-lama"), EXPECTED)


def test_a_damaged_file_is_found_and_replaced_only_by_a_good_one(server, cache, capsys):
    fetch("big-lama")
    path = cache / "big-lama.ckpt"
    path.write_bytes(CKPT[:-1] + b"x")
    assert run("verify", "big-lama") == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL") and "fetch it again" in out and list(sums(CKPT))[0] in out
    assert run("verify") == 1
    server.answers = [404]
    with pytest.raises(DownloadError, match="404"):
        fetch("big-lama")
    assert path.read_bytes() == CKPT[:-1] + b"x"
    fetch("big-lama")
    assert path.read_bytes() == CKPT
    assert run("verify", "big-lama") == 0 and capsys.readouterr().out.startswith("OK")


def test_a_wrong_archive_leaves_nothing(server, cache):
    server.files["/big-lama.zip"] = published_zip(OTHER)
    with pytest.raises(DownloadError, match="expected"):
        fetch("big-lama")
    assert {p.name for p in cache.iterdir()} == {".big-lama.ckpt.lock"}


def test_an_unknown_checksum_is_recorded_once_and_compared_from_then_on(server, cache, capsys):
    assert run("fetch", "lama-regular") == 0
    record = json.loads((cache / "lama-regular.ckpt.json").read_text())
    assert sums(CKPT) == {record["sha256"]: record["bytes"]}
    assert record["url"] == f"{server.url}/fourier.ckpt"
    assert run("verify", "lama-regular") == 0 and "OK" in capsys.readouterr().out
    (cache / "lama-regular.ckpt").unlink()
    server.files["/fourier.ckpt"] = OTHER
    assert run("fetch", "lama-regular") == 1
    error = capsys.readouterr().err
    assert "first download" in error and str(cache / "lama-regular.ckpt.json") in error
    assert not (cache / "lama-regular.ckpt").exists()
    (cache / "lama-regular.ckpt.json").unlink()  # as the message says
    assert run("fetch", "lama-regular") == 0
    assert (cache / "lama-regular.ckpt").read_bytes() == OTHER
    (cache / "lama-regular.ckpt").write_bytes(CKPT)
    assert run("verify", "lama-regular") == 1


def test_a_page_instead_of_weights_is_not_recorded(server, cache, capsys):
    server.files["/fourier.ckpt"] = b"<html>log in</html>"
    assert run("fetch", "lama-regular") == 1
    assert "holds no weights" in capsys.readouterr().err
    assert {p.name for p in cache.iterdir()} == {".lama-regular.ckpt.lock"}
    server.files["/fourier.ckpt"] = CKPT
    assert run("fetch", "lama-regular") == 0


# --- put there by hand ------------------------------------------------------------------------


def test_a_file_dropped_into_the_cache_is_used_and_not_fetched(server, cache, capsys):
    cache.mkdir()
    (cache / "lama-regular.ckpt").write_bytes(CKPT)
    np.testing.assert_array_equal(inpainted("lama-regular"), EXPECTED)
    assert run("fetch", "lama-regular") == 0 and not server.requests
    assert run("verify", "lama-regular") == 0
    assert "no checksum is published" in capsys.readouterr().out
    assert list(cache.iterdir()) == [cache / "lama-regular.ckpt"], "read, and left alone"


def test_an_archive_dropped_into_the_cache_is_unpacked_without_a_network(server, cache):
    cache.mkdir()
    (cache / "big-lama.zip").write_bytes(ZIP)
    fetch("big-lama")
    assert not server.requests and (cache / "big-lama.ckpt").read_bytes() == CKPT
    (cache / "big-lama.ckpt").unlink()
    (cache / "big-lama.zip").write_bytes(published_zip(OTHER))
    with pytest.raises(DownloadError, match="another file"):
        fetch("big-lama")
    assert not (cache / "big-lama.ckpt").exists()


@pytest.mark.parametrize("place", ["cache", "torch/hub/checkpoints"])
def test_a_torchscript_archive_serves_as_well(cache, tmp_path, monkeypatch, place):
    path = tmp_path / place / "big-lama.pt"
    path.parent.mkdir(parents=True)
    save_torchscript(GENERATOR, path)
    with zipfile.ZipFile(path) as archive:
        code = [name for name in archive.namelist() if "/code/" in name]
    assert code, "without code in it, this shows nothing"
    entry = ENTRIES["big-lama-torchscript"]
    monkeypatch.setitem(
        ENTRIES, "big-lama-torchscript", replace(entry, known=sums(path.read_bytes()))
    )
    assert check(path)[0] is True, "compared with its own checksum, not with the ckpt's"
    monkeypatch.setattr(torch.jit, "load", None)  # nothing may call it
    for model in ("big-lama", "big-lama-torchscript", path):
        np.testing.assert_array_equal(inpainted(model), EXPECTED)


def test_paths_and_folders_as_published_and_of_runs(cache, tmp_path, monkeypatch):
    (tmp_path / "big-lama" / "models").mkdir(parents=True)
    (tmp_path / "big-lama" / "models" / "best.ckpt").write_bytes(CKPT)
    format.save(GENERATOR, tmp_path / "weights.safetensors")
    for model in (tmp_path / "big-lama", str(tmp_path), tmp_path / "weights.safetensors"):
        np.testing.assert_array_equal(inpainted(model), EXPECTED)
    assert load_training(tmp_path / "big-lama")[0].config == GENERATOR.config
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(inpainted("big-lama"), EXPECTED)  # the folder, unpacked here
    (tmp_path / "big-lama" / "models" / "best.ckpt").unlink()
    with pytest.raises(ValueError, match="weights fetch big-lama"):
        lama_ref.Inpainter("big-lama")
    with pytest.raises(FileNotFoundError, match="models"):
        lama_ref.Inpainter(tmp_path / "big-lama" / "models")


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a file was run')",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_that_lies_there_is_not_run(cache, legacy):
    cache.mkdir()
    state = {f"generator.{key}": value for key, value in GENERATOR.state_dict().items()}
    torch.save({"state_dict": state, "callbacks": Evil()}, cache / "big-lama.ckpt",
               _use_new_zipfile_serialization=not legacy)  # fmt: skip
    np.testing.assert_array_equal(inpainted("big-lama"), EXPECTED)
    torch.save(Evil(), cache / "big-lama.ckpt")
    with pytest.raises(ValueError, match="big-lama.ckpt"):
        lama_ref.Inpainter("big-lama")


def test_names_serve_for_training_and_the_perceptual_loss_too(server, monkeypatch):
    with pytest.raises(ValueError, match="weights fetch big-lama"):
        load_training("big-lama")
    fetch("big-lama")
    generator, discriminator = load_training("big-lama")
    assert generator.config == GENERATOR.config and discriminator is None
    with pytest.raises(ValueError, match="weights fetch ade20k-resnet50-dilated"):
        load_encoder("ade20k-resnet50-dilated")
    cache = cache_folder()
    (cache / "encoder_epoch_20.pth").write_bytes(b"")  # under the authors' own name
    monkeypatch.setattr(official, "read_checkpoint", lambda path: {"path": path})
    monkeypatch.setattr(official, "load_hrf_encoder", lambda state: torch.nn.Module())
    assert isinstance(load_encoder("ade20k-resnet50-dilated"), torch.nn.Module)
    with pytest.raises(ValueError, match="can be fetched"):
        lama_ref.Inpainter("ade20k-resnet50-dilated")  # no generator
    with pytest.raises(FileNotFoundError):
        load_encoder("big-lama")


# --- the command ------------------------------------------------------------------------------


def test_list_says_what_is_where(server, capsys):
    assert run("list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert {*shipped(), *shipped("features"), *ENTRIES} <= set(lines)
    assert "1.20 M  shipped" in lines["mini-fourier"] and "2.4 MB" in lines["mini-fourier"]
    assert "50.98 M  not fetched  none stated" in lines["big-lama"]
    assert "Apache-2.0" in lines["mini-fourier"] and max(map(len, lines.values())) <= 100
    fetch("big-lama")
    assert run() == 0  # list is what it does by itself
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match("big-lama .* fetched  ", line) and "not fetched" not in line
               for line in lines)  # fmt: skip


def test_cards_are_readable(cache, capsys):
    assert run("card", "lama-regular") == 0
    out = capsys.readouterr().out
    for fact in ("Inpainter('lama-regular')", "45617731", "issue", "non-commercial",
                 "Checksum not published", "unknown", str(cache)):  # fmt: skip
        assert fact in out, fact
    assert run("card", "big-lama") == 0
    assert "fccb7adffd53ec0974ee5503c3731c2c2f1e7e07856fd9228cdcc0b46fd5d423" in (
        out := capsys.readouterr().out
    )
    assert run("card", "segmentation-dilated") == 0
    out += capsys.readouterr().out
    assert "  kind: dilated\n" in out and "entries, in the file" in out
    assert max(len(line) for line in out.splitlines() if "http" not in line) <= 96


def test_verify_covers_all_that_is_here(server, capsys):
    fetch("big-lama")
    assert run("verify") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shipped()) + len(shipped("features")) + 1
    assert all(line.startswith("OK") for line in lines)
    assert run("verify", "mini-fourier") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch"], "weights fetch NAME"),
        (["card"], "weights card NAME"),
        (["fetch", "mini-fourier"], "ships with this project"),
        (["fetch", "huge-lama"], "unknown: what can be fetched is big-lama"),
        (["verify", "lama-fourier"], "not fetched so far"),
        (["verify", "huge-lama"], "unknown"),
        (["card", "huge-lama"], "huge-lama"),
        (["list", "--url", "http://x"], "--url goes with fetch"),
        (["fetch", "big-lama", "--url", "no-address"], "begins with https"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(cache, capsys, arguments, message):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
