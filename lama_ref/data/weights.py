"""Weights that ship with the project: where they are, how they are read and written.

A weights file is a safetensors file (it cannot run code) whose metadata holds the generator's
configuration, so that a file alone is enough to build the network. Beside it stands its model
card, ``NAME.json``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..generator import Generator, GeneratorConfig


@contextmanager
def atomic(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path in the same folder, renamed to ``path`` on success, removed on failure.

    The temporary name ends in ``suffix`` (writers that choose a format by name need it).
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp gives 0600
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: str | Path, value: object) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def weights_folder() -> Path:
    """Folder of the shipped weights: in a checkout ``data/weights``, in a wheel the package's."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "data" / "weights"
    return checkout if checkout.is_dir() else package / "weights"


def shipped() -> dict[str, Path]:
    """Names and files of the shipped generators."""
    return {path.stem: path for path in sorted(weights_folder().glob("*.safetensors"))}


def save_generator(generator: Generator, path: str | Path, *, half: bool = False) -> Path:
    """Write a generator's weights and configuration; ``half`` stores them as float16."""
    from safetensors.torch import save_file

    state = {
        key: value.detach().cpu().half() if half and value.is_floating_point() else value.cpu()
        for key, value in generator.state_dict().items()
    }
    path = Path(path)
    metadata = {"config": json.dumps(asdict(generator.config)), "format": "pt"}
    with atomic(path) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, temporary, metadata)
    return path


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a weights file, floating point ones as float32."""
    from safetensors.torch import load_file

    state = load_file(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load_generator(path: str | Path) -> Generator:
    """The generator of a weights file written by :func:`save_generator`, in evaluation mode."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if "config" not in metadata:
        raise ValueError(
            f"{path} has no generator configuration in its metadata: "
            "load it with lama_ref.official.load_generator, which reads it off the keys"
        )
    generator = Generator(GeneratorConfig(**json.loads(metadata["config"])))
    generator.load_state_dict(load_state_dict(path))
    return generator.eval()
