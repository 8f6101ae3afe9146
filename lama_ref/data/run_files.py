"""Files of a run that must survive anything: checkpoints and the log."""

from __future__ import annotations

import io
import json
import os
import random
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from .weights import atomic, checksum, write_json

CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")
KEPT = "the last good checkpoint is kept, and the same command continues from it"


def random_states() -> dict:
    """State of every global random generator, as plain values and tensors."""
    _, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count() and states["cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def save_checkpoint(folder: Path, saved: dict) -> None:
    """Write ``checkpoint.pt``, keeping the last one; at every moment one of the two is whole.

    Raises:
        OSError: the disk is full, or the folder cannot be written; what was there still is.
    """
    newest, previous = (folder / name for name in CHECKPOINTS)
    try:
        with atomic(newest) as temporary:
            buffer = io.BytesIO()  # torch's own file writer hides why it failed
            torch.save(saved, buffer)
            with open(temporary, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if newest.exists():
                os.replace(newest, previous)
    except OSError as error:
        raise OSError(f"cannot write {newest} ({error}): make room on the disk; {KEPT}") from error


def load_checkpoint(folder: Path) -> dict | None:
    """The newest checkpoint that can be read, or None if there is none at all.

    Raises:
        ValueError: there are checkpoints, but none can be read.
    """
    problems = []
    for name in CHECKPOINTS:
        path = folder / name
        if path.exists():
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception:  # whatever damage does
                problems.append(f"{path} is damaged or cut off")
                warnings.warn(f"{problems[-1]}; trying the one before", stacklevel=3)
    if problems:
        raise ValueError(f"cannot continue: {'; '.join(problems)}. Start anew in another folder")
    return None


def append(path: Path, line: str) -> None:
    """Add a line to a file.

    Raises:
        OSError: the disk is full, or the file cannot be written; names the file.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise OSError(f"cannot write {path} ({error}): make room on the disk; {KEPT}") from error


def cut_log(path: Path, step: int) -> None:
    """Drop lines of steps that a killed process logged but did not save."""
    if path.exists():
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # a line torn by the kill
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        with atomic(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def tensorboard(folder: Path, step: int):
    """A writer for TensorBoard where that is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)


def write_card(path: Path, parameters: int, config: dict, data: str, seconds: float, device: str):
    """The model card beside a run's weights: what they are and how they came about."""
    card = {
        "parameters": parameters,
        "training": config,
        "data": data,
        "seconds": round(seconds),
        "device": f"{device}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "licence": "that of lama_ref, Apache-2.0, as far as it can grant it: training pictures "
        "have terms of their own",
        "sha256": checksum(path),
    }
    write_json(path.with_suffix(".json"), card)
