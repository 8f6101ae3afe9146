"""Metrics of single pictures, looking where it matters, and intervals over pictures.

Every metric maps (result, image, mask) to one number for each picture: results and images
(n, 3, H, W) in [0, 1], masks (n, H, W) bool, True in the hole. A result is the composite, known
pixels copied: on the whole picture a metric then mostly measures how much of it is hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


# --------------------------------------------------------------------------- closeness
def l1(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Mean absolute error over the whole picture."""
    return np.abs(_difference(result, image, mask)).mean((1, 2, 3))


def hole_l1(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Mean absolute error over hole pixels and channels."""
    return _in_hole(np.abs(_difference(result, image, mask)).mean(1), mask)


def psnr(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Peak signal-to-noise ratio of the whole picture in dB, at most 100."""
    return _decibel((_difference(result, image, mask) ** 2).mean((1, 2, 3)))


def hole_psnr(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Peak signal-to-noise ratio of the hole in dB, at most 100."""
    return _decibel(_in_hole((_difference(result, image, mask) ** 2).mean(1), mask))


def ssim(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Structural similarity, mean over the whole picture."""
    _difference(result, image, mask)
    return ssim_map(result, image).mean((1, 2))


def hole_ssim(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Structural similarity, mean over windows centred in the hole."""
    _difference(result, image, mask)
    return _in_hole(ssim_map(result, image), mask)


def hole_correlation(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Is the pattern continued in step? Pearson correlation of grey values in the hole, -1 to 1.

    For pictures whose hidden part is determined by the rest, such as periodic ones: 1 for the
    right pattern in the right place (even if paler), 0 for a flat fill or one out of step.
    """
    _difference(result, image, mask)
    values = []
    for y, x, hole in zip(result, image, mask):
        y, x = (v.astype(np.float64).mean(0)[hole] for v in (y, x))
        y, x = y - y.mean(), x - x.mean()
        spread = np.sqrt((y * y).mean() * (x * x).mean())
        values.append((x * y).mean() / spread if spread > 1e-6 else 0.0)
    return np.array(values)


def ssim_map(result: NDArray, image: NDArray) -> Values:
    """Structural similarity around each pixel, mean over channels: (n, H, W).

    As in the published evaluation: Gaussian window of 11 pixels, sigma 1.5, moments without
    bias correction, and black outside the picture (which raises the values at its border).

    Source: Wang et al., Image Quality Assessment (IEEE TIP, 2004).
    """
    from scipy.ndimage import correlate1d

    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(x: NDArray) -> NDArray:
        for axis in (-2, -1):
            x = correlate1d(x, window, axis, mode="constant")
        return x

    def one(a: NDArray, b: NDArray) -> NDArray:  # a picture at a time: five maps are in memory
        mu_a, mu_b = mean(a), mean(b)
        var_a, var_b = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2
        covariance = mean(a * b) - mu_a * mu_b
        luminance = (2 * mu_a * mu_b + 0.01**2) / (mu_a**2 + mu_b**2 + 0.01**2)
        return (luminance * (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2)).mean(0)

    return np.stack(
        [one(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(result, image)]
    )


# --------------------------------------------------------------------------- at the hole's edge
def ring_colour(result: NDArray, image: NDArray, mask: NDArray, width: int | None = None) -> Values:
    """Is the fill tinted where it meets the picture? Error of the mean colour there.

    For each connected hole the mean colours of the ring of hole pixels next to the known ones
    are compared, then averaged over holes by the size of their rings. Texture cancels out, a
    wrong hue does not.

    Args:
        width: of the ring in pixels; None for a 64th of the short side, at least 2.
    """
    from scipy.ndimage import distance_transform_cdt, label, mean

    difference = _difference(result, image, mask)
    width = width or max(2, min(mask.shape[1:]) // 64)
    values = []
    for d, hole in zip(difference, mask):
        parts = np.asarray(label(hole, np.ones((3, 3)))[0])  # type: ignore
        near = distance_transform_cdt(hole) if not hole.all() else np.ones(hole.shape)
        ring = parts * (np.asarray(near) <= width)
        names, sizes = np.unique(ring[ring > 0], return_counts=True)
        errors = np.abs([mean(channel, ring, names) for channel in d]).mean(0)  # of each hole
        values.append(np.average(errors, weights=sizes))
    return np.array(values)


def colour_grain(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Is there coloured speckle? Fine detail of colour in the hole beyond that of the real picture.

    Colour is each channel minus the mean of the three, detail its difference from the mean of
    5 x 5 pixels, measured as mean absolute value: 0 is right, above 0 speckle, below 0 too smooth.
    """
    from scipy.ndimage import uniform_filter

    _difference(result, image, mask)

    def detail(x: NDArray) -> NDArray:
        colour = x.astype(np.float64) - x.mean(1, keepdims=True, dtype=np.float64)
        return np.abs(colour - uniform_filter(colour, 5, axes=(2, 3))).mean(1)

    return _in_hole(detail(result) - detail(image), mask)


def seam_gradient(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """Is there an edge where the hole's edge was? Excess of the step across it.

    The mean absolute difference of neighbours, one known and one in the hole, minus the same of
    the real picture: 0 is right, above 0 a seam shows, below 0 the fill is smoother than real.
    """
    _difference(result, image, mask)
    total, pairs = np.zeros(len(mask)), np.zeros(len(mask))
    for axis in (1, 2):
        border = np.diff(mask, axis=axis)  # of bools: True where they differ
        for sign, x in ((1, result), (-1, image)):
            step = np.abs(np.diff(x.astype(np.float64), axis=axis + 1)).mean(1)
            total += sign * (step * border).sum((1, 2))
        pairs += border.sum((1, 2))
    return total / np.maximum(pairs, 1)


# --------------------------------------------------------------------------- helpers
def _difference(result: NDArray, image: NDArray, mask: NDArray) -> Values:
    """result - image in float64, after a look at what was given."""
    n, height, width = mask.shape if mask.ndim == 3 else (0, 0, 0)
    if mask.dtype != bool or result.shape != image.shape or image.shape != (n, 3, height, width):
        raise ValueError(
            "metrics take two (n, 3, H, W) arrays and a bool mask (n, H, W), "
            f"not {result.shape}, {image.shape} and {mask.dtype} {mask.shape}"
        )
    empty = ~mask.any((1, 2))
    if empty.any():
        raise ValueError(f"mask {int(empty.argmax())} hides nothing: there is no hole error")
    return result.astype(np.float64) - image


def _in_hole(values: NDArray, mask: NDArray) -> Values:
    return (values * mask).sum((1, 2)) / mask.sum((1, 2))


def _decibel(mean_square: Values) -> Values:
    return -10 * np.log10(np.maximum(mean_square, 1e-10))  # infinity has no mean


@dataclass(frozen=True)
class Score:
    """What a metric says of one model: a value, and the value on resampled pictures.

    Attributes:
        draws: the same resamples for all models; None where it would take hours.
        more: what else is kept, by name.
    """

    value: float
    draws: Values | None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes:
        variant: the definition, short enough to stand beside the number.
        best: "low", "high" or "zero".
        compute: (result, image, mask) -> (n,); None if it takes a network, or a set of pictures.
        score: of a set, (rows of results, of real pictures, bootstrap counts) -> score; None for
            the mean over pictures.
        network: whose features or layers are compared; see :mod:`.networks`.
        least: pictures, without which it means nothing.
        signed: an unbiased estimate, which may fall below 0.
    """

    variant: str
    best: Literal["low", "high", "zero"] = "low"
    compute: Callable[[NDArray, NDArray, NDArray], Values] | None = None
    score: Callable[[NDArray, NDArray, NDArray], Score] | None = None
    network: str | None = None
    least: int = 2
    signed: bool = False

    @property
    def ratio(self) -> bool:
        """Whether a model's value may be divided by another's: 0 is perfect, none is below."""
        return self.best == "low" and not self.signed


PICTURE_METRICS = {
    "l1": Metric("mean absolute error, whole picture", "low", l1),
    "psnr": Metric("dB, whole picture, at most 100, mean over pictures", "high", psnr),
    "ssim": Metric("window 11, sigma 1.5, zero padding, whole picture", "high", ssim),
    "hole-l1": Metric("mean absolute error in the hole", "low", hole_l1),
    "hole-psnr": Metric("dB in the hole, at most 100, mean over pictures", "high", hole_psnr),
    "hole-ssim": Metric("as ssim, windows centred in the hole", "high", hole_ssim),
    "hole-correlation": Metric(
        "Pearson correlation of grey values in the hole, mean over pictures",
        "high",
        hole_correlation,
    ),
    "ring-colour": Metric(
        "error of the mean colour of each hole's outer ring, a 64th of the side", "low", ring_colour
    ),
    "colour-grain": Metric(
        "fine detail of colour in the hole (beyond 5x5 means), minus that of the real picture",
        "zero",
        colour_grain,
    ),
    "seam-gradient": Metric(
        "step across the hole's edge, minus that of the real picture", "zero", seam_gradient
    ),
}


# --------------------------------------------------------------------------- intervals
def bootstrap_counts(n: int, draws: int = 2000, seed: int = 0) -> NDArray[np.int64]:
    """How often each of n pictures stands in each resample: (draws, n).

    One table for all models makes their comparison paired, whatever the metric.
    """
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws)])


def holm(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Holm's correction of the p values of one table: claims below 0.05 afterwards stay decided.

    The smallest is multiplied by m, the next by m - 1, and so on, none falling below the one
    before. The chance that a table decides *anything* falsely is then at most 5 %.
    """
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(order), 0, -1))
    corrected = np.empty(len(order))
    corrected[order] = steps.clip(max=1)
    return corrected


def interval(values: NDArray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    a: NDArray, b: NDArray, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of a - b over the same pictures, with a percentile bootstrap interval.

    Returns:
        (mean, low, high). An interval below 0 says that a's error is smaller than b's.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if difference.ndim != 1 or len(difference) < 2:
        raise ValueError(f"need two equally long lists of at least 2, not {difference.shape}")
    n = len(difference)
    means = bootstrap_counts(n, draws, seed) @ difference / n
    return float(difference.mean()), *interval(means, level)
