"""The format of this project's weights: what a file holds, how it is written and read.

A weights file is a safetensors file (it cannot run code) whose metadata holds the generator's
configuration, so that a file alone is enough to build the network. Beside it stands its model
card, ``NAME.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from ..discriminator import Discriminator, ProjectedDiscriminator
from ..generator import Generator, GeneratorConfig
from ..perceptual import FeatureNet
from . import official
from .files import atomic

Network = TypeVar("Network", bound=nn.Module)
Networks = tuple[Generator, Discriminator | ProjectedDiscriminator | None]


def save(network: Generator | FeatureNet, path: str | Path, *, half: bool = False) -> Path:
    """Write a network's weights and configuration; ``half`` stores them as float16.

    Raises:
        ValueError: its global branch is not registered, so nobody could build it again.
    """
    return _write(path, network.state_dict(), {"config": described(network)}, half)


def described(network: Generator | FeatureNet) -> dict:
    """The configuration of a network, as plain values; see :func:`save` for the error."""
    config = asdict(network.config)
    if config.get("spectral") == "unregistered":
        raise ValueError(
            "this generator has a global branch without a name, so its file could not be loaded: "
            '@lama_ref.register_spectral("name") on the factory, before the generator is built'
        )
    return config


def _write(path: str | Path, state: Mapping[str, Tensor], metadata: dict, half: bool) -> Path:
    """A safetensors file with one entry of metadata (the order of several varies)."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def stored(value: Tensor) -> Tensor:
        value = value.detach().cpu()
        shrink = half and value.is_floating_point() and value.abs().max() < 6e4  # float16 ends
        return (value.half() if shrink else value).contiguous()

    path = Path(path)
    tensors = {key: stored(value) for key, value in state.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, {k: json.dumps(v) for k, v in metadata.items()})
        except SafetensorError as error:  # what of the system's errors becomes of it
            raise OSError(f"cannot write {path} ({error}): make room on the disk") from None
    return path


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a weights file, floating point ones as float32."""
    from safetensors.torch import load_file

    state = load_file(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load_generator(path: str | Path) -> Generator:
    """The generator of a weights file, in evaluation mode.

    A file written by :func:`save` says what it holds; of any other checkpoint the
    published layout is read off the keys (:mod:`lama_ref.weights.official`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or not of a generator.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    if "config" not in metadata_of(path):
        return official.load_generator(path)
    return load_network(path, lambda config: Generator(GeneratorConfig(**config)))


def save_training(
    path: str | Path, generator: Generator, discriminator: nn.Module | None, *, half=False
) -> Path:
    """Write what training can go on from: the generator as it is, and its discriminator."""
    state = {f"generator.{k}": v for k, v in generator.state_dict().items()}
    if discriminator is not None:
        state |= {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}
    return _write(path, state, {"training": layout(generator, discriminator)}, half)


def layout(generator: Generator, discriminator: nn.Module | None) -> dict:
    """What it takes to build two networks again, as plain values."""
    return {"generator": described(generator), "discriminator": settings(discriminator)}


def settings(discriminator: nn.Module | None) -> dict | list | None:
    """What it takes to build a discriminator again; a projected one is given its features later."""
    if isinstance(discriminator, ProjectedDiscriminator):
        return {"channels": list(discriminator.channels), "width": discriminator.width}
    if isinstance(discriminator, Discriminator):
        return [discriminator.width, discriminator.layers, discriminator.max_width]
    return None


def from_layout(about: dict, parts: Mapping[str, Mapping]) -> Networks:
    """The networks of a :func:`layout` with these weights, "generator" and "discriminator"."""
    g, d = Generator(GeneratorConfig(**about["generator"])), None
    g.load_state_dict(parts["generator"])
    if (how := about["discriminator"]) is not None:
        d = ProjectedDiscriminator(None, **how) if isinstance(how, dict) else Discriminator(*how)
        d.load_state_dict(parts["discriminator"])
    return g, d


def load_network(path: str | Path, build: Callable[[dict], Network]) -> Network:
    """The network that ``build`` makes of a file's configuration, with the weights in it.

    Raises:
        ValueError: the file does not hold one of these.
    """
    from safetensors import SafetensorError

    try:
        network = build(json.loads(metadata_of(path)["config"]))
        network.load_state_dict(load_state_dict(path))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} does not hold the network that it should: {error}") from None
    return network.eval()


def metadata_of(path: str | Path) -> dict[str, str]:
    """What stands in a safetensors file beside its tensors; empty for other formats."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return {}  # another format
