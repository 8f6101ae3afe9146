"""One model on one set of pictures and masks: every metric that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import distances, judge, networks
from .held_out import Pictures
from .metrics import PICTURE_METRICS, Metric, bootstrap_counts
from .texture import TexturePatches, resampled, sliced_wasserstein

_OWN = f"features of the shipped network {networks.SEGMENTATION}; neither FID nor KID"
_INCEPTION = "Inception of 2015 by torch-fidelity, composites rounded to 8 bits"
METRICS = PICTURE_METRICS | {
    "swd": Metric(
        "sliced Wasserstein-1 distance, 128 patches of 7x7 centred in each hole, Laplacian "
        "pyramid down to 32 px, 256 directions, real spread, mean over levels"
    ),
    "lpips-vgg": Metric("LPIPS 0.1 on VGG16, whole picture", network="lpips-vgg"),
    "lpips-alex": Metric("LPIPS 0.1 on AlexNet, whole picture", network="lpips-alex"),
    "kernel-segmentation": Metric(
        f"unbiased squared kernel distance, {_OWN}", "low", False, network="segmentation", least=20
    ),
    "frechet-segmentation": Metric(
        f"Frechet distance, {_OWN}", network="segmentation", least=networks.WIDTH
    ),
    **judge.METRICS,
    "fid": Metric(f"Frechet distance, {_INCEPTION}", network="inception", least=2048),
    "kid": Metric(
        f"unbiased squared kernel distance, {_INCEPTION}", "low", False, None, "inception", 20
    ),
    "p-ids": Metric(
        f"paired errors of a linear classifier, {_INCEPTION}",
        "high",
        False,
        None,
        "inception",
        4096,
    ),
    "u-ids": Metric(
        f"errors of a linear classifier, {_INCEPTION}", "high", False, None, "inception", 4096
    ),
}
NO_DOWNLOAD = (*PICTURE_METRICS, "swd", "kernel-segmentation")


def choose(names: Sequence[str], n: int) -> list[str]:
    """The metrics to measure of n pictures; by default those that need no download.

    Raises:
        ValueError: no such metric, or one that means nothing for so few pictures.
    """
    for name in names:
        if name not in METRICS:
            raise ValueError(f"no metric {name!r}: choose from {', '.join(METRICS)}")
        if n < METRICS[name].least:
            raise ValueError(
                f"{name} of {n:,} pictures would mean nothing, it needs {METRICS[name].least:,}: "
                f"use {'swd' if n < 20 else 'swd or kernel-segmentation'}"
            )
    return list(names) or [name for name in NO_DOWNLOAD if n >= METRICS[name].least]


class Judges:
    """Some metrics with the networks that they need.

    Attributes:
        variants: of each metric, with the hash of its network.
    """

    def __init__(self, metrics: Sequence[str], folder: Any = None, device: Any = "cpu") -> None:
        self.features: dict[str, networks.Feature] = {}
        self.pairs: dict[str, networks.Pair] = {}
        self.judge: judge.Judge | None = None
        self.variants = {}
        for name in metrics:
            network = METRICS[name].network
            self.variants[name] = METRICS[name].variant
            if network is None:
                continue
            if network == judge.NETWORK:
                self.judge = self.judge or judge.Judge(device)
                self.variants[name] += f" (weights {self.judge.sha256[:12]})"
                continue
            path, digest = networks.find(network, folder)
            self.variants[name] += f" (weights {digest[:12]})"
            if network == "segmentation":
                self.features.setdefault(network, networks.segmentation(path, device))
            elif network == "inception":
                self.features.setdefault(network, networks.inception(path, device))
            else:
                self.pairs[name] = networks.lpips(name, path, device)


class Cell:
    """Pictures and masks of one kind and size, and what the metrics keep of the real ones."""

    def __init__(self, pictures: Pictures, holes: NDArray, judges: Judges, batch: int) -> None:
        self.pictures, self.holes, self.judges, self.batch = pictures, holes, judges, batch
        self.patches: TexturePatches | None = None
        self.real: dict[str, NDArray] = {}
        if "frechet-holes" in judges.variants:
            judge.check(holes)

    def _look_at_real(self) -> None:
        if "swd" in self.judges.variants and self.patches is None:
            self.patches = TexturePatches(self.pictures.chunks(1), self.holes)
        for name, features in self.judges.features.items():
            if name not in self.real:
                chunks = self.pictures.chunks(self.batch)
                self.real[name] = np.concatenate([features(images) for images in chunks])

    def measure(
        self,
        fill: Callable[[NDArray, NDArray], NDArray],
        done: Callable[[int], Any] = lambda n: None,
        draws: int = 2000,
    ) -> dict[str, Any]:
        """ "values" of each picture, and of "sets": value, bootstrap draws, and more.

        Args:
            fill: (images (n, 3, H, W), masks (n, H, W)) -> filled images.
            done: is told how many pictures have been done.

        Raises:
            ValueError: NaN in what was filled.
        """
        self._look_at_real()
        judges, first = self.judges, 0
        values: dict[str, list[float]] = {}
        features: dict[str, list[NDArray]] = {name: [] for name in judges.features}
        projected: list[list[NDArray]] = []
        moments: list[list[NDArray]] = []
        for images in self.pictures.chunks(self.batch):
            masks = self.holes[first : first + len(images)]
            result = np.where(masks[:, None], fill(images, masks), images)
            if not np.isfinite(result).all():
                raise ValueError("this model fills with NaN: is its training finished?")
            for name in judges.variants:
                compute = METRICS[name].compute
                if compute or name in judges.pairs:
                    one = compute(result, images, masks) if compute else None
                    one = judges.pairs[name](result, images) if one is None else one
                    values.setdefault(name, []).extend(short(v) for v in one)
            if judges.judge:
                maps = [judges.judge.look(x) for x in (result, images)]
                if "perceptual-lite1" in judges.variants:
                    one = judges.judge.differences(*maps)
                    values.setdefault("perceptual-lite1", []).extend(short(v) for v in one)
                moments.append([judges.judge.moments(m, masks) for m in maps])
            for name, look in judges.features.items():
                features[name].append(look(result))
            if self.patches:
                projected.append(self.patches.project(result, first))
            first += len(images)
            done(len(images))
        sets, counts = {}, bootstrap_counts(first, draws)
        for name in judges.variants:
            network = METRICS[name].network
            if name == "swd" and self.patches:
                fake = [np.concatenate(level) for level in zip(*projected)]
                levels = sliced_wasserstein(fake, self.patches.real)
                one = {"value": np.mean(levels), "levels": [short(v) for v in levels]}
                one["draws"] = resampled(fake, self.patches.real, counts)
            elif name == "frechet-holes":
                fake, real = (np.concatenate(m) for m in zip(*moments))
                one = judge.frechet_holes(fake, real, counts)
            elif network in features:
                one = _compare(name, np.concatenate(features[network]), self.real[network], counts)
            else:
                continue
            one["value"], one["draws"] = short(one["value"]), [short(v) for v in one["draws"]]
            sets[name] = one
        return {"values": values, "sets": sets}


def _compare(name: str, fake: NDArray, real: NDArray, counts: NDArray) -> dict[str, Any]:
    """A metric of two sets of features: value and draws, of which there may be none."""
    draws: Any = []
    if name in ("kernel-segmentation", "kid"):
        value, error = distances.kernel_distance(fake, real)
        draws = distances.resampled_kernel(distances.kernel_terms(fake, real), counts)
        return {"value": value, "draws": draws, "standard_error": short(error)}
    if name in ("p-ids", "u-ids"):
        value = distances.discriminative_scores(fake, real)[name == "u-ids"]
    else:
        value = distances.frechet_distance(fake, real)
        if fake.shape[1] < 200:  # of 2,048 features it would take hours
            draws = [distances.frechet_distance(fake, real, c) for c in counts]
    return {"value": value, "draws": draws}


def short(value: float) -> float:
    """A number with six digits, for files."""
    return float(f"{value:.6g}")
