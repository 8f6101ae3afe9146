"""Where computations run: devices that can be trusted with an FFT, seeds, the version."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch

__version__ = "0.1.0"
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
    seed(value)
    where = device()
    print(
        f"lama_ref {__version__} · torch {torch.__version__.split('+')[0]} · "
        f"{where} · {torch.get_num_threads()} threads · seed {value}"
    )
    return Runtime(where, value)


def at_least(settings: object, **least: float) -> None:
    """Check numbers of a dataclass against their least values; None passes.

    Raises:
        ValueError: names the first setting that is below, infinite or not a number, its least
            value and what was given.
    """
    for name, limit in least.items():
        value = getattr(settings, name)
        if value is not None and not limit <= value < math.inf:
            raise ValueError(f"{name} must be at least {limit}, not {value!r}")
