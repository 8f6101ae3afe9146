"""Weights that ship with the project: where they are, how they are read and written.

A weights file is a safetensors file (it cannot run code) whose metadata holds the generator's
configuration, so that a file alone is enough to build the network. Beside it stands its model
card, ``NAME.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from ..generator import Generator, GeneratorConfig
from ..perceptual import FeatureConfig, FeatureNet

Network = TypeVar("Network", bound=nn.Module)


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


def shipped(folder: str = "") -> dict[str, Path]:
    """Names and files of the shipped generators, or, in "features", of feature networks."""
    return {path.stem: path for path in sorted((weights_folder() / folder).glob("*.safetensors"))}


def save(network: Generator | FeatureNet, path: str | Path, *, half: bool = False) -> Path:
    """Write a network's weights and configuration; ``half`` stores them as float16."""
    from safetensors.torch import save_file

    state = {
        key: value.detach().cpu().half() if half and value.is_floating_point() else value.cpu()
        for key, value in network.state_dict().items()
    }
    path = Path(path)
    metadata = {"config": json.dumps(asdict(network.config))}  # one entry: their order varies
    with atomic(path) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, temporary, metadata)
    return path


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a weights file, floating point ones as float32."""
    from safetensors.torch import load_file

    state = load_file(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load_generator(path: str | Path) -> Generator:
    """The generator of a weights file, in evaluation mode.

    A file written by :func:`save` says what it holds; of any other checkpoint the
    published layout is read off the keys (:mod:`lama_ref.data.official`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or not of a generator.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    config = _metadata(path).get("config")
    if config is None:
        from . import official

        return official.load_generator(official.read_checkpoint(path))
    return _load(path, lambda: Generator(GeneratorConfig(**json.loads(config))))


def load_features(name: str | Path) -> FeatureNet:
    """A feature network for the perceptual loss, in evaluation mode.

    Args:
        name: shipped weights, "PRETEXT-KIND" with segmentation or classification, and dilated,
            regular or fourier, such as "segmentation-dilated"; or the path of a file.

    Raises:
        FileNotFoundError: neither.
        ValueError: not a file of a feature network.
    """
    path = shipped("features").get(str(name), Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"no feature network {str(name)!r}: give the path of a file, or one of "
            f"{', '.join(shipped('features'))}"
        )
    config = _metadata(path).get("config", "{}")
    return _load(path, lambda: FeatureNet(FeatureConfig(**json.loads(config))))


def _load(path: str | Path, build: Callable[[], Network]) -> Network:
    from safetensors import SafetensorError

    try:
        network = build()
        network.load_state_dict(load_state_dict(path))
    except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} does not hold the network that it should: {error}") from None
    return network.eval()


def _metadata(path: str | Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return {}  # another format


# --------------------------------------------------------------------------- model cards
def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def card(name: str | Path) -> dict:
    """The model card of weights (shipped ones by name, others by path): what, how, how good."""
    files = shipped() | shipped("features")
    path = files.get(str(name), Path(name)).with_suffix(".json")
    if not path.is_file():
        raise ValueError(f"no shipped weights {str(name)!r}: there are {', '.join(files)}")
    return json.loads(path.read_text(encoding="utf-8"))


def verify(name: str) -> str:
    """Compare shipped weights with their card; returns the problem, empty if there is none."""
    path = (shipped() | shipped("features"))[name]
    try:
        expected = card(name)["sha256"]
    except (OSError, KeyError, ValueError) as error:
        return f"model card {path.with_suffix('.json').name} unreadable ({error}): clone again"
    if checksum(path) != expected:
        return f"{path} differs from its model card's checksum: clone again"
    return ""
