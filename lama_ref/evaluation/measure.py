"""One model at one place: what every metric that was asked for sees, and the score it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import distances, judge, networks
from .held_out import Pictures
from .metrics import PICTURE_METRICS, Metric, Score, bootstrap_counts
from .texture import TexturePatches, resampled, sliced_wasserstein

Fill = Callable[[NDArray, NDArray], NDArray]
"""(images (n, 3, H, W), masks (n, H, W)) -> filled images."""


# --------------------------------------------------------------------------- metrics of sets
def _texture(fake: NDArray, real: NDArray, counts: NDArray) -> Score:
    """From projected patches (n, levels, per picture, directions)."""
    by_level = list(fake.swapaxes(0, 1)), list(real.swapaxes(0, 1))
    levels = sliced_wasserstein(*by_level)
    return Score(float(np.mean(levels)), resampled(*by_level, counts), {"levels": levels})


def _kernel(fake: NDArray, real: NDArray, counts: NDArray) -> Score:
    value, error = distances.kernel_distance(fake, real)
    draws = distances.resampled_kernel(distances.kernel_terms(fake, real), counts)
    return Score(value, draws, {"standard_error": error})


def _frechet(fake: NDArray, real: NDArray, counts: NDArray) -> Score:
    value, draws = distances.frechet_distance(fake, real), None
    if fake.shape[1] < 200:  # of 2,048 features it would take hours
        draws = np.array([distances.frechet_distance(fake, real, c) for c in counts])
    return Score(value, draws)


_OWN = f"features of the shipped network {networks.SEGMENTATION}; neither FID nor KID"
_INCEPTION = "Inception of 2015 by torch-fidelity, composites rounded to 8 bits"
_unbiased = partial(Metric, score=_kernel, least=20, signed=True)
METRICS = PICTURE_METRICS | {
    "swd": Metric(
        "sliced Wasserstein-1 distance, 128 patches of 7x7 centred in each hole, Laplacian "
        "pyramid down to 32 px, 256 directions, real spread, mean over levels",
        score=_texture,
    ),
    "lpips-vgg": Metric("LPIPS 0.1 on VGG16, whole picture", network="lpips-vgg"),
    "lpips-alex": Metric("LPIPS 0.1 on AlexNet, whole picture", network="lpips-alex"),
    "kernel-segmentation": _unbiased(
        f"unbiased squared kernel distance, {_OWN}", network="segmentation"
    ),
    "frechet-segmentation": Metric(
        f"Frechet distance, {_OWN}", "low", None, _frechet, "segmentation", networks.WIDTH
    ),
    **judge.METRICS,
    "fid": Metric(f"Frechet distance, {_INCEPTION}", "low", None, _frechet, "inception", 2048),
    "kid": _unbiased(f"unbiased squared kernel distance, {_INCEPTION}", network="inception"),
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


def variant(name: str, device: Any = "cpu") -> str:
    """What a metric is, for a file: with the hash of its network, which must be there."""
    metric = METRICS[name]
    if metric.network is None:
        return metric.variant
    _, digest = networks.load(metric, device)
    return f"{metric.variant} (weights {digest[:12]})"


# --------------------------------------------------------------------------- measuring
class Truth:
    """The real pictures of one place, their holes, and what the metrics see in them.

    Args:
        metrics: names, from :func:`choose`.
        batch: pictures in memory at once.

    Raises:
        ValueError: holes too small for a metric.
    """

    def __init__(
        self,
        pictures: Pictures,
        holes: NDArray,
        metrics: Sequence[str],
        device: Any = "cpu",
        batch: int = 8,
    ) -> None:
        self.pictures, self.holes, self.batch = pictures, holes, batch
        if "frechet-holes" in metrics:
            judge.check(holes)
        self._see = {name: self._instrument(name, device) for name in metrics}
        of_sets = [name for name in metrics if METRICS[name].score]
        self._real = self._rows(lambda images, masks: images, of_sets)

    def measure(self, fill: Fill, progress: str | None = None) -> dict[str, Score]:
        """By metric, the score of what fills the holes; ``progress`` is a bar's text.

        Raises:
            ValueError: NaN in what was filled.
        """
        counts, scores = bootstrap_counts(len(self.holes)), {}
        for name, rows in self._rows(fill, self._see, progress).items():
            if score := METRICS[name].score:
                scores[name] = score(rows, self._real[name], counts)
            else:
                scores[name] = Score(rows.mean(), counts @ rows / len(rows))
        return scores

    def _instrument(self, name: str, device: Any) -> Callable[..., NDArray]:
        """(result, images, masks, number of the first) -> a row for each picture."""
        metric = METRICS[name]
        if name == "swd":
            patches = TexturePatches(self.pictures.chunks(1), self.holes)
            return lambda y, x, mask, first: np.stack(patches.project(y, first), 1)
        see = metric.compute or networks.load(metric, device)[0]
        return lambda y, x, mask, first: see(y, x, mask)

    def _rows(
        self, fill: Fill, names: Iterable[str], progress: str | None = None
    ) -> dict[str, NDArray]:
        """What the metrics see of the pictures when they are filled."""
        from tqdm import tqdm

        rows: dict[str, list[NDArray]] = {name: [] for name in names}
        first, chunks = 0, self.pictures.chunks(self.batch) if rows else ()
        with tqdm(total=len(self.holes), desc=progress, disable=not progress, leave=False) as bar:
            for images in chunks:
                masks = self.holes[first : first + len(images)]
                result = np.where(masks[:, None], fill(images, masks), images)
                if not np.isfinite(result).all():
                    raise ValueError("this model fills with NaN: is its training finished?")
                for name in names:
                    rows[name].append(self._see[name](result, images, masks, first))
                first += len(images)
                bar.update(len(images))
        return {name: np.concatenate(parts) for name, parts in rows.items()}
