"""The command line, end to end: what a user types, what is written, what it says and returns."""

import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import run
from PIL import Image

from lama_ref import runtime
from lama_ref.cli.doctor import installation
from lama_ref.runs.recipes import PRESETS
from lama_ref.weights import names
from lama_ref.weights.files import write_json
from lama_ref.weights.names import load_features, shipped, verify

RNG = np.random.default_rng(0)


@pytest.fixture
def photo(tmp_path):
    array = RNG.integers(0, 256, (40, 50, 3), np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 255
    Image.fromarray(array).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "hole.png")
    return tmp_path, array, mask > 0


def test_one_photograph(photo, capsys):
    folder, array, hole = photo
    assert run("inpaint", folder / "photo.png", folder / "hole.png", "-o", folder / "out.png") == 0
    result = np.array(Image.open(folder / "out.png"))
    np.testing.assert_array_equal(result[~hole], array[~hole])
    assert (result[hole] != array[hole]).any()
    assert "wrote 1 of 1" in capsys.readouterr().out


def test_dilation(photo):
    folder, array, hole = photo
    arguments = ("inpaint", folder / "photo.png", folder / "hole.png", "-o", folder / "out.png")
    assert run(*arguments, "--dilate", "3") == 0
    changed = (np.array(Image.open(folder / "out.png")) != array).any(-1)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 22, 7, 32)


def test_a_folder_with_one_bad_file(photo, capsys):
    folder, array, hole = photo
    for name in ("a", "sub/b", "c"):
        for kind, image in (("in", array), ("masks", hole * np.uint8(255))):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (folder / "in" / "c.png").write_bytes((folder / "in" / "c.png").read_bytes()[:60])
    assert run("inpaint", folder / "in", folder / "masks", "-o", folder / "out") == 1
    written = sorted(str(p.relative_to(folder / "out")) for p in (folder / "out").rglob("*.*"))
    assert [name.replace("\\", "/") for name in written] == ["a.png", "sub/b.png"]
    captured = capsys.readouterr()
    assert "c.png" in captured.err and "wrote 2 of 3" in captured.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photo": "absent.png"}, "absent.png"),
        ({"mask": "wrong_size.png"}, "resize a mask"),
        ({"out": "out.xyz"}, "must end in .png"),
        ({"photo": "broken.png"}, "cannot read"),
        ({"weights": "no-such-weights"}, "mini-fourier"),
    ],
)
def test_errors_name_the_cause_and_leave_nothing(photo, capsys, change, message):
    folder, array, _ = photo
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "wrong_size.png")
    (folder / "broken.png").write_bytes(b"\x89PNG no picture")
    before = {p.name for p in folder.iterdir()}
    files = {"photo": "photo.png", "mask": "hole.png", "out": "out.png"} | change
    chosen = ("--weights", change["weights"]) if "weights" in change else ()
    code = run("inpaint", folder / files["photo"], folder / files["mask"],
               "-o", folder / files["out"], *chosen)  # fmt: skip
    error = capsys.readouterr().err
    assert code == 1 and message in error and "Traceback" not in error
    assert {p.name for p in folder.iterdir()} == before


def test_a_failing_write_leaves_the_old_file(photo, monkeypatch):
    folder, *_ = photo
    (folder / "out.png").write_bytes(b"old")

    def save(self, path, *a, **k):
        open(path, "wb").write(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Image.Image, "save", save)
    before = {p.name for p in folder.iterdir()}
    assert run("inpaint", folder / "photo.png", folder / "hole.png", "-o", folder / "out.png") == 1
    assert (folder / "out.png").read_bytes() == b"old"
    assert {p.name for p in folder.iterdir()} == before


def test_unknown_command_exits_with_2(capsys):
    assert run("impaint") == 2


