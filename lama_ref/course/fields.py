"""Receptive fields measured by gradients: which input pixels move one output, and how much."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_map(network: Callable, x: Tensor) -> Tensor:
    """How much each input pixel moves the centre of the output: (B, C, H, W) -> (H, W).

    Magnitude of the gradient of the centre's sum over output channels, summed over input
    channels, averaged over the batch. The centre is (h // 2, w // 2) of the output; of several
    outputs (a pair of halves, a list of feature maps) that of each, all of them summed.
    """
    x = x.detach().clone().requires_grad_()
    y = network(x)
    outputs = [y] if isinstance(y, Tensor) else y
    centres = [v[..., v.shape[-2] // 2, v.shape[-1] // 2].sum() for v in outputs]
    (gradient,) = torch.autograd.grad(torch.stack(centres).sum(), x)
    return gradient.abs().sum(1).mean(0)


def share_within(m: Tensor) -> Tensor:
    """Share of a map (H, W) within r rows and columns of its centre, for r = 0, 1, 2, ..."""
    rows, columns = (torch.arange(n) - n // 2 for n in m.shape)
    distance = torch.maximum(rows.abs()[:, None], columns.abs())
    rings = torch.bincount(distance.flatten(), m.flatten().double())
    return rings.cumsum(0) / rings.sum()


def extent(m: Tensor) -> tuple[int, int]:
    """Height and width of the smallest box that holds all of a map (H, W) that is not 0."""
    places = m.nonzero()
    if not len(places):
        return 0, 0
    height, width = (places.amax(0) - places.amin(0) + 1).tolist()
    return height, width
