"""Evaluation sets: the published procedure, files that can be checked, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import noise, rng, run
from PIL import Image

from lama_ref.pictures import sets
from lama_ref.pictures.sets import MaskSet, crop_range, load, make


@pytest.fixture
def photos(tmp_path):
    """A folder with a wide, a tall and a square picture, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    sizes = {"wide.jpg": (40, 60), "tall.png": (90, 40), "below/square.png": (50, 50)}
    for name, size in sizes.items():
        Image.fromarray(noise(*size)).save(folder / name)
    return folder


def settings(**options) -> MaskSet:
    return MaskSet(**{"size": 64, "scenes": 5, "preset": "narrow"} | options)


@pytest.fixture
def made(tmp_path):
    """Make a set in a folder of a given name; its manifest."""
    return lambda name="a", **options: make(settings(**options), tmp_path / name, progress=False)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_crop_range_is_the_published_one():
    """A recorded case: seeds 0, 1 and 2 of the published sampler gave 44, 37 and 40."""
    mask = np.zeros((100, 160), bool)
    mask[30:50, 60:100] = True
    assert crop_range(mask) == (0, 60) and crop_range(mask.T) == (0, 60)
    starts = [np.random.RandomState(seed).randint(*crop_range(mask)) for seed in (0, 1, 2)]
    assert starts == [44, 37, 40]
    mask[:] = False
    mask[:, 155:] = True  # at the far end: only crops that reach it
    assert crop_range(mask) == (59, 60)
    assert sets.square_crop(np.ones((5, 5), bool), rng()) == (0, 0)


def published_range(mask):
    """The formula of the published code, evaluated along x; overlap 1."""
    height, width = mask.shape
    inside = [x for x in range(width) if mask[:, x].any()]
    extent, crop = max(inside) - min(inside), height
    left = max(0, min(width - crop - 1, min(inside) + extent * 1.0 - crop))
    return left, max(left + 1, min(width - crop, min(inside) + extent * 1.0))


@pytest.mark.parametrize("seed", range(100))
def test_crops_have_the_published_range_meet_the_hole_and_stay_inside(seed):
    draw = rng(seed)
    mask = np.zeros((10, draw.integers(11, 40)), bool)
    first, last = np.sort(draw.choice(mask.shape[1], 2, replace=False))
    mask[3:6, first : last + 1] = True
    assert crop_range(mask) == published_range(mask) == crop_range(mask.T)
    for image in (mask, mask.T):
        for _ in range(5):
            top, start = sets.square_crop(image, draw)
            crop = image[top : top + 10, start : start + 10]
            assert crop.shape == (10, 10) and crop.any()


def test_set_of_photographs(photos, tmp_path, made):
    manifest = made("set", images=photos)
    names = ["below/square.png", "tall.png", "wide.jpg"]
    assert sorted(manifest["pictures"]) == names and manifest["skipped"] == {}
    for name, image, mask in load(tmp_path / "set"):
        entry = manifest["pictures"][name]
        assert image.shape == (3, 64, 64) and mask.shape == (1, 64, 64)
        share = mask.mean().item()
        assert 0 < share <= 0.5 and share == pytest.approx(entry["share"], abs=1e-4)
        # the picture is the crop of the photograph, resized to a short side of 64
        with Image.open(photos / name) as photo:
            factor = 64 / min(photo.size)
            size = [round(side * factor) for side in photo.size]
            whole = photo.resize(size, Image.Resampling.BICUBIC)
        top, left = entry["crop"]
        expected = np.asarray(whole)[top : top + 64, left : left + 64].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    # the layout that the published prediction script reads: picture = mask's name up to "_mask"
    for path in (tmp_path / "set").rglob("*_mask*.png"):
        assert path.with_name(path.name.split("_mask")[0] + ".png").is_file()
        with Image.open(path) as mask:
            assert mask.mode == "L" and set(np.unique(np.array(mask))) == {0, 255}


