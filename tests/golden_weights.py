"""Weights and inputs that are functions of their names: what golden values are computed with.

No weights are stored. Every tensor of a state dict is drawn from a generator of random numbers
whose seed is a checksum of the tensor's key, so a wrong key changes the outputs. There are two
fillings: values in ``golden/outputs.npz`` and ``golden/facts.json`` belong to
:func:`fill_uniform`, the rows in the tables of ``test_parity.py`` to :func:`fill_normal`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"


def facts() -> dict:
    """Parameter counts, losses and mask statistics of the published model."""
    return json.loads((GOLDEN / "facts.json").read_text(encoding="utf-8"))


def keys() -> dict[str, dict[str, list[int]]]:
    """Published state-dict keys, in order, with shapes, of each network."""
    return json.loads(gzip.decompress((GOLDEN / "keys.json.gz").read_bytes()))


def efficientnet() -> dict:
    """Published outputs of EfficientNet-Lite0 with its published weights, block by block."""
    return json.loads((GOLDEN / "efficientnet_lite0.json").read_text(encoding="utf-8"))


def outputs() -> dict[str, Tensor]:
    """Published outputs of the tiny networks."""
    with np.load(GOLDEN / "outputs.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def fill_uniform(module: nn.Module) -> nn.Module:
    """Filling 1: scales and variances uniform in 0.5..1.5, weights of unit gain."""

    def value(rs: np.random.RandomState, key: str, shape: tuple[int, ...]) -> np.ndarray:
        if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
            return 0.5 + rs.rand(*shape)
        if len(shape) == 1:  # biases and running means
            return 0.1 * rs.standard_normal(shape)
        return rs.standard_normal(shape) * np.sqrt(1 / prod(shape[1:]))

    return _fill(module, value, seed_mask=0x7FFFFFFF)


def fill_normal(module: nn.Module) -> nn.Module:
    """Filling 2: everything from a normal distribution, weights of half the gain."""

    def value(rs: np.random.RandomState, key: str, shape: tuple[int, ...]) -> np.ndarray:
        z = rs.standard_normal(shape)
        if key.endswith("running_var"):
            return 1 + 0.1 * np.abs(z)
        if len(shape) == 1:
            return 1 + 0.1 * z if key.endswith("weight") else 0.1 * z
        return z * np.sqrt(0.5 / prod(shape[1:]))

    return _fill(module, value, seed_mask=0xFFFFFFFF)


def _fill(module: nn.Module, value: Callable[..., np.ndarray], seed_mask: int) -> nn.Module:
    """Fill a module (which may be on the meta device); in evaluation mode afterwards."""

    def fill(entry: tuple[str, Tensor]) -> None:
        key, tensor = entry
        if key.endswith("num_batches_tracked"):
            tensor.zero_()
            return
        rs = np.random.RandomState(zlib.crc32(key.encode()) & seed_mask)
        tensor.copy_(torch.from_numpy(value(rs, key, tuple(tensor.shape))))

    state = module.to_empty(device="cpu").state_dict()  # tensors without gradient
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each tensor has a seed of its own
        list(pool.map(fill, state.items()))
    return module.eval()


def image(seed: int, *shape: int) -> Tensor:
    """Uniform noise in [0, 1)."""
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape)).float()


def input_with_centre_hole(seed: int, n: int, height: int, width: int) -> Tensor:
    """Generator input (n, 4, height, width): noise whose middle half is the hole."""
    mask = torch.zeros(n, 1, height, width)
    h, w = height // 4, width // 4
    mask[..., h : 3 * h, w : 3 * w] = 1
    return torch.cat([image(seed, n, 3, height, width) * (1 - mask), mask], 1)


def image_and_mask(seed: int, n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Noise, and a mask in which each pixel is hole with probability 0.3; from one stream."""
    rs = np.random.RandomState(seed)
    picture = torch.from_numpy(rs.random_sample((n, 3, height, width))).float()
    return picture, torch.from_numpy(rs.random_sample((n, 1, height, width)) > 0.7).float()


def input_with_scattered_holes(seed: int, n: int, height: int, width: int) -> Tensor:
    """Generator input (n, 4, height, width) from :func:`image_and_mask`."""
    picture, mask = image_and_mask(seed, n, height, width)
    return torch.cat([picture * (1 - mask), mask], 1)


def statistics(x: Tensor) -> dict[str, float]:
    """What the tables list of a tensor."""
    flat = x.detach().double().flatten()
    return {
        "mean": flat.mean().item(),
        "std": flat.std().item(),  # unbiased
        "first": flat[0].item(),
        "mid": flat[len(flat) // 2].item(),
        "last": flat[-1].item(),
    }
