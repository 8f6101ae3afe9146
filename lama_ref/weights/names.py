"""What weights are called, and where they are: shipped, published, of a run, or a file's path.

Built on the other files of this room, none of which knows a name. What is published and does
not ship is in ``published.json``, beside the shipped weights.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from ..generator import PRESETS
from ..perceptual import EfficientNetLite, FeatureConfig, FeatureNet, ResNet50
from . import format, official
from .fetch import Entry
from .files import checksum
from .format import Networks, metadata_of

RESULTS = ("training.safetensors", "weights.safetensors", "models/best.ckpt")
"""What a finished run leaves to go on from; the last one as LaMa's authors publish it."""
EFFICIENTNETS = ("efficientnet-lite0", "efficientnet-lite1")


# --------------------------------------------------------------------------- what there is
def weights_folder() -> Path:
    """Folder of the shipped weights: in a checkout ``data/weights``, in a wheel the package's."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "data" / "weights"
    return checkout if checkout.is_dir() else package / "weights" / "shipped"


def shipped(folder: str = "") -> dict[str, Path]:
    """Names and files of the shipped generators, or, in "features", of feature networks."""
    return {path.stem: path for path in sorted((weights_folder() / folder).glob("*.safetensors"))}


@cache
def published() -> dict[str, Entry]:
    """What others have published: names, and what is known of each."""
    text = (weights_folder() / "published.json").read_text(encoding="utf-8")
    return {name: Entry(**about) for name, about in json.loads(text).items()}


def entry(name: str) -> Entry:
    """The published weights of that name; a ValueError names those that there are."""
    if name not in published():
        ships = "ships with this project" if name in shipped() else "unknown"
        raise ValueError(f"{name!r} is {ships}: what can be fetched is {', '.join(published())}")
    return published()[name]


def card(name: str | Path) -> dict:
    """The model card of weights (shipped ones by name, others by path), or what is published."""
    if name in published():
        return {key: value for key, value in asdict(entry(str(name))).items() if value}
    files = shipped() | shipped("features")
    path = files.get(str(name), Path(name)).with_suffix(".json")
    if not path.is_file():
        raise ValueError(f"no weights {str(name)!r}: there are {', '.join((*files, *published()))}")
    return json.loads(path.read_text(encoding="utf-8"))


# --------------------------------------------------------------------------- where it is
def find(name: str | Path, kind: Literal["generator", "training", "features"]) -> Path:
    """The file of weights.

    Args:
        name: of shipped or published weights; path of a file, of a run's folder, or of a folder
            as the authors publish it (with ``models/best.ckpt``).
        kind: what they are for: "generator"; "training", a generator with what it takes to go
            on training it; "features" of the perceptual loss; "metric".

    Raises:
        ValueError: unknown name, or published weights that are not here; says how to get them.
        FileNotFoundError: no file at the path.
    """
    key, path = str(name), Path(name)
    ships = shipped("features") if kind == "features" else shipped()
    ships |= shipped("training") if kind == "training" else {}
    inside = {"training": RESULTS, "generator": RESULTS[1:], "features": ()}[kind]
    for file in (ships.get(key, path), *(path / result for result in inside)):
        if file.is_file():
            return file
    published_kind = "features" if kind == "features" else "generator"
    others = [other for other, e in published().items() if e.kind == published_kind]
    if key in others:
        if (found := fetched(key)) is None:
            raise ValueError(missing(key))
        return found
    if path.suffix or len(path.parts) > 1 or path.exists():
        raise FileNotFoundError(f"no weights at {path}: expected a file or a run's folder")
    hint = f"; {key!r} is an architecture: give the path of its weights" * (key in PRESETS)
    raise ValueError(
        f"no weights {key!r}: {', '.join(ships)} are shipped, and "
        f"{', '.join(others)} can be fetched{hint}"
    )


def cache_folder() -> Path:
    """Where fetched files lie: $LAMA_REF_CACHE, or ``lama_ref`` in $XDG_CACHE_HOME or ~/.cache."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "lama_ref")
    return Path(os.environ.get("LAMA_REF_CACHE") or usual).expanduser()


