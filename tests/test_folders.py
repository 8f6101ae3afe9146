"""Photographs: folders of any shape, and every kind of file, the right way up."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import noise
from PIL import Image

from lama_ref.pictures import photographs
from lama_ref.pictures.photographs import image_names, list_images, read_image, to_image, to_tensor


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth picture (40, 60, 3) whose four corners differ."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], -1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, picture):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.fromarray(picture).save(tmp_path / "b.png")
    Image.fromarray(picture[::-1].copy()).save(tmp_path / "deep" / "a.BMP")
    Image.fromarray(picture[:, ::-1].copy()).save(tmp_path / "deep" / "er" / "c.JpEg", "JPEG")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


ONCE = ["b.png", "deep/a.BMP", "deep/er/c.JpEg"]


def names_in(folder):
    return [Path(name).as_posix() for name in image_names(folder)]


def test_list_images_errors(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder.*check the path"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"notes\.txt is not a folder"):
        list_images(folder / "notes.txt")
    with pytest.raises(ValueError, match=r"no image in .*folder\.png"):
        list_images(folder / "folder.png")
    (folder / "folder.png" / "photo.HEIC").touch()
    (folder / "folder.png" / "other.heic").touch()
    (folder / "folder.png" / "README").touch()
    with pytest.raises(ValueError, match=r"expected \.jpg.*found 2 \.heic, 1 without suffix"):
        list_images(folder / "folder.png")


def test_order_is_that_of_sorted_paths(tmp_path):
    """Part by part, as pathlib compares: "a-b.png" < "a/z.png" as strings, not as paths."""
    for name in ("a/z.png", "a-b.png", "a.png", "a/b/c.png", "b.png", "Z.png", "a b/q.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == sorted(tmp_path.rglob("*.png"))


def test_hidden_files_are_left_out(folder):
    (folder / "._b.png").touch()  # macOS keeps notes on b.png in it
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "b.png").touch()
    (folder / "deep" / "movie.mp4").touch()
    assert names_in(folder) == ONCE


def test_links_are_followed_but_not_in_circles(tmp_path, folder):
    try:
        (folder / "deep" / "back").symlink_to(folder, target_is_directory=True)
        (folder / "elsewhere").symlink_to(folder / "deep", target_is_directory=True)
        (folder / "gone.png").symlink_to(folder / "nowhere.png")  # named: it is unreadable
        (folder / "itself.png").symlink_to(folder / "itself.png")
    except OSError:
        pytest.skip("no links on this system")
    assert names_in(folder) == [*ONCE, "gone.png", "itself.png"]
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "x.png").touch()
    (folder / "deep" / "link").symlink_to(outside, target_is_directory=True)
    assert "deep/link/x.png" in names_in(folder)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads anything")
def test_a_folder_that_cannot_be_read_is_named(folder):
    (folder / "deep" / "er").chmod(0)
    try:
        with pytest.raises(PermissionError, match="er"):
            image_names(folder)
    finally:
        (folder / "deep" / "er").chmod(0o755)


def test_listing_reads_no_file(folder, monkeypatch):
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(Path, "stat", None)
    assert len(list_images(folder)) == 3


@pytest.fixture
def saved(tmp_path):
    """Save (an array or a PIL image) and read again."""

    def through(image, suffix=".png", **options) -> np.ndarray:
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        path = tmp_path / f"image{suffix}"
        image.save(path, **options)
        array = read_image(path)
        assert array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3
        array[0, 0] = array[0, 0]  # writable
        return array

    return through


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK"])
def test_read_is_what_pillow_shows(saved, picture, mode):
    """To a level or two; JPEG on average only."""
    image = Image.fromarray(picture)
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    expected = np.array(image.convert("RGB")).astype(int)
    kinds = {"RGB": (".bmp", ".tif", ".png"), "CMYK": (".tif",)}.get(mode, (".png",))
    for suffix in kinds:
        assert np.abs(saved(image, suffix) - expected).max() <= (2 if mode == "CMYK" else 0)
    if mode == "RGB":
        assert np.array_equal(saved(image, ".webp", lossless=True), expected)
    if mode in ("RGB", "CMYK"):
        assert np.abs(saved(image, ".jpg", quality=95) - expected).mean() < 6
    if mode == "P":
        clear = saved(image, transparency=int(np.asarray(image)[0, 0]))
        assert (clear[0, 0] == 255).all() and np.array_equal(clear[-1, -1], expected[-1, -1])


def test_read_alpha_lies_on_white(saved, picture):
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 128
    array = saved(np.dstack([picture, alpha]))
    assert (array[:10] == 255).all()
    half = 255 + (picture[10:20].astype(float) - 255) * 128 / 255
    assert np.abs(array[10:20] - half).max() <= 1
    assert np.array_equal(array[20:], picture[20:])
    grey = saved(Image.fromarray(np.dstack([picture[..., 0], alpha]), "LA"))
    assert (grey[:10] == 255).all() and np.array_equal(grey[20:, :, 2], picture[20:, :, 0])


@pytest.mark.parametrize(
    ("values", "suffixes", "expected"),
    [
        (np.uint16([0, 128, 129, 257, 32768, 65407, 65535]), (".png", ".tif"),
         [0, 0, 1, 1, 128, 255, 255]),
        (np.float32([0, 0.25, 1]), (".tif",), [0, 64, 255]),
        (np.float32([0, 50, 200]), (".tif",), [0, 50, 200]),
    ],
)  # fmt: skip
def test_deep_files_are_scaled_not_clipped(saved, values, suffixes, expected):
    for suffix in suffixes:
        assert saved(values[None], suffix)[0, :, 1].tolist() == expected


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (3, lambda a: a[::-1, ::-1]),  # turned by 180 degrees
        (2, lambda a: a[:, ::-1]),  # mirrored
        (6, lambda a: np.rot90(a, 1)),  # to be turned clockwise
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_read_applies_exif_orientation(saved, picture, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = np.ascontiguousarray(stored(picture))
    assert np.array_equal(saved(image, exif=exif), picture)
    turned = saved(image, ".jpg", exif=exif, quality=95)
    assert turned.shape == picture.shape
    assert np.abs(turned.astype(int) - picture).mean() < 4


def test_read_truncated_damaged_missing(tmp_path):
    for suffix in (".jpg", ".png", ".webp"):
        path = tmp_path / f"cut{suffix}"
        Image.fromarray(noise(64, 64)).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=rf"cannot read .*cut\{suffix}.*replace or remove"):
            read_image(path)
    for content in (b"", b"hello"):
        (tmp_path / "no.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"no\.png"):
            read_image(tmp_path / "no.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png")


def test_tensor_and_image_are_inverse(picture):
    tensor = to_tensor(picture)
    assert tensor.shape == (3, 40, 60) and tensor.dtype == torch.float32
    assert tensor[0, 3, 7] == picture[3, 7, 0] / np.float32(255)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(np.asarray(to_image(to_tensor(every))), every)
    assert np.array_equal(np.asarray(to_image(tensor)), picture)


def test_to_image_rounds_and_clips():
    values = torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 99.6 / 255, 2.0]).expand(3, 1, 5)
    assert np.asarray(to_image(values))[0, :, 0].tolist() == [0, 0, 1, 100, 255]
    assert to_image(torch.rand(3, 4, 6, dtype=torch.float64, requires_grad=True)).size == (6, 4)


def test_conversion_errors(picture):
    for array in (picture[..., 0], picture.astype(float), picture.transpose(2, 0, 1)):
        with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
            to_tensor(array)
    for tensor in (torch.rand(1, 3, 4, 4), torch.rand(4, 4, 3), torch.zeros(3, 4, 4).int()):
        with pytest.raises(ValueError, match=r"expected float \(3, H, W\)"):
            to_image(tensor)


def test_sample_photos():
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    photos = photographs.sample_photos()
    expected = {"astronaut", "chelsea", "coffee", "grace_hopper", "motorcycle", "rocket"}
    assert set(photos) == expected
    for photo in photos.values():
        assert photo.dtype == np.uint8 and photo.ndim == 3 and min(photo.shape[:2]) >= 300
        assert photo.std() > 20
    assert np.array_equal(photographs.sample_photo("coffee"), photos["coffee"])
    with pytest.raises(ValueError, match="no sample photograph 'lena'.*astronaut"):
        photographs.sample_photo("lena")


def test_sample_photos_missing(monkeypatch):
    monkeypatch.setattr(photographs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-image matplotlib"):
        photographs.sample_photos()
