"""Sliced Wasserstein distance: is the texture in the holes that of the real pictures?

A mean error forgives blur. This compares *sets* of small patches, fine detail and coarse shape
apart, so that a hole filled with the wrong amount of texture costs, wherever the texture lies.
What it cannot see: texture of the right kind in the wrong place, and, as it pools the patches,
one picture's excess that makes up for another's lack.

Source: Karras et al., Progressive Growing of GANs (ICLR 2018), section 5, with three changes:
patches are centred in holes, at the same places in both sets; both sets are scaled by the
*real* spread of each band and channel (each by its own would hide a loss of contrast); the
pyramid ends at 32 px.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

KERNEL = np.array([1, 4, 6, 4, 1]) / 16  # binomial, as of Burt and Adelson's pyramid


def laplacian_pyramid(images: NDArray, levels: int) -> list[NDArray[np.float32]]:
    """Band-pass images of (n, c, H, W), finest first; the last one is the remaining low pass."""
    from scipy.ndimage import convolve1d

    def smooth(x: NDArray, gain: float = 1.0) -> NDArray:
        for axis in (-2, -1):
            x = convolve1d(x, gain * KERNEL, axis, mode="mirror")
        return x

    bands, low = [], np.asarray(images, np.float32)
    for _ in range(levels - 1):
        smaller = smooth(low)[..., ::2, ::2]
        up = np.zeros_like(low)
        up[..., ::2, ::2] = smaller
        bands.append(low - smooth(up, gain=2))  # zeros between the samples: twice per axis
        low = smaller
    return [*bands, low]


class TexturePatches:
    """Where patches are compared, and the patches of the real pictures there.

    Patches may reach over the hole's edge, so a seam counts, but not over the picture's. Memory
    beyond ``images``: half a megabyte for a picture of 256 px, and one picture's pyramid.

    Args:
        images: real pictures (n, 3, H, W) in [0, 1], or an iterable of such arrays, in order.
        masks: (n, H, W) bool, True in the hole.
        levels: of the pyramid; None goes down to 32 px.
        size: patch side in pixels of its level, odd.
        per_image: patches drawn from each picture and level, centred in its hole.
        directions: random projections.
        seed: of places and directions.

    Raises:
        ValueError: shapes that do not fit, an empty mask, or a picture smaller than a patch.
    """

    def __init__(
        self,
        images: NDArray | Iterable[NDArray],
        masks: NDArray,
        *,
        levels: int | None = None,
        size: int = 7,
        per_image: int = 128,
        directions: int = 256,
        seed: int = 0,
    ) -> None:
        if masks.ndim != 3 or masks.dtype != bool or not masks.any((1, 2)).all():
            raise ValueError(
                "masks must be bool (n, H, W), each with a hole, "
                f"not {masks.dtype} {masks.shape} with {int(masks.any((-2, -1)).sum())} holes"
            )
        side = min(masks.shape[1:])
        if levels is None:
            levels = max(1, int(np.log2(side / 32)) + 1)
        if size % 2 == 0 or not 1 <= size <= -(-side // 2 ** (levels - 1)):
            raise ValueError(
                f"patches of {size} px: they need an odd side, and level {levels} of a picture of "
                f"{side} px has only {-(-side // 2 ** (levels - 1))} px"
            )
        self.size, self.levels, self.shape = size, levels, masks.shape
        rng = np.random.default_rng(seed)
        self._places = [
            np.stack([_places(mask, 2**level, size // 2, per_image, rng) for mask in masks])
            for level in range(levels)
        ]  # (n, per_image, 2) each
        vectors = rng.standard_normal((levels, directions, 3 * size**2))
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        self._directions = vectors.astype(np.float32)

        # the spread of the real bands is known only when all have been seen
        patches: list[list[NDArray]] = [[] for _ in range(levels)]
        moments = np.zeros((levels, 3, 3))  # number, sum, sum of squares; by channel
        for i, image in enumerate(_singly(images)):
            for level, (band, patch) in enumerate(self._bands(image, i)):
                wide = band.astype(np.float64).reshape(3, -1)
                moments[level] += [[wide.shape[1]] * 3, wide.sum(1), (wide**2).sum(1)]
                patches[level].append(patch)
        if len(patches[0]) != len(masks):
            raise ValueError(f"{len(patches[0])} pictures for {len(masks)} masks: one for each")
        number, total, squares = moments.transpose(1, 0, 2)  # (levels, 3)
        spread = np.sqrt(np.maximum(squares / number - (total / number) ** 2, 0)) + 1e-8
        self._spread = spread.astype(np.float32)[:, None, :, None, None]
        self.real = [self._project(np.stack(p), level) for level, p in enumerate(patches)]

    def project(self, images: NDArray, first: int = 0) -> list[NDArray[np.float32]]:
        """Patches along every direction: per level (n, per_image, directions).

        Args:
            images: pictures number ``first``, ``first`` + 1, ... of the set, (n, 3, H, W).
        """
        columns = zip(*([p for _, p in self._bands(x, first + i)] for i, x in enumerate(images)))
        return [self._project(np.stack(patches), level) for level, patches in enumerate(columns)]

    def _bands(self, image: NDArray, i: int) -> Iterable[tuple[NDArray, NDArray]]:
        """Of picture i, level by level: the band (3, h, w), and its patches (p, 3, s, s)."""
        if i >= self.shape[0] or image.shape != (3, *self.shape[1:]):
            raise ValueError(
                f"picture {i} of shape {image.shape} does not fit masks of shape {self.shape}"
            )
        for band, places in zip(laplacian_pyramid(image[None], self.levels), self._places):
            windows = np.lib.stride_tricks.sliding_window_view(band[0], (self.size,) * 2, (1, 2))
            top, left = (places[i] - self.size // 2).T
            yield band[0], windows[:, top, left].swapaxes(0, 1)

    def _project(self, patches: NDArray, level: int) -> NDArray[np.float32]:
        flat = (patches / self._spread[level]).reshape(*patches.shape[:2], -1)
        return flat @ self._directions[level].T


def _singly(images: NDArray | Iterable[NDArray]) -> Iterable[NDArray]:
    return images if isinstance(images, np.ndarray) else (x for chunk in images for x in chunk)


def _places(mask: NDArray, step: int, reach: int, n: int, rng: np.random.Generator) -> NDArray:
    """n centres of patches, (n, 2), in a level whose samples are ``step`` pixels apart."""
    inside = mask[::step, ::step]
    last = np.array(inside.shape) - reach - 1
    places = np.argwhere(inside)
    places = places[((places >= reach) & (places <= last)).all(1)]
    if not len(places):  # a thin hole between the samples, or along the border: what is nearest
        places = np.unique(np.clip(np.argwhere(mask) // step, reach, last), axis=0)
    return places[rng.integers(0, len(places), n)]


def sliced_wasserstein(fake: list[NDArray], real: list[NDArray]) -> list[float]:
    """Distance of two sets of projected patches, for each level of the pyramid.

    Along each direction the Wasserstein-1 distance of two equally large samples is the mean
    difference of their sorted values; the result is its mean over directions. As a single
    number, quote the mean over levels.
    """
    return [
        float(
            np.abs(
                np.sort(f.reshape(-1, f.shape[-1]), 0) - np.sort(r.reshape(-1, r.shape[-1]), 0)
            ).mean()
        )
        for f, r in zip(fake, real)
    ]


def resampled(
    fake: list[NDArray], real: list[NDArray], counts: NDArray, cells: int = 64
) -> NDArray[np.float64]:
    """The distance, mean over levels, of resampled sets of pictures: (draws,).

    Sorting anew for each draw would take hours. The distance is also the area between the two
    distribution functions, and a resample's function is the mean of its pictures' functions:
    one product with ``counts``. The area is taken on a grid of quantiles, within 1 %, and put
    right by the one value that is known exactly, that of the whole set.

    Args:
        counts: (draws, n), from :func:`~lama_ref.evaluation.metrics.bootstrap_counts`.
        cells: of the grid.
    """
    n = len(counts[0])
    weights = np.concatenate([np.ones((1, n)), counts]).astype(np.float32) / n
    total, m = np.zeros(len(weights)), cells + 1
    at = (1 - np.cos(np.linspace(0, np.pi, m))) / 2  # closer together in the tails
    for f, r in zip(fake, real):
        size, directions = f.shape[1], f.shape[2]
        row = np.arange(n)[:, None] * m
        for d in range(directions):
            a, b = f[..., d], r[..., d]  # (n, per_image)
            edges = np.quantile(np.concatenate([a, b]), at)
            below = [
                np.bincount((row + np.searchsorted(edges[:-1], x)).ravel(), minlength=row.size * m)
                for x in (a, b)
            ]
            gap = (below[0] - below[1]).reshape(n, m).cumsum(1) / size  # of the functions at edges
            area = np.abs(weights @ gap.astype(np.float32))  # (draws + 1, m)
            total += (area[:, 1:] + area[:, :-1]) @ np.diff(edges) / 2 / directions / len(fake)
    if not total[0]:
        return total[1:]
    return total[1:] * np.mean(sliced_wasserstein(fake, real)) / total[0]
