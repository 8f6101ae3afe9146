"""Runs: they continue bit for bit, survive what happens to them, and say what stopped them."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import helpers
import numpy as np
import pytest
import torch
from PIL import Image

from lama_ref import training
from lama_ref.discriminator import build_discriminator
from lama_ref.generator import PRESETS, Generator, GeneratorConfig, build_generator
from lama_ref.losses import LossWeights
from lama_ref.perceptual import Remembering
from lama_ref.runs import assemble, disk, loop
from lama_ref.runs.batches import Batches, batches
from lama_ref.runs.loop import train
from lama_ref.runs.recipes import PRESETS as RECIPES
from lama_ref.runs.recipes import TrainConfig, from_dict
from lama_ref.weights import format
from lama_ref.weights.files import checksum
from lama_ref.weights.format import load_generator, save_training
from lama_ref.weights.names import load_training

SMALL = dict(
    generator="tiny", data=("scenes",), stages=((0.0, 32, 2),), steps=6, save_every=2, settle=2,
    warmup=1, l1_until=0.5, log_every=3, panel_every=100, discriminator_width=4,
)  # fmt: skip
TOOLS = Path(__file__).parent / "tools"


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", GeneratorConfig(blocks=1, width=4, downsamplings=2))


def config(**changes) -> TrainConfig:
    return TrainConfig(**SMALL | changes)


def log(folder: Path) -> list[dict]:
    """Without what the clock says."""
    timed = ("seconds", "data_share")
    return [{k: v for k, v in line.items() if k not in timed} for line in helpers.log(folder)]


def same_files(a: Path, b: Path) -> bool:
    return all(
        (a / f"{name}.safetensors").read_bytes() == (b / f"{name}.safetensors").read_bytes()
        for name in ("weights", "training")
    )


@pytest.fixture
def cut_off(monkeypatch):
    """Trains until the power is cut before a step."""

    def run(settings: TrainConfig, folder: Path, step: int) -> None:
        original = loop.training_step

        def dies(state, *args):
            if state.step == step:
                raise RuntimeError("power cut")
            return original(state, *args)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "training_step", dies)
            with pytest.raises(RuntimeError, match="power cut"):
                train(settings, folder, progress=False)

    return run


# --------------------------------------------------------------------------- continuing
@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize("settings", [{}, {"precision": "bfloat16", "average": None}], ids=str)
def test_continued_equals_uninterrupted(tmp_path, settings, step, cut_off):
    settings = config(**settings)
    train(settings, tmp_path / "whole", progress=False)
    cut_off(settings, tmp_path / "cut", step)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    torch.manual_seed(99)  # the run has its own random states
    train(settings, tmp_path / "cut", progress=False)
    assert same_files(tmp_path / "whole", tmp_path / "cut")
    assert log(tmp_path / "whole") == log(tmp_path / "cut")
    assert [line["step"] for line in log(tmp_path / "cut")] == [3, 6]
    ends = [disk.load_checkpoint(tmp_path / run)["random"] for run in ("whole", "cut")]
    assert torch.equal(ends[0]["torch"], ends[1]["torch"])


def test_nothing_is_drawn_from_the_random_states_of_python_and_numpy(tmp_path):
    """They are no part of a checkpoint."""
    for value in (0, 1):
        random.seed(value), np.random.seed(value)
        before = random.getstate(), np.random.get_state()[1:3]
        train(config(), tmp_path / str(value), progress=False)
        after = random.getstate(), np.random.get_state()[1:3]
        assert before[0] == after[0] and before[1][1] == after[1][1]
        assert np.array_equal(before[1][0], after[1][0])
    assert same_files(tmp_path / "0", tmp_path / "1")


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    """SIGKILL 24 times, every other time while a checkpoint is being written."""
    done = subprocess.run(
        [sys.executable, TOOLS / "kill_runs.py", tmp_path, "24"],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] >= 20 and report["while_writing"] >= 8, report
    assert len(set(report["steps"])) >= 15 and max(report["steps"]) > 100, report
    assert report["same_weights"] and report["same_log"], report
    assert report["leftovers"] == []


def test_torchs_random_state_is_part_of_the_checkpoint(tmp_path, monkeypatch, cut_off):
    """Nothing in a step draws from it so far; a variant with dropout would."""

    def noisy(*args):
        torch.rand(1)
        return training.training_step(*args)

    monkeypatch.setattr(loop, "training_step", noisy)
    train(config(), tmp_path / "whole", progress=False)
    cut_off(config(), tmp_path / "cut", 3)
    torch.manual_seed(0)
    train(config(), tmp_path / "cut", progress=False)
    whole, cut = (disk.load_checkpoint(tmp_path / run)["random"] for run in ("whole", "cut"))
    assert torch.equal(whole["torch"], cut["torch"])


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path):
    train(config(), tmp_path, progress=False)
    path = tmp_path / disk.CHECKPOINT
    good = path.read_bytes()
    flipped = bytearray(good)
    with zipfile.ZipFile(path) as archive:  # in the middle of the largest tensor
        entry = max(archive.infolist(), key=lambda e: e.file_size)
    at = entry.header_offset + 200 + entry.file_size // 2
    flipped[at : at + 8] = bytes(b ^ 0xFF for b in flipped[at : at + 8])
    path.write_bytes(flipped)
    assert torch.load(path, weights_only=True)["step"] == 6  # torch does not notice
    for damaged in (flipped, good[:5000], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot continue: .*checkpoint.pt is damaged.*anew"):
            train(config(), tmp_path, progress=False)
        assert path.read_bytes() == damaged
    path.write_bytes(good)
    train(config(), tmp_path, progress=False)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "panels").mkdir()
    left = [".checkpoint.pt.x1", ".log.jsonl.x2", ".weights.safetensors.x3", "panels/.01.jpg.x.jpg"]
    for name in (*left, ".notes", ".DS_Store"):
        (tmp_path / name).touch()
    train(config(), tmp_path, progress=False)
    assert not any((tmp_path / name).exists() for name in left)
    assert (tmp_path / ".notes").exists() and (tmp_path / ".DS_Store").exists()


def test_after_a_loss_that_is_no_number_one_begins_from_the_last_checkpoint(tmp_path, monkeypatch):
    original = loop.training_step

    def breaks(state, *args):
        terms = original(state, *args)
        return terms | {"l1": terms["l1"] * (float("nan") if state.step == 4 else 1)}

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", breaks)
        with pytest.raises(
            FloatingPointError, match=f"--start {re.escape(str(tmp_path))}"
        ) as error:
            train(config(), tmp_path / "a", progress=False)
    assert "lower lr" in str(error.value)
    g, d = assemble.load_start(tmp_path / "a")
    saved = disk.load_checkpoint(tmp_path / "a")
    for network, name in ((g, "generator"), (d, "discriminator")):
        assert all(torch.equal(v, saved[name][k]) for k, v in network.state_dict().items())
    train(config(start=str(tmp_path / "a")), tmp_path / "b", progress=False)


def test_one_process_at_a_time(tmp_path):
    with disk.locked(tmp_path / "run"):
        with pytest.raises(BlockingIOError, match="another process is training in .*run"):
            train(config(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    train(config(), tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_goes_on_in_another_place_without_what_it_began_with(tmp_path, cut_off):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.fromarray(np.full((40, 50, 3), 60 * i, np.uint8)).save(photos / f"{i}.png")
    format.save(build_generator("tiny"), tmp_path / "start.safetensors")
    first = config(data=(f"{photos}:0.5", "scenes"), start=str(tmp_path / "start.safetensors"))
    train(first, tmp_path / "whole", progress=False)
    cut_off(first, tmp_path / "cut", 4)
    (tmp_path / "start.safetensors").unlink()
    photos.rename(tmp_path / "moved")
    (tmp_path / "cut").rename(tmp_path / "elsewhere")
    moved = replace(first, data=(f"{tmp_path / 'moved'}:0.5", "scenes"))
    train(moved, tmp_path / "elsewhere", progress=False)
    assert same_files(tmp_path / "whole", tmp_path / "elsewhere")
    (tmp_path / "moved" / "2.png").rename(tmp_path / "moved" / "3.png")  # not the same files
    with pytest.raises(ValueError, match="holds a run with data="):
        train(replace(moved, data=(f"{tmp_path / 'moved'}:0.5", "scenes")), tmp_path / "whole")


def test_panels_of_a_folder_complain_at_once_and_skip_what_is_unreadable(tmp_path):
    folder, run = tmp_path / "p", tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="p is not a folder"):
        train(config(panels=str(folder)), run, progress=False)
    assert not run.exists()
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    Image.new("RGB", (50, 40), (200, 30, 30)).save(folder / "b.png")
    train(config(panel_every=6, panels=str(folder)), run, progress=False)
    panel = np.asarray(Image.open(run / "panels" / "0000006.jpg"))
    assert np.abs(panel[80, 90 + 16] - np.array([200, 30, 30])).max() < 12  # original, bottom left


def test_the_crop_must_fit_the_generator_that_is_started_from(tmp_path):
    wide = GeneratorConfig(blocks=1, width=4, downsamplings=3)
    format.save(Generator(wide), tmp_path / "g.safetensors")
    settings = config(start=str(tmp_path / "g.safetensors"), stages=((0.0, 36, 2),))
    with pytest.raises(ValueError, match="crops of 36 px"):
        train(settings, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    train(replace(settings, stages=((0.0, 40, 2),)), tmp_path / "run", progress=False)
    card = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert card["network"]["downsamplings"] == 3 and "begun from" in card["licence"]


def test_the_first_phase_learns_even_if_only_the_hole_counts(tmp_path):
    train(
        config(l1_until=1.0, weights=LossWeights(l1_known=0, l1_hole=10)), tmp_path, progress=False
    )
    assert log(tmp_path)[-1]["l1"] > 0.1


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "weights.json"])
def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, name):
    original = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=f"cannot write .*{name}: No space left on device: make room"):
        train(config(), tmp_path, progress=False)
    assert not list(tmp_path.glob(".*"))


def test_other_settings_do_not_continue_a_run(tmp_path):
    train(config(), tmp_path, progress=False)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=r"lr=0.002 \(now 0.1\).*--start"):
        train(config(lr=0.1), tmp_path, progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    train(config(save_every=1, workers=1), tmp_path, progress=False)  # these are free


def test_a_run_with_the_options_of_before_goes_on(tmp_path, cut_off):
    cut_off(config(), tmp_path / "run", 3)
    saved = disk.load_checkpoint(tmp_path / "run")
    settings = json.loads(saved["config"]) | {"composite": False, "sync_batchnorm": False}
    del settings["minutes"]  # new since, while those two are gone
    with pytest.raises(ValueError, match="composite is no setting any more"):
        from_dict(settings | {"composite": True})
    disk.save_checkpoint(tmp_path / "run", saved | {"config": json.dumps(settings)})
    train(config(), tmp_path / "run", progress=False)
    assert [line["step"] for line in log(tmp_path / "run")] == [3, 6]


def test_the_loader_is_not_the_bottleneck(tmp_path):
    """The goal is 15 % of a step of "mini", whose steps are of the cheapest kind at first."""
    few = replace(RECIPES["mini"], steps=8, l1_until=1.0, settle=0, device="cpu", log_every=4)
    lines = []
    train(few, tmp_path / "run", progress=False, on_log=lines.append)
    assert lines[-1]["crop"] == 128 and 0 < lines[-1]["data_share"] < 0.15


@pytest.mark.parametrize("changes", [{"workers": 2}, {"panel_every": 1}], ids=str)
def test_what_is_free_changes_nothing(tmp_path, changes):
    train(config(steps=3), tmp_path / "plain", progress=False)
    train(config(steps=3, **changes), tmp_path / "other", progress=False)
    assert same_files(tmp_path / "plain", tmp_path / "other")


@pytest.mark.skipif(sys.platform == "win32", reason="workers must be forks to see the patch")
@pytest.mark.parametrize("workers", [0, 1])
def test_what_went_wrong_in_a_worker_is_one_line(workers, monkeypatch):
    data = Batches(config(workers=workers))

    def broken(size, rng):
        raise FileNotFoundError("photos/ is gone: put it back")

    monkeypatch.setattr(data.mixture, "sample", broken)
    with pytest.raises(FileNotFoundError, match="^photos/ is gone: put it back$"):
        next(data.loader(0, torch.device("cpu")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_first(tmp_path, number, monkeypatch):
    original = training.training_step

    def signalled(state, *args):
        if state.step == 2:
            os.kill(os.getpid(), number)
        return original(state, *args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", signalled)
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt, match="stopped at step 3; the same command"):
            train(config(save_every=100), tmp_path / "cut", progress=False)
        assert signal.getsignal(number) is before
    train(config(), tmp_path / "whole", progress=False)
    train(config(save_every=100), tmp_path / "cut", progress=False)
    assert same_files(tmp_path / "whole", tmp_path / "cut")


PROJECTED = dict(
    discriminator="projected", features="efficientnet-lite0", stages=((0.0, 64, 2),), steps=2,
    l1_until=0.0, log_every=1, save_every=1, settle=1,
)  # fmt: skip


def test_a_projected_run_logs_its_chance_level_and_goes_on(tmp_path, cut_off):
    settings = config(**PROJECTED)
    train(settings, tmp_path / "whole", progress=False)
    cut_off(settings, tmp_path / "cut", 1)
    train(settings, tmp_path / "cut", progress=False)
    assert same_files(tmp_path / "whole", tmp_path / "cut")
    assert log(tmp_path / "whole") == log(tmp_path / "cut")
    for line in log(tmp_path / "cut"):
        assert {"adversarial", "feature_matching", "perceptual", "d_real", "d_fake"} <= set(line)
        assert 0 < line["d_chance"] < 2 * np.log(2) + 1e-4
    _, d = load_training(tmp_path / "whole")
    assert format.settings(d) == {"channels": [16, 24, 40, 112, 192], "width": 4}


def test_fine_tuning_takes_over_a_projected_discriminator_that_fits(tmp_path):
    cpu = torch.device("cpu")
    train(config(**PROJECTED), tmp_path, progress=False)
    mixes = load_training(tmp_path)[1].heads[0].mix
    for changes, same in (({}, True), ({"discriminator_width": 8}, False)):
        settings = config(**PROJECTED | changes, start=str(tmp_path), seed=1)
        found = assemble.build_state(settings, cpu).discriminator
        assert torch.equal(found.heads[0].mix, mixes) == same
    patch = config(**PROJECTED | {"discriminator": "patch"}, start=str(tmp_path))
    assert not hasattr(assemble.build_state(patch, cpu).discriminator, "heads")
    blind = config(**PROJECTED | {"features": "segmentation-dilated"})
    with pytest.raises(ValueError, match="looks through efficientnet-lite0.*segmentation-dilated"):
        train(blind, tmp_path / "blind", progress=False)
    assert not (tmp_path / "blind").exists()


def test_one_pass_through_the_features_serves_all_losses():
    """Per step: real and fake for the generator, real again for R1's gradient."""
    cpu, settings = torch.device("cpu"), config(**PROJECTED)
    state = assemble.build_state(settings, cpu)
    loss, seen = assemble.build_loss(settings, state, cpu), []
    (network,) = {
        cell.cell_contents.features
        for cell in state.discriminator._features[0].__closure__
        if isinstance(cell.cell_contents, Remembering)
    }
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for (image, mask), calls in zip(batches(settings), (3, 6)):
        training.training_step(state, loss, image, mask, settings)
        assert len(seen) == calls
    assert all(p.grad is None for p in network.parameters())


