"""Kill a training run again and again, continue it each time, compare with one left alone.

    python kill_runs.py FOLDER KILLS

Every other kill waits until a checkpoint is being written (its temporary file is there), the
others come after a random time. Each run is a forked process: SIGKILL, not an exception, ends it.
Prints a line of JSON; exit code 1 if a run ends by itself with an error.
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
from lama_ref.recipes import TrainConfig
from lama_ref.runs import train

PRESETS["tiny"] = GeneratorConfig(blocks=1, width=4, downsamplings=2)
CONFIG = TrainConfig(
    generator="tiny", stages=((0.0, 32, 2), (0.5, 48, 2)), steps=150, save_every=1, settle=2,
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


def step_of(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    try:
        return torch.load(path, weights_only=True)["step"] if path.exists() else 0
    except (OSError, RuntimeError, EOFError):
        return -1


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "data_share")} for x in lines]


def main(folder: Path, kills: int) -> None:
    rng = random.Random(0)
    whole, cut = folder / "whole", folder / "cut"
    os.waitpid(start(whole), 0)
    done = writing = 0
    steps = []
    while done < kills:
        child = start(cut)
        begun, patience = time.time(), rng.uniform(0.05, 0.6)
        while not ended(child):
            caught = done % 2 and time.time() - begun > patience and any(cut.glob(".*.pt.*"))
            if caught or (not done % 2 and time.time() - begun > patience):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                done += 1
                writing += bool(list(cut.glob(".*.pt.*")))
                steps.append(step_of(cut))
                break
            time.sleep(0.0005)
        else:
            break  # it came to its end
    if not (cut / "weights.safetensors").exists():
        os.waitpid(start(cut), 0)
    files = ("weights.safetensors", "training.safetensors")
    report = {
        "kills": done,
        "while_writing": writing,
        "steps": steps,
        "same_weights": all((whole / f).read_bytes() == (cut / f).read_bytes() for f in files),
        "same_log": log(whole) == log(cut),
        "leftovers": [p.name for p in cut.glob(".*")],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
