"""Sources: mixtures with the right odds; samples that depend on the generator alone."""

from __future__ import annotations

import multiprocessing
import pickle
import time
import warnings

import numpy as np
import pytest
import torch
from helpers import noise, rng
from PIL import Image

from lama_ref.pictures import photographs, scenes
from lama_ref.pictures.augment import AUGMENTATIONS
from lama_ref.pictures.sources import GIVE_UP, Scenes, open_sources, parse


def write(folder, n, colour=None):
    """n photographs in a folder; of one colour, or noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        picture = Image.new("RGB", (40, 30), colour or 0)
        if colour is None:
            picture = Image.fromarray(noise(30, 40, i))
        picture.save(folder / f"{i:03}.png")
    return str(folder)


@pytest.fixture
def photos(tmp_path):
    return write(tmp_path / "photos", 6)


def digest(mixture, n=12, size=16):
    return [mixture.sample(size, rng((7, i))).tobytes() for i in range(n)]


# --- what the words mean ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("scenes", ("scenes", 1)),
        ("scenes:0.3", ("scenes", 0.3)),
        ("photos/", ("photos/", 1)),
        ("photos/:0.7", ("photos/", 0.7)),
        ("a/b:c/d:2e1", ("a/b:c/d", 20)),
        ("a:b/c", ("a:b/c", 1)),
        ("C:\\photos", ("C:\\photos", 1)),
        ("C:/photos", ("C:/photos", 1)),
        ("C:\\photos:0.5", ("C:\\photos", 0.5)),
    ],
)
def test_parse(spec, expected):
    assert parse(spec) == expected


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "half", ""])
def test_a_weight_must_be_positive(weight):
    with pytest.raises(ValueError, match=f'source is "photos:{weight}"; expected.*"photos:0.5"'):
        open_sources([f"photos:{weight}"])


def test_a_folder_whose_name_ends_in_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        write(tmp_path / "run:2", 1)
    except OSError:
        pytest.skip("no colons in names here")
    assert str(open_sources(["run:2"])) == "100 % run:2 (1 files)"
    assert open_sources(["run:2:3"]).sources[0].weight == 3


def test_what_cannot_be_opened(tmp_path, photos):
    with pytest.raises(ValueError, match='no source of pictures; expected "scenes" or a folder'):
        open_sources([])
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        open_sources(["scenes", str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image in .*empty.*found no file"):
        open_sources([f"{tmp_path / 'empty'}:2"])
    for options, message in (
        ({"augmentations": ("flip", "zoom")}, "no augmentation 'zoom'"),
        ({"zoom": (3, 2)}, r"zoom is \(3, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            open_sources([photos], **options)
    for name in (photos, "scenes"):
        with pytest.raises(ValueError, match="size is 0; expected"):
            open_sources([name]).sample(0, rng())
    with pytest.raises(ValueError, match=':0.5"'):
        open_sources([":1"])


def test_one_line_says_what_is_mixed(photos):
    assert str(open_sources(["scenes:0.3", f"{photos}:0.7"])) == (
        f"30 % scenes, 70 % {photos} (6 files)"
    )
    assert str(open_sources(["scenes:1", "scenes:2"])) == "33.3 % scenes, 66.7 % scenes"
    assert str(open_sources("scenes")) == "100 % scenes"


# --- odds, contents ---------------------------------------------------------------------------


def test_weights_are_relative_odds(tmp_path):
    red, blue = write(tmp_path / "r", 2, "red"), write(tmp_path / "b", 9, "blue")
    mixture = open_sources([f"{red}:3", f"{blue}:1"], augmentations=())
    drawn = np.array([mixture.sample(2, rng(i))[:, 0, 0] for i in range(600)])
    assert set(map(tuple, drawn)) == {(1, 0, 0), (0, 0, 1)}
    assert drawn[:, 0].mean() == pytest.approx(0.75, abs=0.07)  # 4 standard deviations


def test_all_files_of_a_folder_are_drawn_alike(tmp_path):
    for i in range(5):
        write(tmp_path / f"deep{i}" / "er", 1, (50 * i, 0, 0))
    mixture = open_sources([str(tmp_path)], augmentations=())
    drawn = [int(mixture.sample(2, rng(i))[0, 0, 0] * 255 + 0.5) // 50 for i in range(500)]
    counts = np.bincount(drawn, minlength=5)
    assert len(counts) == 5 and (np.abs(counts - 100) < 40).all()


def test_names_are_those_of_the_folder(tmp_path):
    for name in ("a/ä b.png", "z.JPG", "日本.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (source,) = open_sources([str(tmp_path)]).sources
    assert [source.path(i) for i in range(3)] == photographs.list_images(tmp_path)


def test_augmentations_and_zoom_reach_the_photographs(tmp_path):
    y, x = np.mgrid[0:60, 0:100]
    folder = tmp_path / "ramp"
    folder.mkdir()
    Image.fromarray(np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)).save(folder / "a.png")
    plain = open_sources([str(folder)], augmentations=(), zoom=(2, 2))
    crops = np.stack([plain.sample(10, rng(i)) for i in range(40)]) * 255
    assert (np.ptp(crops[:, 0], axis=(1, 2)).round() == 36).all()  # 18 pixels of 2 each
    assert (np.diff(crops[:, 0], axis=-1) > 0).all()
    flipped = open_sources([str(folder)], augmentations=("flip",), zoom=(2, 2))
    signs = [np.sign(np.diff(flipped.sample(10, rng(i))[0, 0])[0]) for i in range(40)]
    assert set(signs) == {-1, 1}


def test_scenes_are_seen_from_near(monkeypatch):
    views, render = [], scenes.Scene.render

    def spy(scene, size, view):
        views.append(view)
        return render(scene, size, view)

    monkeypatch.setattr(scenes.Scene, "render", spy)
    mixture = open_sources(["scenes"])
    for i in range(150):
        picture = mixture.sample(8, rng(i))
        assert picture.shape == (3, 8, 8) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 1
    assert 0.4 <= min(views) < 0.42 and 0.97 < max(views) <= 1
    assert np.median(views) == pytest.approx(np.sqrt(0.4), abs=0.05)  # log-uniform
    flips = Scenes("scenes", 1, ("flip",)), Scenes("scenes", 1, ())
    pairs = [[source.sample(8, rng(i), None) for source in flips] for i in range(20)]
    assert all(any(np.array_equal(a, c) for c in (b, b[:, :, ::-1])) for a, b in pairs)
    assert 4 < sum(not np.array_equal(a, b) for a, b in pairs) < 16


def test_periodic_scenes_show_one_pattern():
    source = Scenes("periodic", 1, ())
    for i in range(10):
        pixels = source.sample(48, rng(i), None).reshape(3, -1).T
        assert len(np.unique((pixels * 255).round(), axis=0)) < 0.5 * len(pixels)  # flat colours
    assert str(open_sources(["periodic:0.2", "scenes:0.8"])) == "20 % periodic, 80 % scenes"


@pytest.mark.parametrize("names", [("flip", "colour"), AUGMENTATIONS])
def test_fast_enough_to_feed_training(tmp_path, names):
    Image.fromarray(noise(768, 1024)).save(tmp_path / "a.png")
    for name in (str(tmp_path), "scenes"):
        mixture, times = open_sources([name], augmentations=names), []
        for seed in range(60):
            start = time.process_time()
            mixture.sample(96, rng(seed))
            times.append(time.process_time() - start)
        assert np.median(times) < 15e-3  # 1 to 4 ms on one core of the machine where it was written


# --- samples depend on the generator alone ----------------------------------------------------


def test_opening_reads_no_file(photos, monkeypatch):
    monkeypatch.setattr(photographs, "read_image", None)
    monkeypatch.setattr(photographs.Image, "open", None)
    assert str(open_sources([photos])).endswith("(6 files)")


def test_the_cache_changes_nothing_but_speed(photos, monkeypatch):
    reads, read = [], photographs.read_image
    monkeypatch.setattr(photographs, "read_image", lambda path: reads.append(path) or read(path))
    each = 40 * 30 * 3
    results, counts, kept = [], [], []
    for limit in (0, 2 * each, 3 * each - 1, 2**30):
        reads.clear()
        mixture = open_sources([photos, "scenes"], cache_bytes=limit)
        results.append(digest(mixture, 40))
        counts.append(len(reads))
        kept.append(mixture._bytes // each)
        assert mixture._bytes <= limit
    assert all(result == results[0] for result in results)
    assert kept == [0, 2, 2, 6]
    assert counts[0] > counts[1] == counts[2] > counts[3] == 6  # each once at the most


def test_order_and_history_change_nothing(photos):
    mixture = open_sources([photos, "scenes"])
    first = digest(mixture)
    again = pickle.loads(pickle.dumps(mixture))
    assert digest(mixture) == digest(again) == first and str(again) == str(mixture)
    assert [mixture.sample(16, rng((7, i))).tobytes() for i in reversed(range(12))] == first[::-1]
    assert len(set(first)) == 12
    assert digest(open_sources([photos, "scenes"], augmentations=())) != first


class Batches(torch.utils.data.Dataset):
    def __init__(self, mixture):
        self.mixture = mixture

    def __len__(self):
        return 12

    def __getitem__(self, i):
        picture = torch.from_numpy(self.mixture.sample(16, rng((7, i))))
        return picture, self.mixture._bytes


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_draw_the_same_samples(photos, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    limit = 2 * 40 * 30 * 3  # shared by two: one photograph each
    mixture = open_sources([photos, "scenes"], cache_bytes=limit)
    loader = torch.utils.data.DataLoader(
        Batches(mixture), None, num_workers=2, multiprocessing_context=method
    )
    pictures, cached = zip(*loader)
    assert [picture.numpy().tobytes() for picture in pictures] == digest(mixture)
    assert max(cached) == limit // 2


# --- files that cannot be read ----------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """A folder of three photographs and three files that are none."""
    folder = tmp_path / "photos"
    write(folder, 3)
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("hello")
    cut = (folder / "000.png").read_bytes()
    (folder / "cut.png").write_bytes(cut[: len(cut) // 2])
    return str(folder)


def test_unreadable_files_are_counted_replaced_and_named_once(damaged):
    broken = open_sources([damaged])
    with pytest.warns(UserWarning, match="skipping an unreadable file") as caught:
        first = digest(broken, 30)
    named = sorted(str(w.message).split("photos")[1].split(" ")[0] for w in caught)
    assert [name.strip("/\\") for name in named] == ["cut.png", "empty.png", "text.jpg"]
    count = broken.skipped
    assert 15 < count < 60  # half of the draws
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert digest(broken, 30) == first  # the same replacements
    assert broken.skipped == 2 * count  # the same draws, whoever asks


@pytest.mark.filterwarnings("ignore:skipping")
def test_replacements_do_not_depend_on_what_is_known(damaged):
    known = open_sources([damaged])
    digest(known, 60)
    fresh, before = open_sources([damaged], cache_bytes=0), known.skipped
    assert digest(fresh, 20) == digest(known, 20)
    assert known.skipped - before == fresh.skipped


def test_files_that_vanish_are_skipped(tmp_path, photos):
    mixture = open_sources([photos])
    (tmp_path / "photos" / "001.png").unlink()
    with pytest.warns(UserWarning, match=r"001\.png does not exist"):
        digest(mixture, 30)
    assert mixture.skipped > 0


@pytest.mark.filterwarnings("ignore:skipping")
def test_a_source_with_nothing_readable_is_fatal(tmp_path, photos):
    folder = tmp_path / "bad"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.jpg").write_text("hello")
    mixture = open_sources([photos, str(folder)])
    with pytest.raises(ValueError, match=rf"{GIVE_UP} files in a row.*bad.*cannot read.*\d\.jpg"):
        digest(mixture, 30)
    assert mixture.skipped == GIVE_UP