def test_pictures_do_not_depend_on_each_other(photos, made):
    both = made(images=photos)
    (photos / "tall.png").unlink()
    fewer = made("b", images=photos)
    assert fewer["pictures"] == {k: v for k, v in both["pictures"].items() if k != "tall.png"}
    assert fewer["sha256"] != both["sha256"]


def test_same_settings_same_files_and_nothing_is_overwritten(tmp_path, made):
    first, second, other = made("a"), made("b"), made("c", seed=1)
    before = files(tmp_path / "a")
    assert first == second and before == files(tmp_path / "b")
    assert other["sha256"] != first["sha256"]
    for seed in (0, 1):
        with pytest.raises(ValueError, match="a is not empty: choose a new folder"):
            made("a", seed=seed)
    assert files(tmp_path / "a") == before


def test_changed_files_are_noticed(tmp_path, made):
    entry = made("a")["pictures"]["scene00001"]
    for kind in ("mask", "picture"):
        shutil.copytree(tmp_path / "a", tmp_path / kind)
        path = tmp_path / kind / entry[kind]
        Image.fromarray(255 - np.array(Image.open(path))).save(path)
        with pytest.raises(ValueError, match=f"{path.name} is not the {kind}"):
            list(load(tmp_path / kind))
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["pictures"].popitem()
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="hash is wrong"):
        list(load(tmp_path / "a"))
    with pytest.raises(FileNotFoundError, match="no finished set"):
        list(load(tmp_path))


def test_damaged_pictures_are_left_out_and_named(photos, made):
    (photos / "broken.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="left out 1 of 4 pictures.*broken.png"):
        manifest = made(images=photos)
    assert list(manifest["skipped"]) == ["broken.png"] and len(manifest["pictures"]) == 3


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"preset": "wide", "scenes": 30, "max_share": 0.2}, 0, 0.2),
        ({"preset": "segmentation"}, 0.05, 0.5),
        ({"preset": "super-resolution"}, 0.2, 1),
    ],
)
def test_shares_keep_to_the_limits(made, options, low, high):
    manifest = made(**options)
    shares = [entry["share"] for entry in manifest["pictures"].values()]
    assert low <= min(shares) and max(shares) <= high and len(shares) >= 5
    assert manifest["settings"]["max_share"] == high


def test_no_fitting_mask_at_all(made):
    with (
        pytest.warns(UserWarning, match="hides up to 0%"),
        pytest.raises(ValueError, match="no picture of 2"),
    ):
        made(scenes=2, max_share=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "huge"}, "no mask preset 'huge'"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"size": 0}, "size must be at least 16, not 0"),
        ({"max_share": 0}, r"max_share must lie in \(0, 1\], not 0"),
        ({"preset": "segmentation", "images": "x"}, "objects of scenes, which photographs do not"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        settings(**options)


def test_command_line(tmp_path, capsys):
    arguments = ["--preset", "narrow", "--size", "32", "--scenes", "3"]
    assert run("masks", "make", "-o", tmp_path / "set", *arguments) == 0
    out = capsys.readouterr().out
    pictures = list(load(tmp_path / "set"))
    assert "wrote 3 pictures" in out and len(pictures) == 3
    assert all(torch.isfinite(image).all() for _, image, _ in pictures)
    assert run("masks", "make", "-o", tmp_path / "set", "--images", tmp_path / "no") == 1
    assert "lama-ref:" in capsys.readouterr().err


def test_pictures_of_one_name_are_refused(photos, tmp_path, made):
    Image.new("RGB", (40, 40)).save(photos / "tall.jpg")
    with pytest.raises(ValueError, match="tall.jpg and tall.png.*rename one"):
        made("set", images=photos)
    assert not (tmp_path / "set").exists()


def test_variants_are_independent(monkeypatch, made):
    """Masks of one call of sample are spread evenly; the published sets draw them one by one."""
    numbers, sample = [], sets.masks.sample

    def spy(preset, size, n, rng, **options):
        numbers.append(n)
        return sample(preset, size, n, rng, **options)

    monkeypatch.setattr(sets.masks, "sample", spy)
    made(scenes=2, variants=4)
    assert numbers == [1] * 8
