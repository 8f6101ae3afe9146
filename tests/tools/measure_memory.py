"""Peak memory of each strategy against the size of the picture, each case in a process of its own.

    python tests/tools/measure_memory.py -o data/results/memory.json

measures on the CPU what the operating system says the process held at most; what it held with
the network loaded and warmed up is given beside it, and so is an estimate from the tensors alive
while a small picture is filled.
"""

from __future__ import annotations

import multiprocessing
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tyro.conf import arg

from lama_ref.evaluation.bench import peak_of
from lama_ref.evaluation.report import markdown
from lama_ref.generator import PRESETS, build_generator
from lama_ref.highres.strategies import Crop, Refine, Strategy, named
from lama_ref.inference import Inpainter
from lama_ref.weights.files import write_json

GIB = 2**30


def bytes_per_pixel(inpainter: Inpainter, strategy: Strategy, side: int = 128) -> float:
    """Memory of a pass for each pixel of a picture, measured on a small one, without weights.

    It is the same for all sizes, as each map of the generator grows with the picture.
    """
    side = max(1, -(-side // inpainter.multiple)) * inpainter.multiple
    image, mask = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    return peak_of(lambda: strategy(inpainter, image, mask)) / side**2


def peak_now() -> float:
    """Most GiB of memory that this process has held so far."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GIB


def measure(model: str, strategy: str, side: int, steps: int = 2) -> dict:
    """One case, in this process: a square picture with a round hole of a quarter of its side.

    Refinement is cut to ``steps`` passes a size: memory does not depend on their number.
    """
    torch.manual_seed(0)
    generator = build_generator(model).eval() if model in PRESETS else model  # random weights
    settings = {"steps": steps, "progress": False} if strategy == "refine" else {}
    inpainter = Inpainter(generator, device="cpu", strategy=named(strategy, **settings))
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    picture, hole = torch.rand(3, side, side), x**2 + y**2 < 0.25**2
    inpainter(picture[..., :128, :128], torch.eye(128) > 0)  # loads what is loaded late
    before, start = peak_now(), time.process_time()
    inpainter(picture, hole)
    seconds, peak = time.process_time() - start, peak_now()
    chosen, pixels, small = inpainter.strategy, side**2, named("whole")
    if isinstance(chosen, Crop | Refine):
        pixels = min(pixels, chosen.budget)
    if isinstance(chosen, Refine):  # two sizes of a picture of 128 pixels
        small = Refine(steps=2, min_side=64, progress=False)
    each = bytes_per_pixel(inpainter, small)
    return {
        "model": model, "strategy": strategy, "pixels": f"{side}x{side}",
        "peak_gib": round(peak, 3), "before_gib": round(before, 3),
        "estimate_gib": round(each * pixels / GIB, 3), "bytes_per_pixel": round(each),
        "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def table(rows: list[dict]) -> str:
    """The results as Markdown."""
    return markdown(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def main(
    models: tuple[str, ...] = ("mini-fourier", "big-lama"),
    strategies: tuple[str, ...] = ("whole", "crop", "refine"),
    sides: tuple[int, ...] = (1024, 2048),
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
) -> None:
    """Measure and print; memory is that of the weights (random ones), activations and torch.

    Args:
        models: Architectures by name, with random weights.
        strategies: whole, crop, refine.
        sides: Of square pictures, in pixels.
        output: JSON file to write.
    """
    rows, fresh = [], multiprocessing.get_context("spawn")
    for case in product(models, strategies, sides):
        with ProcessPoolExecutor(1, fresh) as process:
            try:
                rows.append(process.submit(measure, *case).result())
            except BrokenProcessPool:
                sys.exit(f"{case} was killed, most likely for want of memory: leave it out")
    result = {
        "command": "python tests/tools/measure_memory.py -o data/results/memory.json",
        "what": "GiB resident at most, on the CPU, in float32; refinement with 2 passes a size",
        "torch": torch.__version__, "threads": torch.get_num_threads(),
        "machine": platform.machine(), "cases": rows,
    }  # fmt: skip
    if output is not None:
        write_json(output, result)
    print(table(rows))


if __name__ == "__main__":
    tyro.cli(main)
