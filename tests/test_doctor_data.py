"""`lama-ref doctor data`: what it finds in folders whose faults are known, and what it advises."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lama_ref import cli
from lama_ref.pictures import sources
from lama_ref.pictures.survey import FEW, Survey, survey


def run(*arguments):
    with pytest.raises(SystemExit) as exit:
        cli.main(["doctor", *map(str, arguments)])
    return exit.value.code


def noise(seed, width=40, height=30, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def good(tmp_path):
    """A folder that nothing stands against."""
    folder = tmp_path / "good"
    (folder / "deep").mkdir(parents=True)
    for i in range(FEW):
        noise(i).save(folder / ("deep" if i % 2 else "") / f"{i:03}.png")
    return folder


@pytest.fixture
def bad(good):
    """The same folder with known faults."""
    noise(200).convert("CMYK").save(good / "cmyk.jpg")
    noise(201, 20, 400).save(good / "strip.webp", lossless=True)
    for i in range(20):
        noise(300 + i, channels=1).save(good / f"grey{i}.bmp")
    Image.fromarray(np.repeat(np.asarray(noise(1, channels=1))[..., None], 3, 2)).save(
        good / "grey_rgb.png"
    )
    cyan = np.asarray(noise(2)).copy()
    cyan[..., 1] = cyan[..., 2]
    Image.fromarray(cyan).save(good / "two_channels_alike.png")
    (good / "copy.png").write_bytes((good / "000.png").read_bytes())
    (good / "deep" / "copy.png").write_bytes((good / "000.png").read_bytes())
    noise(400).save(good / "000_mask.png")
    (good / "Masks").mkdir()
    noise(401).save(good / "Masks" / "a.png")
    noise(402).save(good / "unmasked.png")
    (good / "empty.png").touch()
    (good / "deep" / "cut.png").write_bytes((good / "000.png").read_bytes()[:1500])
    (good / "notes.txt").touch()
    (good / "photo.HEIC").touch()
    return good


def test_a_good_folder(good, capsys):
    assert run("data", good, "--size", "16") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{good}: {FEW} image files\n")
    assert f"{FEW} PNG RGB" in out and "30 px at least" in out and "0 grey" in out
    assert out.rstrip().endswith("fine: nothing stands against training on it")
    assert "To do" not in out and "unreadable" not in out and "left out" not in out


def test_everything_that_is_wrong_is_found(bad, capsys):
    found = survey(bad, 31, progress=False)
    assert capsys.readouterr() == ("", "")
    readable = FEW + 1 + 1 + 21 + 1 + 2 + 3
    assert found.total == found.checked == readable + 2
    assert found.kinds == {"PNG RGB": FEW + 7, "JPEG CMYK": 1, "WEBP RGB": 1, "BMP L": 20}
    assert found.others == {".txt": 1, ".heic": 1}
    assert set(map(posix, found.errors)) == {"empty.png", "deep/cut.png"}
    assert found.errors["empty.png"].startswith("cannot identify")  # without our advice
    copies = {posix(name): posix(first) for name, first in found.copies.items()}
    assert copies == {"copy.png": "000.png", "deep/copy.png": "000.png"}
    assert set(map(posix, found.masks)) == {"000_mask.png", "Masks/a.png"}
    assert found.grey == 21
    assert len(found.sides) == readable and found.smaller == readable
    assert found.sides.count((20, 400)) == 1
    assert survey(bad, 30, n=None, progress=False).smaller == 1
    assert found.decoded_bytes == 3 * (40 * 30 * (readable - 1) + 20 * 400)
    assert min(found.read_seconds, found.cut_seconds, found.mask_seconds) > 0
    assert found.read_seconds < 5 and found.cut_seconds < 0.5
    assert len(found.hidden) == 50 and 0 < np.mean(found.hidden) < 1


def posix(name):
    return name.replace("\\", "/")


def test_the_report_says_what_to_do(bad, capsys):
    assert run("data", bad) == 1
    out = capsys.readouterr().out
    for line in (
        "2 unreadable files; training skips them",
        "move 2 files that look like masks, such as 000_mask.png, elsewhere",
        "leave 129 small pictures out: of those below 256 px",
        "leave some of 21 grey pictures out",
        "remove 2 copies, such as copy.png of 000.png",
    ):
        assert f"{line}" in out.split("To do:")[1]
    for line in ("unreadable  empty.png: ", "1 .txt", "1 .heic", "20.0 times the short"):
        assert line in out
    assert "fine" not in out


def test_a_fault_in_a_few_of_many_is_reported_but_tolerated():
    found = Survey("f", 16, total=1000, checked=1000, sides=[(20, 30)] * 900 + [(10, 20)] * 100)
    found.grey, found.copies = 100, {str(i): "first" for i in range(10)}
    found.cut_seconds = found.read_seconds = found.decoded_bytes = 1
    assert found.to_do() == [] and "fine" in str(found) and "100 below 16 px" in str(found)
    found.sides[0] = (10, 20)
    found.grey = 101
    found.copies["another"] = "first"
    assert len(found.to_do()) == 3


def test_few_large_and_slow():
    found = Survey(
        "f", 16, total=FEW - 1, checked=1, sides=[(3000, 4000)], decoded_bytes=36 * 10**6
    )
    found.cut_seconds, found.read_seconds = 1e-3, 0.1
    assert found.memory == 36e6 * (FEW - 1) > sources.CACHE_BYTES
    few, slow = found.to_do()
    assert "99 are learned by heart" in few and "--data f:0.5" in few
    assert "short side of about 64 px" in slow and "100 ms each" in slow
    assert "3.6 GB decoded, of which 0.3 are kept" in str(found)
    assert "10 crops/s, 1000 from memory" in str(found)
    assert "1 were drawn at random" in str(found)


def test_only_the_first_twenty_unreadable_are_shown():
    found = Survey("f", 16, total=25, checked=25, errors={f"{i}.png": "bad" for i in range(25)})
    assert str(found).count(".png: bad") == 20 and "and 5 more" in str(found)
    assert "none readable" in str(found)


def test_a_sample_of_a_large_folder(good, capsys):
    found = survey(good, 16, n=10, progress=False)
    assert (found.total, found.checked, len(found.sides)) == (FEW, 10, 10)
    assert found.memory == pytest.approx(3 * 40 * 30 * FEW)
    assert run("data", good, "--size", "16", "--n", "10") == 0
    assert "of which 10 were drawn at random" in capsys.readouterr().out
    assert survey(good, 16, n=10**6, progress=False).checked == FEW


def test_masks_are_those_of_the_preset(good):
    wide, narrow = (np.mean(survey(good, 64, m, 1, False).hidden) for m in ("wide", "narrow"))
    assert wide > narrow + 0.05


def test_bad_arguments(good, tmp_path, capsys):
    for arguments, message in (
        (("data",), "expected: lama-ref doctor, or: lama-ref doctor data FOLDER"),
        (("installation", good), "expected: lama-ref doctor, or"),
        (("data", tmp_path / "nowhere"), "nowhere is not a folder"),
        (("data", good, "--size", "0"), "size is 0; expected 1 or more"),
        (("data", good, "--n", "0"), "n is 0; expected 1 or more"),
        (("data", good, "--masks", "huge"), "huge"),
    ):
        assert run(*arguments) == 1
        captured = capsys.readouterr()
        assert message in captured.err and not captured.out


def test_doctor_alone_checks_the_installation(capsys):
    assert run() == 0
    assert capsys.readouterr().out.startswith("OK    python")
