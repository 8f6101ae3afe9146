"""Files of a run that must survive anything: checkpoints and the log."""

from __future__ import annotations

import io
import json
import os
import random
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from ..generator import Generator
from ..weights.files import atomic, checksum, write_json
from ..weights.format import from_layout
from .recipes import TrainConfig, from_dict

WRITTEN = (".config.json.", ".log.jsonl.", ".weights.", ".training.", ".checkpoint.")
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
                with zipfile.ZipFile(path) as archive:
                    if archive.testzip() is not None:  # torch does not compare checksums
                        raise ValueError
                saved = torch.load(path, map_location="cpu", weights_only=True)
                if not {"config", "networks", "random", "progress", "step"} <= set(saved):
                    raise ValueError
            except Exception:  # whatever damage does
                problems.append(f"{path} is damaged, cut off or of another program")
                warnings.warn(f"{problems[-1]}; trying the one before", stacklevel=3)
                continue
            return saved
    if problems:
        raise ValueError(f"cannot continue: {'; '.join(problems)}. Start anew in another folder")
    return None


def networks(saved: dict):
    """(generator, discriminator or None) of a checkpoint."""
    return from_layout(json.loads(saved["networks"]), saved)


def tidy(folder: Path) -> None:
    """Remove what killed processes left: half-written files, and a damaged newest checkpoint.

    The next one would take the place of the older one, which is the good one then.
    """
    newest = folder / CHECKPOINTS[0]
    if newest.exists():
        with suppress(Exception), zipfile.ZipFile(newest) as archive:
            newest = None if archive.testzip() is None else newest
        if newest is not None:
            os.replace(newest, newest.with_name("checkpoint.damaged.pt"))
    for path in (*folder.glob(".*"), *folder.glob("panels/.*")):
        if path.name.startswith(WRITTEN) or path.parent.name == "panels":
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder, which is made if need be.

    Raises:
        OSError: another one does already, or the folder cannot be made.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(
            f"another process is training in {folder}: wait, or stop it"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps open files
            Path(lock.lock_file).unlink()
        lock.release()
        if new:
            with suppress(OSError):  # nothing came of it
                folder.rmdir()


def read_config(folder: Path) -> TrainConfig:
    """The settings of the run in a folder.

    Raises:
        ValueError: ``config.json`` is damaged, or of another program.
    """
    path = folder / "config.json"
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} holds no settings of a run ({error!r}): repair it") from None


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


def write_card(
    path: Path, network: Generator, config: dict, data: str, seconds: float, device: str
) -> None:
    """The model card beside a run's weights: what they are and how they came about."""
    licence = "that of lama_ref, Apache-2.0, as far as it can grant it"
    if config["start"]:
        licence = f"begun from {config['start']}: what holds for that, see its card"
    card = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "network": asdict(network.config),
        "training": config,
        "data": data,
        "seconds": round(seconds),
        "device": f"{device}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "licence": f"{licence}; training pictures have terms of their own",
        "sha256": checksum(path),
    }
    write_json(path.with_suffix(".json"), card)