# --------------------------------------------------------------------------- what is written
def test_log_panels_and_callback(tmp_path):
    told = []
    settings = config(panel_every=4, log_every=2)
    train(settings, tmp_path, progress=False, on_log=told.append)
    assert told == helpers.log(tmp_path)
    assert [line["step"] for line in told] == [2, 4, 6]
    assert "adversarial" not in told[0] and told[2]["adversarial"] > 0  # l1_until is 0.5
    assert {"d_real", "d_fake", "d_r1", "d_chance", "perceptual", "lr", "data_share"} <= set(
        told[2]
    )
    assert 0.3 < told[2]["d_chance"] < 1.39
    panel = Image.open(tmp_path / "panels" / "0000004.jpg")
    assert panel.size == (90 + 4 * 32, 3 * 32)  # rows are named
    assert json.loads((tmp_path / "config.json").read_text())["log_every"] == 2


def test_final_weights_are_the_average(tmp_path):
    train(config(average=1.0, settle=0), tmp_path / "run", progress=False)
    torch.manual_seed(0)
    saved = load_training(tmp_path / "run")[0].state_dict()
    final = load_generator(tmp_path / "run" / "weights.safetensors").state_dict()
    changed = [k for k, v in saved.items() if "running" not in k and not torch.equal(v, final[k])]
    assert changed  # the network moved on from its average
    train(config(average=None, settle=0), tmp_path / "plain", progress=False)
    saved = load_training(tmp_path / "plain")[0].state_dict()
    final = load_generator(tmp_path / "plain" / "weights.safetensors").state_dict()
    assert all(torch.equal(v, final[k]) for k, v in saved.items())


