"""Training by the clock, and what a burst of it leaves behind."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
import torch
from helpers import log
from safetensors.torch import load_file

from lama_ref.discriminator import ProjectedDiscriminator
from lama_ref.runs import burst, loop
from lama_ref.runs.assemble import load_start
from lama_ref.runs.recipes import PRESETS, TrainConfig, fitting

SMALL = replace(
    PRESETS["mini-projected"],
    data=("scenes",), stages=((0.0, 64, 2),), steps=2, settle=1, log_every=1, panel_every=2,
    device="cpu", precision="float32",
)  # fmt: skip


def test_steps_fit_the_clock():
    config = TrainConfig(stages=((0.0, 64, 2),), minutes=1, log_every=10, steps=10_000)
    assert fitting(config, [0.0, 9.0]) is config  # the first steps alone tell little
    # 57 s without the end's share, 11 s gone, 0.2 s a step
    assert fitting(config, [0.0, 9.0, 11.0]).steps == 20 + 230
    assert fitting(replace(config, steps=100), [0.0, 9.0, 11.0]).steps == 100
    assert fitting(config, [0.0, 50.0, 100.0]).steps == 21  # too slow: it ends at once
    assert fitting(replace(config, minutes=None), [0.0, 9.0, 11.0]).steps == 10_000


def test_a_run_by_the_clock_ends_in_time(tmp_path):
    config = replace(SMALL, steps=10**6, minutes=0.1, panel_every=10**6)
    start = time.perf_counter()
    loop.train(config, tmp_path, progress=False)
    assert time.perf_counter() - start < 60  # begins, trains for 6 s, ends
    assert 2 < len(log(tmp_path)) < 1000


def test_several_processes_have_several_clocks(tmp_path):
    with pytest.raises(ValueError, match="for one process"):
        loop.Run(replace(SMALL, minutes=1), tmp_path, world=2)


def test_a_burst_leaves_what_continues_it(tmp_path):
    out = burst.burst(SMALL, tmp_path / "out")
    names = {path.name for path in out.iterdir()}
    assert names == {
        "weights.safetensors", "training.safetensors", "log.jsonl", "config.json", "0000002.jpg",
    }  # fmt: skip
    for name in ("weights.safetensors", "training.safetensors"):
        state = load_file(out / name)
        assert {v.dtype for v in state.values()} <= {torch.float16, torch.int64}
        umask = os.umask(0)
        os.umask(umask)
        assert (out / name).stat().st_mode & 0o777 == 0o666 & ~umask
    generator, discriminator = load_start(out)
    assert isinstance(discriminator, ProjectedDiscriminator)
    again = burst.burst(replace(SMALL, start=str(out), steps=1), tmp_path / "again")
    other, _ = load_start(again)
    near = zip(generator.parameters(), other.parameters())
    assert all((a - b).abs().max() < 0.05 for a, b in near)  # it went on, not anew


def test_a_broken_burst_leaves_its_last_checkpoint(tmp_path, monkeypatch):
    def step(*args):
        if args[0].step == 1:
            raise RuntimeError("the machine is taken back")
        return real(*args)

    real = loop.training_step
    monkeypatch.setattr(loop, "training_step", step)
    with pytest.raises(RuntimeError, match="taken back"):
        burst.burst(replace(SMALL, save_every=1), tmp_path / "out")
    assert (tmp_path / "out" / "training.safetensors").exists()
    assert not (tmp_path / "out" / "weights.safetensors").exists()


def test_the_command_takes_two_steps(tmp_path, capsys, monkeypatch):
    from PIL import Image

    Image.new("RGB", (80, 80), "teal").save(tmp_path / "one.png")
    asked = []
    monkeypatch.setattr(burst, "burst", lambda config, out: asked.append(config) or out)
    burst.main([
        str(tmp_path / "out"), "--photos", str(tmp_path), "--minutes", "9", "--steps", "2",
        "--batch", "2", "--size", "64", "--start", "trio-fourier",
    ])  # fmt: skip
    assert asked[0].steps == 2 and asked[0].stages == ((0.0, 64, 2),) and asked[0].minutes == 9
    assert asked[0].data == ("scenes:0.4", f"{tmp_path}:0.6") and "wrote" in capsys.readouterr().out
