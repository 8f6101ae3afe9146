"""LaMa, large-mask inpainting with fast Fourier convolutions: readable, checked, extensible.

Names below are imported on first use, so that ``import lama_ref`` costs little more than
torch. Images are float32 RGB in [0, 1], shape (B, 3, H, W); masks (B, 1, H, W), 1 = hole.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

# Threads that wait for each other should sleep: beside another busy program, spinning ones took
# minutes for seconds of work. OpenMP reads this when torch is loaded: import lama_ref before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_NAMES = {  # name: module in which it is defined
    "__version__": "runtime",
    "build_generator": "generator",
    "GeneratorConfig": "generator",
    "build_discriminator": "discriminator",
    "LaMaLoss": "losses",
    "PerceptualLoss": "perceptual",
    "Inpainter": "inference",
    "device": "runtime",
}
_MODULES = {  # name: where the module lives
    **{name: name for name in ("ffc", "generator", "discriminator", "perceptual", "losses")},
    **{name: name for name in ("masks", "training", "inference", "runtime")},
    **{name: name for name in ("weights", "pictures", "highres", "runs", "evaluation", "course")},
    "official": "weights.official",
    "scenes": "pictures.scenes",
    "checks": "course.checks",
    "plots": "course.plots",
}

__all__ = [*_NAMES, *_MODULES]  # noqa: PLE0604

if TYPE_CHECKING:
    from . import course as course
    from . import evaluation as evaluation
    from . import ffc as ffc
    from . import highres as highres
    from . import inference as inference
    from . import losses as losses
    from . import masks as masks
    from . import perceptual as perceptual
    from . import pictures as pictures
    from . import runs as runs
    from . import runtime as runtime
    from . import training as training
    from . import weights as weights
    from .course import checks as checks
    from .course import plots as plots
    from .discriminator import build_discriminator as build_discriminator
    from .generator import GeneratorConfig as GeneratorConfig
    from .generator import build_generator as build_generator
    from .inference import Inpainter as Inpainter
    from .losses import LaMaLoss as LaMaLoss
    from .perceptual import PerceptualLoss as PerceptualLoss
    from .pictures import scenes as scenes
    from .runtime import __version__ as __version__
    from .runtime import device as device
    from .weights import official as official


def __getattr__(name: str):
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
