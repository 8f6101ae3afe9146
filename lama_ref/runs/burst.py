"""Some minutes of a GPU: train on from the newest state, and leave what continues it.

    python -m lama_ref.runs.burst OUT --photos FOLDER --minutes 9

OUT then holds ``weights.safetensors`` (the moving average) and ``training.safetensors`` (generator
and discriminator) in float16, the log, the settings and the last panel: small enough to carry
anywhere. ``lama-ref train RUN --start OUT`` goes on from there, and so does the next burst.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ..weights.format import load_generator, save, save_training
from .assemble import load_start
from .loop import train
from .recipes import PRESETS, TrainConfig


def carry(run: Path, out: Path) -> None:
    """Copy of a run's folder what it takes to go on, weights as float16; finished or not."""
    out.mkdir(parents=True, exist_ok=True)
    save_training(out / "training.safetensors", *load_start(run), half=True)
    if (run / "weights.safetensors").exists():
        save(load_generator(run / "weights.safetensors"), out / "weights.safetensors", half=True)
    panels = sorted((run / "panels").glob("*.jpg"))[-1:]
    for path in (run / "log.jsonl", run / "config.json", *panels):
        shutil.copy(path, out / path.name)


def burst(config: TrainConfig, out: str | Path) -> Path:
    """Train as told in a temporary folder, and carry the result to ``out``; returns ``out``.

    Whatever stops the training, the last checkpoint is carried.
    """
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        try:
            train(config, run)
        finally:
            if (run / "checkpoint.pt").exists():
                carry(run, Path(out))
    return Path(out)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lama_ref.runs.burst", description=__doc__)
    parser.add_argument("out", help="folder for what continues the training")
    parser.add_argument("--photos", required=True, help="folder of photographs")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--start", default="mini-fourier", help="weights, or a folder as left here")
    parser.add_argument("--size", type=int, default=192, help="side of the crops")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--steps", type=int, default=10**6, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    config = replace(
        PRESETS["mini-projected"],
        data=("scenes:0.4", f"{given.photos}:0.6"),
        stages=((0.0, given.size, given.batch),),
        start=given.start,
        minutes=given.minutes,
        steps=given.steps,
        seed=given.seed,
    )
    print(f"wrote {burst(config, given.out)}")


if __name__ == "__main__":
    main()