def test_demo_and_module_entry_point(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lama_ref", "demo", "--size", "64", "-o", str(tmp_path / "d.png")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    picture = Image.open(tmp_path / "d.png")
    assert picture.mode == "RGB" and min(picture.size) > 200
    assert "hole L1" in done.stdout and not done.stderr


def test_evaluate_writes_what_it_prints(tmp_path, capsys):
    options = ["--n", "4", "--sizes", "32", "--metrics", "hole-l1"]
    assert run("evaluate", *options, "-o", tmp_path / "r.json") == 0
    cell = json.loads((tmp_path / "r.json").read_text())["cells"][0]
    assert cell["n"] == 4 and set(cell["values"]) == {"mini-fourier", "telea", "navier-stokes"}
    assert f"{cell['values']['telea']['hole-l1'][0]:.4f}" in capsys.readouterr().out


def test_train_with_a_preset_and_mixed_data(tmp_path, capsys):
    Image.fromarray(RNG.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    options = ["--preset", "trio-regular", "--stages", "0", "32", "2", "--steps", "2"]
    options += ["--settle", "1", "--perceptual", "0", "--l1-until", "0.5"]
    data = ["--data", "scenes:0.3", "--data", f"{tmp_path}:0.7"]
    assert run("train", tmp_path / "run", *data, *options) == 0
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["generator"] == "trio-regular" and settings["discriminator_width"] == 16
    assert settings["data"] == ["scenes:0.3", f"{tmp_path}:0.7"]
    assert settings["weights"]["perceptual"] == 0 and settings["weights"]["l1_hole"] == 10
    capsys.readouterr()
    first = (tmp_path / "run" / "weights.safetensors").read_bytes()
    assert run("train", tmp_path / "run") == 0  # alone: goes on with what is there, here nothing
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == first
    assert run("train", tmp_path / "run", "--workers", "1") == 0  # it has no part in the result
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == first
    assert run("train", tmp_path / "run", "--lr", "1") == 1
    assert "lr=0.002 (now 1.0)" in capsys.readouterr().err
    assert run("train", tmp_path / "new", "--preset", "trio") == 2
    assert "trio-fourier" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_help_names_every_preset(capsys):
    assert run("train", "--help") == 0
    text = capsys.readouterr().out
    assert all(preset in text for preset in PRESETS)


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    from lama_ref.runs import loop

    def stopped(*_, **__):
        raise KeyboardInterrupt("stopped at step 3; the same command continues")

    monkeypatch.setattr(loop, "train", stopped)
    assert run("train", tmp_path / "run") == 130
    assert "stopped at step 3; the same command continues" in capsys.readouterr().err


def test_pretext_writes_weights_and_card(tmp_path, capsys):
    options = ["--kind", "regular", "--steps", "2", "--stages", "0", "16", "2", "--held-out", "2"]
    assert run("pretext", str(tmp_path / "new"), *options) == 0
    path = tmp_path / "new" / "segmentation-regular.safetensors"
    assert f"wrote {path}" in capsys.readouterr().out
    assert names.card(path)["training"]["steps"] == 2
    assert load_features(path).config.kind == "regular"


def test_doctor_passes_here_and_fails_with_a_remedy(capsys, monkeypatch):
    assert run("doctor") == 0
    out = capsys.readouterr().out
    assert "FFT on cpu" in out and "FAIL" not in out
    monkeypatch.setattr(runtime, "fft_error", lambda name: 0.5)
    assert run("doctor") == 1
    assert "FAIL" in (out := capsys.readouterr().out) and "use device='cpu'" in out


def test_doctor_asks_for_what_the_project_declares(capsys, monkeypatch):
    declared = ["torch>=2", "absent>1; extra == 'course'", "ruff; extra == 'check'", "gone<3,>=2"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    monkeypatch.setattr(names, "shipped", lambda folder="": {})
    found = {what: (fine, text) for what, fine, text in installation()}
    assert found["lama-ref"][0] and found["torch"][0] and "ruff" not in found
    assert not found["absent"][0] and "pip install -e '.[course]'" in found["absent"][1]
    assert found["gone"][1].endswith("pip install -e .")
    assert not found["weights"][0] and "clone again" in found["weights"][1]


def test_doctor_notices_damaged_weights(tmp_path, monkeypatch):
    source = shipped()["mini-fourier"]
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"x{suffix}").write_bytes(source.with_suffix(suffix).read_bytes())
    monkeypatch.setattr(names, "weights_folder", lambda: tmp_path)
    assert verify("x")[0] is True
    data = bytearray((tmp_path / "x.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "x.safetensors").write_bytes(data)
    assert verify("x")[0] is False and "clone again" in verify("x")[1]
    (tmp_path / "x.json").unlink()
    assert verify("x")[0] is False and "model card" in verify("x")[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks a file that is open")
def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    """Written under a temporary name and renamed, not over the old content."""
    path = tmp_path / "x.json"
    write_json(path, "old")
    with open(path) as reader:
        write_json(path, "new")
        assert json.loads(reader.read()) == "old"
    assert json.loads(path.read_text()) == "new" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TypeError):
        write_json(path, object())
    assert json.loads(path.read_text()) == "new" and len(list(tmp_path.iterdir())) == 1


def test_names_with_dots_and_names_that_collide(photo, capsys):
    folder, array, hole = photo
    (folder / "p").mkdir()
    for name in ("IMG.001", "IMG.002"):
        Image.fromarray(array).save(folder / "p" / f"{name}.png")
        Image.fromarray(hole).save(folder / "p" / f"{name}_mask.png")
    assert run("inpaint", folder / "p", folder / "p", "-o", folder / "out") == 0
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["IMG.001.png", "IMG.002.png"]
    Image.fromarray(array).save(folder / "p" / "IMG.001.jpg")
    assert run("inpaint", folder / "p", folder / "hole.png", "-o", folder / "again") == 1
    assert "rename one" in capsys.readouterr().err and not (folder / "again").exists()


def test_sixteen_bits_need_a_format_that_holds_them(photo, capsys):
    folder, *_ = photo
    Image.fromarray(RNG.integers(0, 65536, (40, 50)).astype(np.uint16)).save(folder / "deep.png")
    assert run("inpaint", folder / "deep.png", folder / "hole.png", "-o", folder / "o.jpg") == 1
    assert "write a .png or .tif" in capsys.readouterr().err and not (folder / "o.jpg").exists()
    assert run("inpaint", folder / "deep.png", folder / "hole.png", "-o", folder / "o.psd") == 1
    assert "must end in .png" in capsys.readouterr().err


def test_dilation_reads_the_mask_like_everything_else(photo):
    folder, array, hole = photo
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(folder / "turned.png", exif=exif)
    Image.fromarray(hole).save(folder / "turned_hole.png", exif=exif)
    code = run("inpaint", folder / "turned.png", folder / "turned_hole.png",
               "-o", folder / "out.png", "--dilate", "2")  # fmt: skip
    assert code == 0 and Image.open(folder / "out.png").size == (40, 50)


@pytest.mark.parametrize("text", ["{}", '{"stages": 3', '{"stages": [], "colour": 1}', "[]"])
def test_a_damaged_config_is_named(tmp_path, capsys, text):
    (tmp_path / "config.json").write_text(text)
    assert run("train", tmp_path) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "config.json") in error and "holds no settings of a run" in error


def test_bad_training_settings_and_runs_are_named(tmp_path, capsys):
    assert run("train", tmp_path / "run", "--stages", "0", "33", "2") == 2
    assert "multiples of 4" in capsys.readouterr().err and not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK damaged")
    assert run("train", tmp_path / "run", "--steps", "1", "--stages", "0", "32", "2") == 1
    assert "cannot continue: " in capsys.readouterr().err
    assert run("evaluate", "--n", "0") == 2
    assert "n >= 2" in capsys.readouterr().err
