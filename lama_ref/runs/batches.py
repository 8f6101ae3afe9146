"""The batches of a run: which picture, which crop and which hole each step sees."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .. import masks
from ..pictures import sources
from .recipes import TrainConfig


class Batches(torch.utils.data.Dataset):
    """Batch by step: sample i of step s depends on (seed, s, i) alone.

    So a continued run sees the data that it would have seen, and n processes together see what
    one process would. Each item is (image (b, 3, S, S) in [0, 1], mask (b, 1, S, S), 1 = hole,
    unreadable files met), b being this process's part of the batch.
    """

    def __init__(self, config: TrainConfig, rank: int = 0, world: int = 1):
        self.config, self.rank, self.world = config, rank, world
        self.mixture = sources.open_sources(
            config.data, zoom=config.zoom, augmentations=config.augmentations
        )
        self[0]  # what cannot work complains at once

    def __len__(self) -> int:
        return self.config.steps + self.config.settle

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, int]:
        size, n = self.config.stage(step)
        before, images, holes = self.mixture.skipped, [], []
        for index in range(self.rank, n, self.world):
            rng = np.random.default_rng((self.config.seed, step, index))
            images.append(self.mixture.sample(size, rng))
            holes.append(masks.sample(self.config.masks, (size, size), 1, rng)[0])
        skipped = self.mixture.skipped - before
        return torch.from_numpy(np.stack(images)), masks.to_tensor(np.stack(holes)), skipped

    def loader(self, first: int, device: torch.device) -> Iterator:
        """The batches from a step on, prepared by ``workers`` processes."""
        workers, gpu = self.config.workers, device.type == "cuda"
        if workers is None:
            workers = min(12, (os.cpu_count() or 2) - 1) if gpu else 0
        loader = torch.utils.data.DataLoader(
            self,
            batch_size=None,
            sampler=range(first, len(self)),
            num_workers=workers,
            generator=torch.Generator(),  # else it draws from the global one, each time anew
            pin_memory=gpu,
            prefetch_factor=4 if workers else None,
        )
        try:
            yield from loader
        except Exception as error:
            if "Original Traceback" not in str(error):
                raise
            last = str(error).rstrip().splitlines()[-1]  # after a worker's traceback: Type: message
            raise type(error)(last.partition(": ")[2] or last) from None


def batches(config: TrainConfig, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """(image, mask) of each step of a run, from ``first`` on."""
    data = Batches(config)
    return (data[step][:2] for step in range(first, len(data)))
