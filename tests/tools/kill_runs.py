"""Kill a training run again and again, continue it each time, compare with one left alone.

    python kill_runs.py FOLDER KILLS

Each run is a forked process, which SIGKILL, not an exception, ends after it has saved a random
number of checkpoints: every other time while it is writing the next one (a temporary file of its
own is there), else a random time later. Prints a line of JSON; exit code 1 if a run ends by itself
with an error.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lama_ref.generator import PRESETS, GeneratorConfig
from lama_ref.runs.loop import train
from lama_ref.runs.recipes import TrainConfig

PRESETS["tiny"] = GeneratorConfig(blocks=1, width=4, downsamplings=2)
CONFIG = TrainConfig(
    generator="tiny", stages=((0.0, 32, 2), (0.5, 48, 2)), steps=200, save_every=1, settle=2,
    warmup=1, l1_until=0.3, log_every=7, panel_every=20, discriminator_width=4,
)  # fmt: skip


def start(folder: Path) -> int:
    """Fork a process that trains; returns its number."""
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        train(CONFIG, folder, progress=False)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def ended(child: int) -> bool:
    number, status = os.waitpid(child, os.WNOHANG)
    if number and os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(1)
    return bool(number)


def newest(folder: Path) -> int:
    """Which file is the checkpoint now: a number that changes whenever one is saved."""
    try:
        return (folder / "checkpoint.pt").stat().st_mtime_ns
    except FileNotFoundError:  # none so far
        return 0


def step_of(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    return torch.load(path, weights_only=True)["step"] if path.exists() else 0


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "data_share")} for x in lines]


def kill_one(folder: Path, rng: random.Random, writing: bool) -> bool | None:
    """Start, kill; whether it was writing a checkpoint then. None if it came to its end."""
    old, saved, seen = set(folder.glob(".checkpoint.*")), newest(folder), 0
    child, wanted, wait = start(folder), rng.randint(2, 11), rng.uniform(0, 0.03)
    due = None
    while not ended(child):
        now = newest(folder)
        if now and now != saved:
            saved, seen = now, seen + 1
        if seen >= wanted and due is None:
            due = time.monotonic() + wait
        own = set(folder.glob(".checkpoint.*")) - old
        if due is not None and (own if writing else time.monotonic() > due):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return any(path.exists() for path in own)
        time.sleep(0.0002)
    return None


def main(folder: Path, kills: int) -> None:
    rng = random.Random(0)
    whole, cut = folder / "whole", folder / "cut"
    os.waitpid(start(whole), 0)
    steps, writing = [], []
    while len(steps) < kills:
        caught = kill_one(cut, rng, len(steps) % 2 == 1)
        if caught is None:
            break
        steps.append(step_of(cut))
        writing.append(caught)
    if not (cut / "weights.safetensors").exists():
        os.waitpid(start(cut), 0)
    files = ("weights.safetensors", "training.safetensors")
    report = {
        "kills": len(steps),
        "while_writing": sum(writing),
        "steps": steps,
        "same_weights": all((whole / f).read_bytes() == (cut / f).read_bytes() for f in files),
        "same_log": log(whole) == log(cut),
        "leftovers": [p.name for p in (*cut.glob(".*"), *cut.glob("*/.*"))],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
