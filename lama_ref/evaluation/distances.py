"""Distances of two sets of pictures, by their features: Frechet and kernel.

All take two float arrays (n, d), row i of both of the same picture: results first. What the
numbers mean depends on the network that the features come from. Only those of the Inception
network of 2015 may be called FID and KID.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .metrics import Values


def frechet_distance(fake: NDArray, real: NDArray, counts: NDArray | None = None) -> float:
    """|difference of means|^2 + tr(A + B - 2 (A B)^(1/2)) for covariances A and B.

    The distance of the normal distributions that fit the sets. With few pictures it is biased
    upward by more than models differ, and below d of them the covariances are singular.

    Args:
        counts: how often each row counts, (n,); once if None.

    Raises:
        ValueError: not two (n, d) arrays, or n below d.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule (NeurIPS 2017).
    """
    x, y = _checked(fake, real, paired=False)
    if min(len(x), len(y)) < x.shape[1]:
        raise ValueError(
            f"a Frechet distance of {x.shape[1]} features needs at least {x.shape[1]:,} pictures, "
            f"not {min(len(x), len(y)):,}: use a kernel distance, which is unbiased for any number"
        )
    a, b = (np.cov(f.T, fweights=counts, ddof=1).reshape(f.shape[1], -1) for f in (x, y))
    return gaussian_distance(np.average(x, 0, counts), a, np.average(y, 0, counts), b)


def gaussian_distance(mean_a: NDArray, a: NDArray, mean_b: NDArray, b: NDArray) -> float:
    """The distance of :func:`frechet_distance`, of means (d,) and covariances (d, d)."""
    difference = mean_a - mean_b
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # the eigenvalues of A B are those of the symmetric A^(1/2) B A^(1/2): real, none below 0
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(a) + np.trace(b) - 2 * cross)


def kernel_terms(fake: NDArray, real: NDArray) -> NDArray[np.float64]:
    """h(i, j), whose mean over i != j is the squared kernel distance of paired sets: (n, n)."""
    x, y = _checked(fake, real)
    cross = _kernel(x, y)
    terms = _kernel(x, x) + _kernel(y, y) - cross - cross.T
    np.fill_diagonal(terms, 0)
    return terms


def kernel_distance(fake: NDArray, real: NDArray, blocks: int = 10) -> tuple[float, float]:
    """Squared maximum mean discrepancy of the kernel (x.y / d + 1)^3, without bias.

    Pairs of a picture with its own inpainting are left out. The usual estimator keeps them; for
    sets that share their pictures, as in inpainting, it comes out too low, below 0 even.

    Returns:
        (distance, its standard error: jackknife over blocks of pictures left out in turn).

    Raises:
        ValueError: not two (n, d) arrays, or fewer than 2 pictures a block.

    Source: Binkowski et al., Demystifying MMD GANs (ICLR 2018); Gretton et al., A Kernel
    Two-Sample Test (JMLR 2012), lemma 6.
    """
    terms = kernel_terms(fake, real)
    n = len(terms)
    if n < 2 * blocks:
        raise ValueError(f"{blocks} blocks need at least {2 * blocks} pictures, not {n}")
    values = []
    for block in np.array_split(np.arange(n), blocks):
        rest = np.delete(np.delete(terms, block, 0), block, 1)
        values.append(rest.sum() / (len(rest) * (len(rest) - 1)))
    return float(terms.sum() / (n * (n - 1))), float(np.std(values) * np.sqrt(blocks - 1))


def resampled_kernel(terms: NDArray, counts: NDArray) -> Values:
    """The kernel distance of resampled sets, a picture never against itself: (draws,)."""
    n = len(terms)
    return ((counts @ terms) * counts).sum(1) / (n**2 - (counts**2).sum(1))


def _kernel(x: NDArray, y: NDArray) -> NDArray[np.float64]:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _checked(fake: NDArray, real: NDArray, paired: bool = True) -> tuple[NDArray, NDArray]:
    x, y = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    if x.ndim != 2 or x.shape[1:] != y.shape[1:] or (paired and len(x) != len(y)):
        raise ValueError(f"features must be two (n, d) arrays, not {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features must be finite: is a picture NaN?")
    return x, y
