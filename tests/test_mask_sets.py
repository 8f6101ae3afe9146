"""Evaluation sets: the published procedure, files that can be checked, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lama_ref.cli import main
from lama_ref.pictures import sets
from lama_ref.pictures.sets import MaskSet, crop_range, load, make


@pytest.fixture
def photos(tmp_path):
    """A folder with a wide, a tall and a square picture, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in {
        "wide.jpg": (60, 40),
        "tall.png": (40, 90),
        "below/square.png": (50, 50),
    }.items():
        values = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        Image.fromarray(values).save(folder / name)
    return folder


def settings(**options) -> MaskSet:
    return MaskSet(**{"size": 64, "scenes": 5, "preset": "narrow"} | options)


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
    assert sets.square_crop(np.ones((5, 5), bool), np.random.default_rng(0)) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_crops_meet_the_hole_and_stay_inside(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 30 + rng.integers(1, 60)), bool)
    left, width = rng.integers(mask.shape[1]), rng.integers(1, 20)
    mask[10:20, left : left + width] = True
    for image in (mask, mask.T):
        for _ in range(20):
            top, start = sets.square_crop(image, rng)
            crop = image[top : top + 30, start : start + 30]
            assert crop.shape == (30, 30) and crop.any()


def test_set_of_photographs(photos, tmp_path):
    manifest = make(settings(images=photos), tmp_path / "set", progress=False)
    names = ["below/square.png", "tall.png", "wide.jpg"]
    assert sorted(manifest["pictures"]) == names and manifest["skipped"] == {}
    for name, image, mask in load(tmp_path / "set"):
        entry = manifest["pictures"][name]
        assert image.shape == (3, 64, 64) and mask.shape == (1, 64, 64)
        assert 0 < mask.mean() <= 0.5 and mask.mean().item() == pytest.approx(
            entry["share"], abs=1e-4
        )
        # the picture is the crop of the photograph, resized to a short side of 64
        with Image.open(photos / name) as photo:
            factor = 64 / min(photo.size)
            whole = photo.resize(
                [round(side * factor) for side in photo.size], Image.Resampling.BICUBIC
            )
        top, left = entry["crop"]
        expected = np.asarray(whole)[top : top + 64, left : left + 64].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    # the layout that the published prediction script reads: picture = mask's name up to "_mask"
    for path in (tmp_path / "set").rglob("*_mask*.png"):
        assert path.with_name(path.name.split("_mask")[0] + ".png").is_file()
        with Image.open(path) as mask:
            assert mask.mode == "L" and set(np.unique(np.array(mask))) == {0, 255}


def test_pictures_do_not_depend_on_each_other(photos, tmp_path):
    both = make(settings(images=photos), tmp_path / "a", progress=False)
    (photos / "tall.png").unlink()
    fewer = make(settings(images=photos), tmp_path / "b", progress=False)
    assert fewer["pictures"] == {k: v for k, v in both["pictures"].items() if k != "tall.png"}
    assert fewer["sha256"] != both["sha256"]


def test_same_settings_same_files(tmp_path):
    first, second = (make(settings(), tmp_path / x, progress=False) for x in "ab")
    assert first == second and files(tmp_path / "a") == files(tmp_path / "b")
    other = make(settings(seed=1), tmp_path / "c", progress=False)
    assert other["sha256"] != first["sha256"]


def test_nothing_is_overwritten(tmp_path):
    make(settings(), tmp_path / "a", progress=False)
    before = files(tmp_path / "a")
    for seed in (0, 1):
        with pytest.raises(ValueError, match="a is not empty: choose a new folder"):
            make(settings(seed=seed), tmp_path / "a", progress=False)
    assert files(tmp_path / "a") == before


def test_changed_files_are_noticed(tmp_path):
    make(settings(), tmp_path / "a", progress=False)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    path = next((tmp_path / "a").glob("*_mask*.png"))
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    with pytest.raises(ValueError, match=f"{path.name} is not the mask"):
        list(load(tmp_path / "a"))
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    manifest["pictures"].popitem()
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="hash is wrong"):
        list(load(tmp_path / "b"))
    with pytest.raises(FileNotFoundError, match="no finished set"):
        list(load(tmp_path))


