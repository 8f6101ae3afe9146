"""How much memory a function needs for tensors, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class _LiveTensors(TorchDispatchMode):
    """Adds up the tensors alive after each operation; those given from outside count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.peak = WeakIdKeyDictionary(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for given in _storages((args, kwargs)):
            self.sizes.setdefault(given, 0)
        result = func(*args, **(kwargs or {}))
        for made in _storages(result):
            self.sizes.setdefault(made, made.nbytes())
        self.peak = max(self.peak, sum(self.sizes.values()))
        return result


def _storages(tree) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def peak_of(function: Callable[[], object]) -> int:
    """Most bytes of tensors alive at once while a function runs, on any device.

    What an operation allocates and frees inside itself (workspaces) is not seen.
    """
    with _LiveTensors() as counter:
        function()
    return counter.peak
