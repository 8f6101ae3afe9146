"""`lama-ref doctor data`: what it finds in folders whose faults are known, and what it advises."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import noise, run
from PIL import Image

from lama_ref.pictures.survey import FEW, Survey, survey


def photo(seed, height=30, width=40):
    return Image.fromarray(noise(height, width, seed))


@pytest.fixture
def good(tmp_path):
    """A folder that nothing stands against."""
    folder = tmp_path / "good"
    (folder / "deep").mkdir(parents=True)
    for i in range(FEW):
        photo(i).save(folder / ("deep" if i % 2 else "") / f"{i:03}.png")
    return folder


@pytest.fixture
def bad(good):
    """The same folder with known faults."""
    photo(200).convert("CMYK").save(good / "cmyk.jpg")
    photo(201, 400, 20).save(good / "strip.webp", lossless=True)
    for i in range(20):
        photo(300 + i).convert("L").save(good / f"grey{i}.bmp")
    photo(1).convert("L").convert("RGB").save(good / "grey_rgb.png")
    Image.fromarray(noise(30, 40)[..., [0, 1, 1]]).save(good / "two_channels_alike.png")
    (good / "Masks").mkdir()
    for i, name in enumerate(("000_mask.png", "Masks/a.png", "unmasked.png")):
        photo(400 + i).save(good / name)
    (good / "empty.png").touch()
    (good / "deep" / "cut.png").write_bytes((good / "000.png").read_bytes()[:1500])
    (good / "notes.txt").touch()
    (good / "photo.HEIC").touch()
    return good


def test_a_good_folder(good, capsys):
    assert run("doctor", "data", good, "--size", "16") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{good}: {FEW} image files\n")
    assert "0 below 16 px" in out
    assert out.rstrip().endswith("fine: nothing stands against training on it")
    assert "To do" not in out and "unreadable" not in out


def test_everything_that_is_wrong_is_found(bad, capsys):
    found = survey(bad, 31, progress=False)
    assert capsys.readouterr() == ("", "")
    readable = FEW + 1 + 1 + 21 + 1 + 3
    assert found.total == readable + 2
    assert set(found.errors) == {"empty.png", str(Path("deep/cut.png"))}
    assert found.errors["empty.png"].startswith("cannot identify")  # without our advice
    assert set(found.masks) == {"000_mask.png", str(Path("Masks/a.png"))}
    assert found.grey == 21
    assert found.small == readable
    assert survey(bad, 30, progress=False).small == 1


def test_the_report_says_what_to_do(bad, capsys):
    assert run("doctor", "data", bad) == 1
    out = capsys.readouterr().out
    for line in (
        "2 unreadable files; training skips them",
        "move 2 files that look like masks, such as 000_mask.png, elsewhere",
        "leave 127 small pictures out: of those below 256 px",
        "leave some of 21 grey pictures out",
    ):
        assert f"{line}" in out.split("To do:")[1]
    assert "unreadable  empty.png: " in out
    assert "fine" not in out


def test_a_fault_in_a_few_of_many_is_reported_but_tolerated():
    found = Survey("f", 16, total=1000, small=100, grey=100)
    assert found.to_do() == [] and "fine" in str(found) and "100 below 16 px" in str(found)
    found.small = found.grey = 101
    assert len(found.to_do()) == 2
    (few,) = Survey("f", 16, total=FEW - 1).to_do()
    assert "99 are learned by heart" in few and "--data f:0.5" in few


def test_only_the_first_twenty_unreadable_are_shown():
    found = Survey("f", 16, total=25, errors={f"{i}.png": "bad" for i in range(25)})
    assert str(found).count(".png: bad") == 20 and "and 5 more" in str(found)


def test_bad_arguments(good, tmp_path, capsys):
    for arguments, message in (
        (("data",), "expected: lama-ref doctor, or: lama-ref doctor data FOLDER"),
        (("installation", good), "expected: lama-ref doctor, or"),
        (("data", tmp_path / "nowhere"), "nowhere is not a folder"),
        (("data", good, "--size", "0"), "size is 0; expected 1 or more"),
    ):
        assert run("doctor", *arguments) == 1
        captured = capsys.readouterr()
        assert message in captured.err and not captured.out
