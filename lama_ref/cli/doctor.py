"""The command ``lama-ref doctor``: what is wrong with the installation, or with a data set."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Literal

import torch
from tyro.conf import Positional

from .. import runtime
from ..weights import names


def doctor(
    what: Positional[Literal["installation", "data"]] = "installation",
    folder: Positional[Path | None] = None,
    size: int = 256,
) -> int:
    """Check the installation, or with "data FOLDER" a data set before training on it.

    Args:
        what: "installation" (versions, FFT of each device, shipped weights) or "data".
        folder: Of photographs, for "data".
        size: Side of the crops that training is to take, in pixels.
    """
    from ..pictures.survey import survey

    if (folder is None) == (what == "data"):
        raise ValueError("expected: lama-ref doctor, or: lama-ref doctor data FOLDER")
    if folder is not None:
        found = survey(folder, size)
        print(found)
        return 1 if found.to_do() else 0
    lines = installation()
    for name, fine, detail in lines:
        print(f"{'OK  ' if fine else 'FAIL'}  {name:24}  {detail}")
    return 0 if all(fine for _, fine, _ in lines) else 1


def installation() -> list[tuple[str, bool, str]]:
    """Check the installation: (what, whether it is fine, version or remedy), a line each."""
    lines = [
        ("python", True, f"{platform.python_version()} on {platform.system()}"),
        ("processor", True, f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}"),
    ]
    try:
        declared = importlib.metadata.requires("lama-ref") or []
    except importlib.metadata.PackageNotFoundError:
        declared = []
    for line in ["lama-ref", *declared]:  # such as: scipy>=1.11; extra == 'course'
        package, extra = re.findall(r"^[\w.-]+", line)[0], re.findall(r"extra == .(\w+)", line)
        try:
            if extra in ([], ["course"]):
                lines.append((package, True, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            where = "'.[course]'" if extra else "."
            remedy = f"in the project's folder, make setup or pip install -e {where}"
            lines.append((package, False, f"not installed: {remedy}"))
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    for name in [*devices, "mps"] if torch.backends.mps.is_available() else devices:
        error = runtime.fft_error(name)
        fine = error < runtime.FFT_TOLERANCE
        remedy = "" if fine else ": this device computes FFTs wrongly; use device='cpu'"
        lines.append((f"FFT on {name}", fine, f"differs from the CPU by {error:.0e}{remedy}"))
    if not names.shipped():
        lines.append(("weights", False, f"none in {names.weights_folder()}: clone again"))
    for name in (*names.shipped(), *names.shipped("features")):
        fine, text = names.verify(name)
        lines.append((f"weights {name}", fine is not False, text))
    return lines
