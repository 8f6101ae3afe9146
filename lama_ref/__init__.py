"""LaMa, large-mask inpainting with fast Fourier convolutions: readable, checked, extensible.

Names below are imported on first use, so that ``import lama_ref`` costs little more than
torch. Images are float32 RGB in [0, 1], shape (B, 3, H, W); masks (B, 1, H, W), 1 = hole.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_WHERE = {
    "build_generator": "generator",
    "GeneratorConfig": "generator",
    "build_discriminator": "discriminator",
    "LaMaLoss": "losses",
    "Inpainter": "inference",
    "device": "runtime",
}
_MODULES = {
    **{
        name: name
        for name in (
            "ffc",
            "generator",
            "discriminator",
            "losses",
            "masks",
            "training",
            "inference",
            "runtime",
            "data",
            "course",
            "evaluation",
        )
    },
    "official": "data.official",
    "scenes": "data.scenes",
    "checks": "course.checks",
    "plots": "course.plots",
}

__all__ = [*_WHERE, *_MODULES]

if TYPE_CHECKING:
    from . import course, data, evaluation, ffc, inference, losses, masks, runtime, training
    from .course import checks, plots
    from .data import official, scenes
    from .discriminator import build_discriminator
    from .generator import GeneratorConfig, build_generator
    from .inference import Inpainter
    from .losses import LaMaLoss
    from .runtime import device


def __getattr__(name: str):
    if name in _WHERE:
        value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
