"""LaMa, large-mask inpainting with fast Fourier convolutions: readable, checked, extensible.

Images are float32 RGB in [0, 1], shape (B, 3, H, W); masks (B, 1, H, W), 1 = hole. The exercises'
checks and the figures are imported on first use, as they bring in heavy packages.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

# Threads that wait for each other should sleep: beside another busy program, spinning ones took
# minutes for seconds of work. OpenMP reads this when torch is loaded: import lama_ref before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from . import course as course
from . import discriminator as discriminator
from . import evaluation as evaluation
from . import ffc as ffc
from . import generator as generator
from . import highres as highres
from . import inference as inference
from . import losses as losses
from . import masks as masks
from . import perceptual as perceptual
from . import pictures as pictures
from . import runs as runs
from . import runtime as runtime
from . import spectral as spectral
from . import training as training
from . import weights as weights
from .discriminator import build_discriminator as build_discriminator
from .generator import GeneratorConfig as GeneratorConfig
from .generator import build_generator as build_generator
from .inference import Inpainter as Inpainter
from .losses import LaMaLoss as LaMaLoss
from .perceptual import PerceptualLoss as PerceptualLoss
from .pictures import scenes as scenes
from .runtime import __version__ as __version__
from .runtime import device as device
from .spectral.variants import register_spectral as register_spectral
from .weights import official as official

if TYPE_CHECKING:
    from .course import checks as checks
    from .course import plots as plots

_LATER = ("checks", "plots")


def __getattr__(name: str):
    if name in _LATER:
        return importlib.import_module(f"{__name__}.course.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