def fetched(name: str) -> Path | None:
    """The file of published weights, however it came here; None if it is not here.

    Looked for in the cache folder, then where PyTorch and programs like it keep downloads; or in
    the package that carries it.
    """
    e = entry(name)
    folders = [cache_folder(), Path(torch.hub.get_dir()) / "checkpoints"]
    if e.package:
        package = importlib.util.find_spec(e.package.replace("-", "_"))
        folders = [Path(package.origin).parent] if package and package.origin else []
    files = (folder / file for folder in folders for file in (e.file, *e.others))
    return next((file for file in files if file.is_file()), None)


def missing(name: str) -> str:
    """What to do about published weights that are not here."""
    e = entry(name)
    if e.package:
        return f"{name} comes with a package that is not installed: pip install {e.package}"
    return (
        f"{name} is not shipped, and not fetched so far: lama-ref weights fetch {name} loads them "
        f"({e.size}) from {e.url}; or put the file at {cache_folder() / e.file}"
    )


def verify(name: str) -> tuple[bool | None, str]:
    """Whether shipped or fetched weights are what they should be (None: nobody knows), and why.

    Raises:
        ValueError: unknown name, or not here.
    """
    ours = (shipped() | shipped("features")).get(name)
    path = ours or fetched(name)
    if path is None:
        raise ValueError(missing(name))
    try:
        known = [card(name)["sha256"]] if ours else list(entry(name).known)
    except (OSError, KeyError, ValueError) as error:
        return False, f"{path.stem}.json, its model card, is unreadable ({error}): clone again"
    digits = checksum(path)
    if not known:
        return None, f"{path}: no checksum is published; its SHA-256 is {digits}"
    if digits in known:
        return True, "checksum fits the model card" if ours else f"{path}: SHA-256 as expected"
    again = "clone" if ours else "fetch it"
    return False, f"{path}: SHA-256 is {digits}, expected {' or '.join(known)}: {again} again"


# --------------------------------------------------------------------------- networks by name
def load_training(start: str | Path) -> Networks:
    """Networks to go on training from: (generator, its discriminator if there is one).

    Args:
        start: as :func:`find` takes it; weights of ours or a published checkpoint.

    Raises:
        FileNotFoundError, ValueError: no such file, or not one of these.
    """
    path = find(start, "training")
    metadata = metadata_of(path)
    if "config" in metadata:
        return format.load_generator(path), None
    if "training" not in metadata:
        state = official.read_checkpoint(path)
        has = any(key.startswith("discriminator.") for key in state)
        d = official.load_discriminator(state) if has else None
        return official.load_generator(state), d
    parts: dict[str, dict] = {"generator": {}, "discriminator": {}}
    for key, value in format.load_state_dict(path).items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    return format.from_layout(json.loads(metadata["training"]), parts)


def load_features(name: str | Path) -> FeatureNet:
    """A feature network of ours for the perceptual loss, in evaluation mode.

    Args:
        name: shipped weights, "PRETEXT-KIND" with segmentation or classification, and dilated,
            regular or fourier, such as "segmentation-dilated"; or the path of a file.

    Raises:
        FileNotFoundError, ValueError: neither, or not a file of such a network.
    """
    path = find(name, "features")
    return format.load_network(path, lambda config: FeatureNet(FeatureConfig(**config)))


def load_efficientnet(name: str, stages: Sequence[int] = (1, 2, 3, 5, 6)) -> EfficientNetLite:
    """An ImageNet classifier's features, frozen, its weights from the package that carries them.

    Args:
        name: of :data:`EFFICIENTNETS`.
        stages: which maps it returns, see :class:`~lama_ref.perceptual.EfficientNetLite`.

    Raises:
        ValueError: the package is missing, or its file is not the one known.
    """
    path, about = find(name, "features"), entry(name)
    if checksum(path) not in about.known:
        raise ValueError(f"{path} is not the file known as {name}: install {about.package} again")
    network = EfficientNetLite(name.removeprefix("efficientnet-"), stages)
    state = official.read_checkpoint(path)  # its classifier, and other stages, stay behind
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    return network.eval().requires_grad_(False)


def load_encoder(
    name: str | Path, stages: Sequence[int] = (1, 2, 3, 5, 6)
) -> FeatureNet | ResNet50 | EfficientNetLite:
    """As :func:`load_features` and :func:`load_efficientnet` (which alone heeds ``stages``), or
    the published encoder, fetched by name or from a file."""
    if name in EFFICIENTNETS:
        return load_efficientnet(str(name), stages)
    path = find(name, "features")
    return load_features(path) if "config" in metadata_of(path) else official.load_hrf_encoder(path)