def test_the_weights_come_with_a_card(tmp_path):
    path = train(config(), tmp_path, progress=False)
    card = json.loads((tmp_path / "weights.json").read_text())
    generator = load_generator(path)
    assert card["parameters"] == sum(p.numel() for p in generator.parameters())
    assert card["sha256"] == checksum(path) and card["data"] == "100 % scenes"
    assert card["training"]["steps"] == 6 and card["seconds"] >= 0 and "cpu" in card["device"]
    assert card["torch"] == torch.__version__


# --------------------------------------------------------------------------- data
def test_batches_depend_on_seed_step_and_place_alone():
    settings = config(stages=((0.0, 16, 4), (0.5, 24, 2)), steps=10)
    sequence = [batch for batch, _ in zip(batches(settings), range(8))]
    later = next(batches(settings, 7))
    assert all(torch.equal(a, b) for a, b in zip(sequence[7], later))
    assert sequence[0][0].shape == (4, 3, 16, 16) and sequence[7][0].shape == (2, 3, 24, 24)
    assert not torch.equal(sequence[0][0], sequence[1][0])
    assert set(sequence[0][1].unique().tolist()) == {0.0, 1.0}
    halves = [Batches(settings, rank, 2)[0] for rank in (0, 1)]  # two processes: every other one
    for part, whole in zip(zip(*halves), sequence[0]):
        assert torch.equal(torch.stack(part[:2], 1).flatten(0, 1), whole)
    assert not torch.equal(next(batches(replace(settings, seed=1)))[0], sequence[0][0])


