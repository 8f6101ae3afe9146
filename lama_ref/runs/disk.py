"""Files of a run that must survive anything: checkpoints and the log."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..generator import Generator
from ..perceptual import FeatureNet
from ..weights.files import atomic, checksum, write_json
from ..weights.format import from_layout
from .recipes import TrainConfig, from_dict

CHECKPOINT = "checkpoint.pt"
HELD = {"config", "networks", "random", "progress", "step"}
"""What every checkpoint holds, beside the states of :class:`lama_ref.training.TrainState`."""
HALF_WRITTEN = (".*.json.*", ".*.jsonl.*", ".*.pt.*", ".*.safetensors.*", "panels/.*.jpg.*")


def save_checkpoint(folder: Path, saved: dict) -> None:
    """Write ``checkpoint.pt``; at every moment the last one or this one is there, whole.

    Raises:
        OSError: the disk is full, or the folder cannot be written; what was there still is.
    """
    with atomic(folder / CHECKPOINT) as temporary:
        buffer = io.BytesIO()  # torch's own file writer hides why it failed
        torch.save(saved, buffer)
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # on the disk before it takes the last one's name


def load_checkpoint(folder: Path) -> dict | None:
    """The checkpoint of a run, or None if there is none.

    Raises:
        ValueError: it is damaged, or of another program.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare checksums
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if damaged or not HELD <= set(saved):
            raise ValueError
    except Exception:  # whatever damage does
        raise ValueError(
            f"cannot continue: {path} is damaged, cut off or of another program. Put a copy of it "
            "back, or start anew in another folder"
        ) from None
    return saved


def networks(saved: dict):
    """(generator, discriminator or None) of a checkpoint."""
    return from_layout(json.loads(saved["networks"]), saved)


def tidy(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for pattern in HALF_WRITTEN:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder, which is made if need be.

    Raises:
        OSError: another one does already, or the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    try:
        with FileLock(path, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps open files
                    path.unlink()
    except Timeout:
        raise BlockingIOError(
            f"another process is training in {folder}: wait, or stop it"
        ) from None
    finally:
        with suppress(OSError):  # not empty, unless nothing came of it
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
        raise OSError(
            f"cannot write {path} ({error}): make room on the disk, and the same command continues"
        ) from error


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


def write_card(path: Path, network: Generator | FeatureNet, **about: object) -> None:
    """The model card beside weights: what they are, and ``about``, how they came about."""
    card = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "network": asdict(network.config),
        **about,
        "torch": torch.__version__,
        "sha256": checksum(path),
    }
    write_json(path.with_suffix(".json"), card)