def test_the_hash_is_of_the_pictures_too(tmp_path):
    first = make(settings(), tmp_path / "a", progress=False)
    path = tmp_path / "a" / first["pictures"]["scene00001"]["picture"]
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    with pytest.raises(ValueError, match=f"{path.name} is not the picture"):
        list(load(tmp_path / "a"))


def test_super_resolution_hides_more_than_half(tmp_path):
    made = make(settings(preset="super-resolution"), tmp_path / "a", progress=False)
    assert len(made["pictures"]) == 5 and made["settings"]["max_share"] == 1


def test_damaged_pictures_are_left_out_and_named(photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="left out 1 of 4 pictures.*broken.png"):
        manifest = make(settings(images=photos), tmp_path / "set", progress=False)
    assert list(manifest["skipped"]) == ["broken.png"] and len(manifest["pictures"]) == 3


@pytest.mark.filterwarnings("ignore:left out")
def test_masks_over_the_limit_are_dropped(tmp_path):
    manifest = make(
        settings(preset="wide", scenes=30, max_share=0.2), tmp_path / "a", progress=False
    )
    assert max(entry["share"] for entry in manifest["pictures"].values()) <= 0.2
    with (
        pytest.warns(UserWarning, match="hides up to 0%"),
        pytest.raises(ValueError, match="no picture of 2"),
    ):
        make(settings(scenes=2, max_share=1e-6), tmp_path / "b", progress=False)


def test_segmentation_of_scenes(tmp_path):
    of_scenes = make(settings(preset="segmentation"), tmp_path / "scenes", progress=False)
    assert len(of_scenes["pictures"]) == 5
    assert all(0.05 <= entry["share"] < 0.5 for entry in of_scenes["pictures"].values())


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
    with pytest.raises(SystemExit) as stop:
        main(["masks", "make", "-o", str(tmp_path / "set"), *arguments])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    pictures = list(load(tmp_path / "set"))
    assert "wrote 3 pictures" in out and len(pictures) == 3
    assert all(torch.isfinite(image).all() for _, image, _ in pictures)
    with pytest.raises(SystemExit) as stop:
        main(["masks", "make", "-o", str(tmp_path / "set"), "--images", str(tmp_path / "no")])
    assert stop.value.code == 1 and "lama-ref:" in capsys.readouterr().err


def published_range(mask):
    """The formula of the published code, evaluated along x; overlap 1."""
    height, width = mask.shape
    inside = [x for x in range(width) if mask[:, x].any()]
    extent, crop = max(inside) - min(inside), height
    left = max(0, min(width - crop - 1, min(inside) + extent * 1.0 - crop))
    return left, max(left + 1, min(width - crop, min(inside) + extent * 1.0))


def test_crop_range_is_the_formula_on_random_holes():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = np.zeros((10, rng.integers(11, 40)), bool)
        a, b = np.sort(rng.integers(0, mask.shape[1], 2))
        mask[3, a] = mask[5, b] = True
        assert crop_range(mask) == published_range(mask) == crop_range(mask.T)


def test_pictures_of_one_name_are_refused(photos, tmp_path):
    Image.new("RGB", (40, 40)).save(photos / "tall.jpg")
    with pytest.raises(ValueError, match="tall.jpg and tall.png.*rename one"):
        make(settings(images=photos), tmp_path / "set", progress=False)
    assert not (tmp_path / "set").exists()


def test_variants_are_independent(monkeypatch, tmp_path):
    """Masks of one call of sample are spread evenly; the published sets draw them one by one."""
    numbers, sample = [], sets.masks.sample

    def spy(preset, size, n, rng, **options):
        numbers.append(n)
        return sample(preset, size, n, rng, **options)

    monkeypatch.setattr(sets.masks, "sample", spy)
    make(settings(scenes=2, variants=4), tmp_path / "a", progress=False)
    assert numbers == [1] * 8
