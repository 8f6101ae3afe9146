"""Two processes train like one: the same losses, the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import log

from lama_ref.runs.assemble import build_state
from lama_ref.runs.recipes import from_dict
from lama_ref.weights.format import load_state_dict
from lama_ref.weights.names import load_training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed"),
]
TERMS = {"l1", "adversarial", "feature_matching", "perceptual", "d_real", "d_fake", "d_r1"}
SETTINGS = (
    "--generator mini-fourier --stages 0 32 4 --steps 4 --l1-until 0.5 --warmup 1 --settle 2 "
    "--log-every 2 --save-every 2 --panel-every 4 --discriminator-width 4 --seed 3 --device cpu"
).split()


def command(folder: Path, processes: int, *options: str) -> dict:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [*start, "lama_ref", "train", str(folder), *SETTINGS, *options]
    return {"args": arguments, "env": environment, "cwd": Path(__file__).parents[1]}


def run(folder: Path, processes: int, *options: str) -> subprocess.CompletedProcess:
    given = command(folder, processes, *options)
    return subprocess.run(**given, capture_output=True, text=True, timeout=170)


def test_two_processes_equal_one_with_the_same_batch(tmp_path):
    """With BatchNorm frozen. Sums are taken in another order: equal but for rounding."""
    for processes in (1, 2):
        done = run(tmp_path / str(processes), processes, "--freeze-batchnorm", "--l1-until", "0")
        assert (tmp_path / str(processes) / "weights.safetensors").exists(), done.stderr
    one, two = log(tmp_path / "1"), log(tmp_path / "2")
    assert [line["step"] for line in two] == [2, 4]  # written once, not twice
    # hole_l1 and gradient norms are of each process's own half before they are averaged
    for a, b in zip(one, two):
        for name in TERMS & set(a):
            assert b[name] == pytest.approx(a[name], rel=1e-3), name
    # Adam turns a gradient of rounding's size into a whole step: compare what was learned in all
    config = from_dict(json.loads((tmp_path / "1" / "config.json").read_text()))
    fresh = build_state(config, torch.device("cpu"))
    one, two = (load_training(tmp_path / n) for n in ("1", "2"))
    for start, a, b in zip((fresh.generator, fresh.discriminator), one, two):
        start, a, b = (network.state_dict() for network in (start, a, b))
        moved, apart = (
            torch.cat([(x[k] - y[k]).flatten() for k in start if k.endswith("weight")]).norm()
            for x, y in ((a, start), (a, b))
        )
        assert apart < 0.02 * moved, (apart, moved)


def test_two_processes_stop_together_and_continue(tmp_path):
    """Ctrl-C after a few steps, continued: as if never stopped. BatchNorm as published."""
    longer = ("--steps", "14", "--save-every", "14", "--panel-every", "14")
    done = run(tmp_path / "whole", 2, *longer)
    assert (tmp_path / "whole" / "weights.safetensors").exists(), done.stderr
    stopped = subprocess.Popen(
        **command(tmp_path / "cut", 2, *longer), stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if (tmp_path / "cut" / "log.jsonl").exists() or stopped.poll() is not None:
            break
        time.sleep(0.1)
    stopped.send_signal(signal.SIGINT)  # to torchrun, which passes it on
    _, said = stopped.communicate(timeout=100)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    saved = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)
    assert 2 <= saved["step"] < 14 and f"stopped at step {saved['step']}" in said
    run(tmp_path / "cut", 2, *longer)
    for name in ("weights.safetensors", "training.safetensors"):
        whole, cut = (load_state_dict(tmp_path / d / name) for d in ("whole", "cut"))
        for key in whole:
            torch.testing.assert_close(whole[key], cut[key], rtol=1e-4, atol=1e-5)
    strip = [
        [{k: v for k, v in line.items() if k not in ("seconds", "data_share")} for line in lines]
        for lines in (log(tmp_path / "whole"), log(tmp_path / "cut"))
    ]
    assert [line["step"] for line in strip[1]] == [2, 4, 6, 8, 10, 12, 14]
    for a, b in zip(*strip):
        assert b == pytest.approx(a, rel=1e-3)


def test_a_batch_that_cannot_be_shared_is_named(tmp_path):
    done = run(tmp_path / "run", 2, "--stages", "0", "32", "3")
    assert done.returncode != 0
    assert "a batch of 3 cannot be shared by 2 processes" in done.stderr