def test_unreadable_photographs_are_counted_not_fatal(tmp_path):
    for i in range(3):
        Image.new("RGB", (40, 40), (80 * i, 90, 100)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.warns(UserWarning, match="broken.jpg"):
        train(config(data=(str(tmp_path),), steps=12), tmp_path / "run", progress=False)
    assert log(tmp_path / "run")[-1]["skipped"] > 0


# --------------------------------------------------------------------------- what stops a run
def test_what_does_not_fit_complains_before_anything_is_written(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other.safetensors"
    other.write_text("no weights")
    for settings, error, message in (
        (config(data=(str(tmp_path / "nowhere"),)), FileNotFoundError, "nowhere"),
        (config(data=(str(empty),)), ValueError, "no image in .*empty"),
        (config(features="vgg"), ValueError, "no weights 'vgg'"),
        (config(start=str(tmp_path / "gone")), FileNotFoundError, "no weights at .*gone"),
        (config(start=str(other)), ValueError, "other.safetensors"),
        (config(masks="tiny"), ValueError, "tiny"),
        (config(device="tpu"), ValueError, "no device 'tpu'"),
    ):
        with pytest.raises(error, match=message):
            train(settings, tmp_path / "run", progress=False)
        assert not (tmp_path / "run").exists(), settings


def test_nothing_that_is_not_a_number_is_saved(tmp_path):
    with pytest.raises(FloatingPointError, match="(?s)not a number at step.*lower lr"):
        train(config(lr=1e30, clip=1e30, save_every=1), tmp_path, progress=False)
    state = disk.load_checkpoint(tmp_path)
    assert state is not None and state["step"] < 6
    assert all(v.isfinite().all() for v in state["generator"].values() if v.is_floating_point())


def _run_with_small_files(folder: str) -> None:
    """In a process of its own: files end at 20 kB, as on a full disk."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    PRESETS["tiny"] = GeneratorConfig(blocks=1, width=4, downsamplings=2)
    try:
        train(config(), folder, progress=False)
    except OSError as error:
        print(error)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit to the size of files")
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    code = "import sys; from test_runs import _run_with_small_files as f; f(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "new"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "cannot write" in done.stdout and "checkpoint.pt" in done.stdout
    assert "make room" in done.stdout and "File too large" in done.stdout
    left = [p.name for p in (tmp_path / "new").iterdir()]
    assert sorted(left) == ["config.json"]  # nothing half-written


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    train(config(), tmp_path, progress=False)
    before = (tmp_path / disk.CHECKPOINT).read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match="cannot write .*checkpoint.pt: No space left on device: make room"
    ):
        disk.save_checkpoint(tmp_path, {"step": 7})
    assert before == (tmp_path / disk.CHECKPOINT).read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        train(config(), tmp_path / "run", progress=False)


# --------------------------------------------------------------------------- fine-tuning
def test_fine_tuning_takes_over_both_networks(tmp_path):
    train(config(), tmp_path / "first", progress=False)
    g, d = load_training(tmp_path / "first")
    start = config(start=str(tmp_path / "first"), generator="mini-fourier")  # the file decides
    state = loop.build_state(start, torch.device("cpu"))
    for network, expected in ((state.generator, g), (state.discriminator, d)):
        for key, value in network.state_dict().items():
            assert torch.equal(value, expected.state_dict()[key])
    path = train(start, tmp_path / "second", progress=False)
    assert load_generator(path).config.width == 4


def test_fine_tuning_from_a_published_checkpoint(tmp_path):
    g = build_generator(GeneratorConfig(blocks=1, width=8))
    d = build_discriminator(8)
    published = {f"generator.{k}": v for k, v in g.state_dict().items()}
    published |= {f"discriminator.{k}": v for k, v in d.state_dict().items()}
    torch.save({"state_dict": published}, tmp_path / "best.ckpt")
    settings = config(start=str(tmp_path / "best.ckpt"), lr=0.0, lr_discriminator=0.0, settle=0)
    train(settings, tmp_path / "run", progress=False)
    tuned, tuned_d = load_training(tmp_path / "run")
    assert tuned_d is not None
    for key, value in d.state_dict().items():
        if "running" not in key and "num_batches" not in key:
            assert torch.equal(tuned_d.state_dict()[key], value)
    assert torch.equal(
        tuned.state_dict()["model.1.ffc.convl2l.weight"], g.model[1].ffc.convl2l.weight
    )


def test_frozen_batchnorm_keeps_its_statistics(tmp_path):
    train(config(), tmp_path / "first", progress=False)
    before, before_d = load_training(tmp_path / "first")
    settings = config(start=str(tmp_path / "first"), freeze_batchnorm=True, l1_until=0.0)
    train(settings, tmp_path / "second", progress=False)
    after, after_d = load_training(tmp_path / "second")
    final = load_generator(tmp_path / "second" / "weights.safetensors")
    for old, new in ((before, after), (before_d, after_d), (before, final)):
        old, new = old.state_dict(), new.state_dict()
        assert all(torch.equal(old[k], new[k]) for k in old if "running" in k)
        assert any(not torch.equal(old[k], new[k]) for k in old if "weight" in k)


def test_half_precision_files_keep_what_float16_cannot_hold(tmp_path):
    g, d = build_generator("tiny"), build_discriminator(4)
    d.model1[1].running_var[0] = 1e6
    path = save_training(tmp_path / "t.safetensors", g, d, half=True)
    half, half_d = load_training(path)
    assert half_d.model1[1].running_var[0] == 1e6
    stored = half.state_dict()["model.1.ffc.convl2l.weight"]
    assert torch.equal(stored, g.model[1].ffc.convl2l.weight.half().float())
    assert load_training(save_training(path, g, None))[1] is None


def test_losses_without_a_discriminator_need_none(tmp_path):
    l1 = LossWeights(l1_hole=10, adversarial=0, feature_matching=0, perceptual=0)
    train(config(weights=l1), tmp_path, progress=False)
    assert load_training(tmp_path)[1] is None
    assert "adversarial" not in log(tmp_path)[-1] and "d_chance" not in log(tmp_path)[-1]
