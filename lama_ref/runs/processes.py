"""Several processes that train one network, and the signal that ends them after a step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from ..runtime import device


@contextmanager
def processes(on: str = "auto") -> Iterator[tuple[int, int]]:
    """(rank, number of processes), joined as torchrun says, with a GPU each if GPUs are used.

    Args:
        on: the device that they are to use.

    Raises:
        ValueError: there are more processes on this machine than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield 0, 1
        return
    local = int(os.environ.get("LOCAL_RANK", 0))
    gpu = device(on).type == "cuda"
    if gpu and local >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"process {local + 1} of this machine has no GPU, {found} are here")
    if gpu:
        torch.cuda.set_device(local)  # "cuda" from here on
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    yield dist.get_rank(), world
    dist.barrier()  # nobody leaves while another still computes
    dist.destroy_process_group()


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set instead of breaking off in the middle of a step."""
    event, before = threading.Event(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: event.set())
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
