"""What several test files need, as plain functions; fixtures stand in conftest.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from torch import nn

from lama_ref import cli

Module = TypeVar("Module", bound=nn.Module)


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(height: int, width: int, seed=0) -> np.ndarray:
    """A picture of random colours, (height, width, 3) uint8."""
    return rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def run(*arguments) -> int:
    """A command of lama-ref in this process; its exit code."""
    with pytest.raises(SystemExit) as exit:
        cli.main([str(a) for a in arguments])
    return exit.value.code


def log(folder: Path) -> list[dict]:
    """The log of a run."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def sums(data: bytes) -> dict[str, int]:
    """Checksum and size, as published entries have them."""
    return {hashlib.sha256(data).hexdigest(): len(data)}


def with_statistics(module: Module) -> Module:
    """In evaluation mode, with BatchNorm statistics that are not 0 and 1."""
    for part in module.eval().modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module
