"""Networks that judge pictures: LPIPS, the Inception network of FID, ours, and the judge's.

The first two need files that this project cannot ship. They are never downloaded unasked, and
never replaced by random weights: a number from those would look like LPIPS and mean nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..weights import names
from ..weights.files import checksum
from . import judge
from .metrics import Metric

# (result, image, mask), two of (n, 3, H, W) in [0, 1] and (n, H, W) -> (n,), the distance of each
# picture from the real one; or (n, d), features of the result, whatever else is given
Network = Callable[..., NDArray[np.float64]]

SEGMENTATION, WIDTH = "segmentation-dilated", 64  # shipped network, and its features


@cache
def load(metric: Metric, device: str | torch.device = "cpu") -> tuple[Network, str]:
    """What a metric looks through, and the SHA-256 of its weights.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: see :func:`find`; or a package.
    """
    if metric.network == judge.NETWORK:
        one = judge.Judge(device)
        return one.moments if metric.score else one.differences, one.sha256
    name = str(metric.network)
    path, digest = find(name)
    make = {"segmentation": segmentation, "inception": inception}.get(name, partial(lpips, name))
    return make(path, device), digest


def find(name: str) -> tuple[Path, str]:
    """The file of a network and its SHA-256, compared with what the registry of weights knows.

    Args:
        name: "lpips-vgg", "lpips-alex", "inception", or "segmentation", which is shipped.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: it is another file than its name says.
    """
    if name == "segmentation":
        path = names.shipped("features")[SEGMENTATION]
        return path, checksum(path)
    path = names.fetched(name)
    if path is None:
        raise FileNotFoundError(
            f"{names.missing(name)}; swd and kernel-segmentation need no download"
        )
    digest = checksum(path)
    if digest not in names.entry(name).known:
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


def lpips(name: str, path: Path, device: str | torch.device = "cpu") -> Network:
    """Learned perceptual distance, version 0.1, from the ``lpips`` package.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
    (CVPR 2018). The paper reports the variant "lpips-vgg".

    Args:
        name: "lpips-vgg" or "lpips-alex".
        path: file of the backbone, torchvision's.
    """
    need("lpips", "lpips")
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
    def distance(result: NDArray, image: NDArray, *mask: NDArray) -> NDArray[np.float64]:
        a, b = (torch.from_numpy(x).float().to(device) for x in (result, image))
        return network(a, b, normalize=True).reshape(-1).double().cpu().numpy()

    return distance


def inception(path: Path, device: str | torch.device = "cpu") -> Network:
    """The 2048 features of FID: Inception of 2015, as ported by ``torch-fidelity``.

    Pictures are rounded to 8 bits and resized to 299 px by the network's own rule.
    """
    need("torch_fidelity", "torch-fidelity", "fid")
    torch.load(path, map_location="cpu", weights_only=True)  # the package itself would run code
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"], str(path)).to(device)

    @torch.inference_mode()
    def features(images: NDArray, *others: NDArray) -> NDArray[np.float64]:
        pixels = torch.from_numpy((images * 255).round().astype(np.uint8)).to(device)
        return network(pixels)[0].double().cpu().numpy()

    return features


def segmentation(path: Path, device: str | torch.device = "cpu") -> Network:
    """Features of the shipped segmentation network, mean over the picture: (n, 64).

    It was trained on procedural scenes. The same distances of its features are no FID and no
    KID: compare them among themselves.
    """
    network = names.load_features(path).to(device)

    @torch.inference_mode()
    def features(images: NDArray, *others: NDArray) -> NDArray[np.float64]:
        x = torch.from_numpy(images).float().to(device)
        return network(x)[-1].mean((2, 3)).double().cpu().numpy()

    return features


def need(module: str, package: str, extra: str = "course") -> None:
    """ModuleNotFoundError if a package is missing; says what to install."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ModuleNotFoundError(f'needs {package}: pip install "lama-ref[{extra}]"')
