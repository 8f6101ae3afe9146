"""Metrics that look where it matters: in the hole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hole_l1(result: NDArray, image: NDArray, mask: NDArray) -> NDArray[np.float64]:
    """Mean absolute error over hole pixels and channels, one number for each picture.

    Args:
        result, image: (n, 3, H, W) in [0, 1].
        mask: (n, H, W) bool, True in the hole; no mask may be empty.
    """
    difference = np.abs(result.astype(np.float64) - image).mean(1)
    share = mask.sum((1, 2))
    if (share == 0).any():
        raise ValueError(f"mask {int((share == 0).argmax())} hides nothing: there is no hole error")
    return (difference * mask).sum((1, 2)) / share


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
    rng = np.random.default_rng(seed)
    means = [
        difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(draws)
    ]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), float(low), float(high)
