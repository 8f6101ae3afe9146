"""Photographs: every kind of file, the right way up, and crops with the promised contents."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lama_ref.data import folders
from lama_ref.data.folders import Photos, list_images, read_image, to_image, to_tensor


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


def test_list_images(folder):
    names = [path.relative_to(folder).as_posix() for path in list_images(str(folder))]
    assert names == ["b.png", "deep/a.BMP", "deep/er/c.JpEg"]


def test_list_images_errors(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder.*check the path"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"notes\.txt is not a folder"):
        list_images(folder / "notes.txt")
    with pytest.raises(ValueError, match=r"no image in .*folder\.png"):
        list_images(folder / "folder.png")


def saved(tmp_path, image: Image.Image, suffix: str = ".png", **options) -> np.ndarray:
    path = tmp_path / f"image{suffix}"
    image.save(path, **options)
    array = read_image(path)
    assert array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3
    array[0, 0] = array[0, 0]  # writable
    return array


def test_read_rgb_is_exact(tmp_path, picture):
    for suffix in (".png", ".bmp", ".tif"):
        assert np.array_equal(saved(tmp_path, Image.fromarray(picture), suffix), picture)
    lossless = saved(tmp_path, Image.fromarray(picture), ".webp", lossless=True)
    assert np.array_equal(lossless, picture)
    lossy = saved(tmp_path, Image.fromarray(picture), ".jpg", quality=95)
    assert np.abs(lossy.astype(int) - picture).mean() < 4


def test_read_grey_and_binary(tmp_path, picture):
    grey = picture[..., 0]
    assert np.array_equal(saved(tmp_path, Image.fromarray(grey)), np.repeat(grey[..., None], 3, 2))
    binary = saved(tmp_path, Image.fromarray(grey > 100))
    assert np.array_equal(binary[..., 1], np.where(grey > 100, 255, 0))


def test_read_alpha_lies_on_white(tmp_path, picture):
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 128
    array = saved(tmp_path, Image.fromarray(np.dstack([picture, alpha])))
    assert (array[:10] == 255).all()
    half = 255 + (picture[10:20].astype(float) - 255) * 128 / 255
    assert np.abs(array[10:20] - half).max() <= 1
    assert np.array_equal(array[20:], picture[20:])

    grey = saved(tmp_path, Image.fromarray(np.dstack([picture[..., 0], alpha]), "LA"))
    assert (grey[:10] == 255).all() and np.array_equal(grey[20:, :, 2], picture[20:, :, 0])


def test_read_palette(tmp_path, picture):
    image = Image.fromarray(picture).quantize(16)
    expected = np.array(image.convert("RGB"))
    assert np.array_equal(saved(tmp_path, image), expected)
    clear = saved(tmp_path, image, transparency=int(np.asarray(image)[0, 0]))
    assert (clear[0, 0] == 255).all()
    assert np.array_equal(clear[-1, -1], expected[-1, -1])


def test_read_cmyk(tmp_path, picture):
    image = Image.fromarray(picture).convert("CMYK")
    array = saved(tmp_path, image, ".tif")
    assert np.abs(array.astype(int) - picture).max() <= 2
    array = saved(tmp_path, image, ".jpg", quality=95)
    assert np.abs(array.astype(int) - picture).mean() < 6


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_read_16_bit_is_scaled_not_clipped(tmp_path, suffix):
    values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    array = saved(tmp_path, Image.fromarray(values), suffix)
    assert array[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 255]


def test_read_float_tiff(tmp_path):
    values = np.array([[0, 0.25, 1.0]], np.float32)
    assert saved(tmp_path, Image.fromarray(values), ".tif")[0, :, 1].tolist() == [0, 64, 255]
    assert saved(tmp_path, Image.fromarray(values * 200), ".tif")[0, :, 1].tolist() == [0, 50, 200]


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (3, lambda a: a[::-1, ::-1]),  # turned by 180 degrees
        (2, lambda a: a[:, ::-1]),  # mirrored
        (6, lambda a: np.rot90(a, 1)),  # to be turned clockwise
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_read_applies_exif_orientation(tmp_path, picture, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored(picture)))
    assert np.array_equal(saved(tmp_path, image, exif=exif), picture)
    turned = saved(tmp_path, image, ".jpg", exif=exif, quality=95)
    assert turned.shape == picture.shape
    assert np.abs(turned.astype(int) - picture).mean() < 4


def test_read_truncated_damaged_missing(tmp_path, picture):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in (".jpg", ".png", ".webp"):
        path = tmp_path / f"cut{suffix}"
        Image.fromarray(noise).save(path)
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


def test_photos_skips_and_counts_damaged_files(folder):
    (folder / "bad.png").write_bytes(b"hello")
    photos = Photos(folder)
    assert len(photos) == 3 and photos.skipped == 1
    assert photos.crops(2, 16, np.random.default_rng(0)).shape == (2, 3, 16, 16)


def test_photos_with_nothing_readable(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match="none of 1 images"):
        Photos(tmp_path)
    with pytest.raises(FileNotFoundError):
        Photos(tmp_path / "nowhere")


def test_crops_are_deterministic_and_do_not_need_the_cache(folder):
    first = Photos(folder).crops(6, 16, np.random.default_rng(3))
    again = Photos(folder, cache=False).crops(6, 16, np.random.default_rng(3))
    assert first.dtype == np.float32 and first.min() >= 0 and first.max() <= 1
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != Photos(folder).crops(6, 16, np.random.default_rng(4)).tobytes()


def test_cached_photos_are_read_once(folder, monkeypatch):
    cached, fresh = Photos(folder), Photos(folder, cache=False)
    calls = []
    monkeypatch.setattr(folders, "read_image", lambda path: calls.append(path) or read_image(path))
    cached.crops(5, 8, np.random.default_rng(0))
    assert not calls
    fresh.crops(5, 8, np.random.default_rng(0))
    assert len(calls) == 5


def test_crops_at_zoom_one_are_windows_of_the_photo(tmp_path, picture):
    """Red tells x and green tells y, so each crop says where it was cut and if mirrored."""
    Image.fromarray(picture).save(tmp_path / "only.png")
    crops = Photos(tmp_path).crops(60, 16, np.random.default_rng(0), zoom=(1, 1), colour=False)
    mirrored, corners = 0, set()
    for crop in (crops * 255).round().astype(np.uint8).transpose(0, 2, 3, 1):
        if crop[0, 0, 0] > crop[0, -1, 0]:
            crop, mirrored = crop[:, ::-1], mirrored + 1
        left, top = crop[0, 0, 0] // 4, crop[0, 0, 1] // 6
        assert np.array_equal(crop, picture[top : top + 16, left : left + 16])
        corners.add((left, top))
    assert 15 < mirrored < 45
    assert len(corners) > 40
    lefts, tops = zip(*corners, strict=True)
    assert min(lefts) < 6 and max(lefts) > 38 and min(tops) < 4 and max(tops) > 20


def test_zoom_sets_the_source_side(tmp_path, picture):
    """The range of red in a crop is four times its source width."""
    Image.fromarray(picture).save(tmp_path / "only.png")
    photos = Photos(tmp_path)

    def widths(zoom):
        crops = photos.crops(80, 8, np.random.default_rng(0), zoom=zoom, colour=False)
        return np.ptp(crops[:, 0, 4], axis=1) * 255 / 4 * 8 / 7  # 7 steps between 8 pixels

    assert widths((2, 2)) == pytest.approx(16, abs=1.5)
    spread = widths((1, 4))
    assert spread.min() < 10 and spread.max() > 27 and spread.max() < 34
    assert np.median(spread) == pytest.approx(16, abs=3)  # log-uniform on 8 to 32
    assert widths((20, 30)) == pytest.approx(40, abs=2)  # never beyond the photograph


def test_shrinking_is_antialiased(tmp_path):
    """A checker of single pixels becomes even grey."""
    checker = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checker).save(tmp_path / "checker.png")
    crops = Photos(tmp_path).crops(5, 16, np.random.default_rng(0), zoom=(4, 4), colour=False)
    assert np.abs(crops - 0.5).max() < 0.06


def test_small_photos_are_enlarged(tmp_path, picture):
    Image.fromarray(picture[:5, :7]).save(tmp_path / "small.png")
    crops = Photos(tmp_path).crops(3, 32, np.random.default_rng(0), colour=False)
    assert crops.shape == (3, 3, 32, 32)
    assert crops[:, 1].max() * 255 == pytest.approx(24, abs=1)  # all 5 rows are seen
    assert Photos(tmp_path).crops(0, 32, np.random.default_rng(0)).shape == (0, 3, 32, 32)


def test_colour_varies_mildly_and_keeps_the_order(tmp_path, picture):
    Image.fromarray(picture[:16, :16] // 2 + 60).save(tmp_path / "only.png")
    photos = Photos(tmp_path)
    crops = photos.crops(40, 16, np.random.default_rng(0))
    original = photos[0].transpose(2, 0, 1) / 255
    means = crops.mean((2, 3))
    assert np.abs(means - original.mean((1, 2))).max() < 0.25
    assert means.std(0).min() > 0.02
    hues = means - means.mean(1, keepdims=True)
    assert (hues / np.linalg.norm(hues, axis=1, keepdims=True)).std(0).max() > 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n is -1"),
        ({"size": 0}, "size is 0"),
        ({"zoom": (2, 1)}, r"zoom is \(2, 1\)"),
        ({"zoom": (0, 1)}, r"zoom is \(0, 1\)"),
    ],
)
def test_bad_crops(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        Photos(folder).crops(**({"n": 1, "size": 8, "rng": np.random.default_rng(0)} | arguments))


def test_sample_photos():
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    photos = folders.sample_photos()
    expected = {"astronaut", "chelsea", "coffee", "grace_hopper", "motorcycle", "rocket"}
    assert set(photos) == expected
    for photo in photos.values():
        assert photo.dtype == np.uint8 and photo.ndim == 3 and min(photo.shape[:2]) >= 300
        assert photo.std() > 20
    assert np.array_equal(folders.sample_photo("coffee"), photos["coffee"])
    with pytest.raises(ValueError, match="no sample photograph 'lena'.*astronaut"):
        folders.sample_photo("lena")


def test_sample_photos_missing(monkeypatch):
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-image matplotlib"):
        folders.sample_photos()


def test_imports_stay_light():
    code = (
        "import sys, lama_ref.data.folders, lama_ref.data.scenes;"
        "print([m for m in ('cv2', 'skimage', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_fast_enough_to_feed_training(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    photos, rng = Photos(tmp_path), np.random.default_rng(0)
    times = []
    for _ in range(3):
        start = time.process_time()
        photos.crops(20, 128, rng)
        times.append((time.process_time() - start) / 20)
    assert min(times) < 6e-3  # 1.1 ms on one core of the machine where it was written
