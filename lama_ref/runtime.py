"""Where computations run: devices that can be trusted with an FFT, seeds, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

FFT_TOLERANCE = 1e-4
"""Largest difference from the CPU, relative to the largest value, in :func:`fft_error`."""


def fft_error(name: str | torch.device) -> float:
    """How far a device's FFT round trip is from the CPU's, forward and backward.

    Transforms maps of odd and even sizes to a half spectrum and back through a ReLU, as the
    Fourier unit does, with gradients. Returns the largest difference relative to the largest
    CPU value; ``inf`` where the device fails or returns NaN.
    """
    from .ffc import inverse_real_fft, real_fft

    def round_trip(device: str | torch.device) -> torch.Tensor:
        rng = torch.Generator().manual_seed(0)
        results = []
        for size in ((8, 8), (9, 7), (16, 5), (1, 6)):
            x = torch.randn(2, 3, *size, generator=rng).to(device).requires_grad_()
            y = inverse_real_fft(real_fft(x).relu(), size)
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
            results += [y.detach().cpu().flatten(), gradient.cpu().flatten()]
        return torch.cat(results)

    expected = round_trip("cpu")
    try:
        got = round_trip(name)
    except (RuntimeError, NotImplementedError, AssertionError):
        return float("inf")
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    return error if np.isfinite(error) else float("inf")


def device(name: str | torch.device = "auto") -> torch.device:
    """The device to compute on.

    "auto" takes CUDA if there is one, else MPS if its FFT agrees with the CPU's, else the CPU.

    Raises:
        ValueError: a name that torch does not know, or a device that is not there.
    """
    if str(name) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available() and fft_error("mps") < FFT_TOLERANCE:
            return torch.device("mps")
        return torch.device("cpu")
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"no device {str(name)!r} here ({reason}): use 'auto' or 'cpu'") from None
    return chosen


def seed(value: int = 0) -> None:
    """Seed Python, numpy and torch."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


@dataclass(frozen=True)
class Runtime:
    """What a notebook runs on."""

    device: torch.device
    seed: int


def setup(value: int = 0) -> Runtime:
    """First line of every notebook: seeds everything and says what it runs on."""
    import lama_ref

    seed(value)
    where = device()
    print(
        f"lama_ref {lama_ref.__version__} · torch {torch.__version__.split('+')[0]} · "
        f"{where} · {torch.get_num_threads()} threads · seed {value}"
    )
    return Runtime(where, value)


# --------------------------------------------------------------------------- several processes
@contextmanager
def processes(on: str = "auto") -> Iterator[tuple[int, int, int]]:
    """(rank, number of processes, rank on this machine), joined as torchrun's environment says.

    Args:
        on: the device that they are to use.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield 0, 1, 0
        return
    local = int(os.environ.get("LOCAL_RANK", 0))
    gpu = device(on).type == "cuda"
    if gpu and local >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"process {local + 1} of this machine has no GPU, {found} are here")
    if gpu:
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    yield dist.get_rank(), world, local
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


# --------------------------------------------------------------------------- doctor
def doctor() -> list[tuple[str, bool, str]]:
    """Check the installation: (what, whether it is fine, version or remedy), a line each."""
    from .weights import names
    from .weights.names import verify, weights_folder

    lines = [
        ("python", True, f"{platform.python_version()} on {platform.system()}"),
        ("processor", True, f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}"),
    ]
    for package, extra in _PACKAGES.items():
        try:
            lines.append((package, True, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            where = "." if not extra else f"'.[{extra}]'"
            remedy = f"in the project's folder, make setup or pip install -e {where}"
            lines.append((package, False, f"not installed: {remedy}"))
    devices = ["cpu"]
    devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    for name in devices:
        error = fft_error(name)
        fine = error < FFT_TOLERANCE
        remedy = "" if fine else ": this device computes FFTs wrongly; use device='cpu'"
        lines.append((f"FFT on {name}", fine, f"differs from the CPU by {error:.0e}{remedy}"))
    shipped = names.shipped()
    if not shipped:
        lines.append(("weights", False, f"none in {weights_folder()}: clone again"))
    for name in (*shipped, *names.shipped("features")):
        problem = verify(name)
        lines.append((f"weights {name}", not problem, problem or "checksum fits the model card"))
    return lines


_PACKAGES = {
    "torch": "",
    "numpy": "",
    "pillow": "",
    "safetensors": "",
    "tqdm": "",
    "tyro": "",
    "scipy": "course",
    "matplotlib": "course",
    "scikit-image": "course",
    "opencv-python-headless": "course",
    "jupyterlab": "course",
    "ipywidgets": "course",
    "anywidget": "course",
    "lpips": "course",
    "torchvision": "course",
    "nbval": "course",
}
