"""How much memory a computation takes, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

GIB = 2**30


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


def available(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None if the system does not tell.

    On the CPU that is what Linux calls available, or the container's limit if that is less;
    elsewhere half of what the machine has.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    found = [_container_room()]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
        found += [1024 * number for number in kilobytes]
    except OSError:
        try:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
        except (AttributeError, ValueError, OSError):  # Windows
            pass
    return min((room for room in found if room is not None), default=None)


def _container_room(folder: str = "/sys/fs/cgroup") -> int | None:
    """What a control group (version 2) leaves; file caches are given up when need be."""
    try:
        limit, used, stat = (
            (Path(folder) / f"memory.{name}").read_text() for name in ("max", "current", "stat")
        )
        cached = [line.split()[1] for line in stat.splitlines() if line.startswith("inactive_file")]
        return None if limit.strip() == "max" else int(limit) - int(used) + sum(map(int, cached))
    except (OSError, ValueError):
        return None
