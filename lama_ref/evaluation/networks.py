"""Networks that judge pictures: LPIPS, the Inception network of FID, and one that ships here.

The first two need files that this project cannot ship. They are never downloaded unasked, and
never replaced by random weights: a number from those would look like LPIPS and mean nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..weights import names
from ..weights.files import checksum

Feature = Callable[[NDArray], NDArray[np.float64]]  # (n, 3, H, W) in [0, 1] -> (n, d)
Pair = Callable[[NDArray, NDArray], NDArray[np.float64]]  # two of these -> (n,)

SEGMENTATION, WIDTH = "segmentation-dilated", 64  # shipped network, and its features


def find(name: str, folder: str | Path | None = None) -> tuple[Path, str]:
    """The file of a network and its SHA-256, compared with what the registry of weights knows.

    Args:
        name: "lpips-vgg", "lpips-alex", "inception", or "segmentation", which is shipped.
        folder: where to look instead of the cache folder.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: it is another file than its name says.
    """
    if name == "segmentation":
        path = names.shipped("features")[SEGMENTATION]
        return path, checksum(path)
    entry = names.entry(name)
    files = [entry.file, *entry.others]
    path = names.fetched(name)
    if folder is not None:
        path = next((p for p in (Path(folder, n) for n in files) if p.is_file()), None)
    if path is None:
        looked = f"not in {folder}: put {files[0]} there, from {entry.url}" if folder else ""
        raise FileNotFoundError(
            f"{looked or names.missing(name)}; swd and kernel-segmentation need no download"
        )
    digest = checksum(path)
    if digest not in entry.known:
        raise ValueError(f"{path} is not {name}, its SHA-256 is {digest}: download it again")
    return path, digest


def import_torchvision() -> Any:
    """torchvision; its models work even if its compiled operators do not fit this torch."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for operator in ("nms", "qnms"):  # it looks for these by name; nothing here calls them
            torch.library.define(
                f"torchvision::{operator}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )
        import torchvision
    return torchvision


def lpips(name: str, path: Path, device: str | torch.device = "cpu") -> Pair:
    """Learned perceptual distance, version 0.1, from the ``lpips`` package.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
    (CVPR 2018). The paper reports the variant "lpips-vgg".

    Args:
        name: "lpips-vgg" or "lpips-alex".
        path: file of the backbone, torchvision's.
    """
    _need("lpips", "lpips", "course")
    import_torchvision()
    import lpips as package

    with warnings.catch_warnings():  # of torchvision, about arguments that lpips chooses
        warnings.simplefilter("ignore", UserWarning)
        network = package.LPIPS(net=name.removeprefix("lpips-"), pnet_rand=True, verbose=False)
    state = torch.load(path, map_location="cpu", weights_only=True)
    own = {  # "slice2.5.weight" there is "features.5.weight" in torchvision
        key: state["features." + key.split(".", 1)[1]] for key in network.net.state_dict()
    }
    network.net.load_state_dict(own)
    network = network.to(device).eval()

    @torch.inference_mode()
    def distance(result: NDArray, image: NDArray) -> NDArray[np.float64]:
        a, b = (torch.from_numpy(x).float().to(device) for x in (result, image))
        return network(a, b, normalize=True).reshape(-1).double().cpu().numpy()

    return distance


def inception(path: Path, device: str | torch.device = "cpu") -> Feature:
    """The 2048 features of FID: Inception of 2015, as ported by ``torch-fidelity``.

    Pictures are rounded to 8 bits and resized to 299 px by the network's own rule.
    """
    _need("torch_fidelity", "torch-fidelity", "fid")
    torch.load(path, map_location="cpu", weights_only=True)  # the package itself would run code
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"], str(path)).to(device)

    @torch.inference_mode()
    def features(images: NDArray) -> NDArray[np.float64]:
        pixels = torch.from_numpy((images * 255).round().astype(np.uint8)).to(device)
        return network(pixels)[0].double().cpu().numpy()

    return features


def segmentation(path: Path, device: str | torch.device = "cpu") -> Feature:
    """Features of the shipped segmentation network, mean over the picture: (n, 64).

    It was trained on procedural scenes. The same distances of its features are no FID and no
    KID: compare them among themselves.
    """
    network = names.load_features(path).to(device)

    @torch.inference_mode()
    def features(images: NDArray) -> NDArray[np.float64]:
        x = torch.from_numpy(images).float().to(device)
        return network(x)[-1].mean((2, 3)).double().cpu().numpy()

    return features


def _need(module: str, package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ModuleNotFoundError(f'needs {package}: pip install "lama-ref[{extra}]"')
