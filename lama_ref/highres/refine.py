"""Refinement: change the features of a large picture until it agrees with its small version.

A network trained on small crops fills a small picture best. So the picture is filled small
first; then, size by size, the features in the middle of the generator are optimised until the
larger result, made smaller, looks like the one before. No weight changes:

    pyramid -> fill the smallest -> per larger size: front -> [rear -> loss -> step on z] x n

Source: Kulshreshtha, Pugh, Jiddi, "Feature Refinement to Improve High Resolution Image
Inpainting", arXiv 2206.13644, with the constants of the code published with LaMa. That code
needs several CUDA devices and some 24 GB; this one runs on any device and recomputes the
activations between blocks instead of keeping them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from ..ffc import FFCResidualBlock, Halves
from ..generator import ResidualBlock, evaluating, pad_to
from ..runtime import at_least

_EPS = 1e-8


class Inpainting(Protocol):
    """What a strategy needs of an inpainter, such as a :class:`lama_ref.Inpainter`."""

    generator: nn.Module
    device: torch.device
    multiple: int
    smallest: int

    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, 1, H, W) -> (B, 3, H, W), known region included."""
        ...


@dataclass(frozen=True)
class Refine:
    """The strategy "refine". The defaults are the published ones.

    Attributes:
        steps: passes per size; the last one only shows the result, so there is one update less.
        lr: learning rate of Adam, whose variables are the features.
        min_side: the smallest size of the pyramid has about this many pixels on its short side;
            a picture of less than 1.4 times that has a pyramid of one size: a single pass.
        max_scales: most sizes.
        budget: pixels of the largest size; a larger picture is shrunk to it first and its fill
            enlarged afterwards (the published code leaves the result small).
        progress: a bar on standard error; None: only on a terminal.
    """

    steps: int = 15
    lr: float = 0.002
    min_side: int = 512
    max_scales: int = 3
    budget: int = 1_800_000
    progress: bool | None = None

    def __post_init__(self) -> None:
        at_least(self, steps=1, lr=1e-9, min_side=8, max_scales=1, budget=4096)

    def __call__(self, inpainter: Inpainting, image: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, 1, H, W) -> fill (B, 3, H, W) on the CPU.

        Raises:
            ValueError: a generator that has no residual blocks to be split at.
        """
        size = image.shape[-2:]
        pairs = zip(image.split(1), mask.split(1))
        fills = [self.scales(inpainter, *pair)[-1][0] for pair in pairs]
        if fills[0].shape[-2:] != size:
            fills = [F.interpolate(fill, size, mode="bicubic").clamp(0, 1) for fill in fills]
        return torch.cat(fills)

    def scales(
        self, inpainter: Inpainting, image: Tensor, mask: Tensor
    ) -> list[tuple[Tensor, list[float]]]:
        """(fill, one loss a step) of each size of a picture, smallest first, which takes no steps.

        ``image`` is (1, 3, H, W), ``mask`` (1, 1, H, W).
        """
        front, rear = split(inpainter.generator)
        results: list[tuple[Tensor, list[float]]] = []
        with torch.inference_mode(False), evaluating(inpainter.generator):
            hole = (mask > 0.5).float()
            sizes = self.pyramid(torch.where(hole > 0, 0.0, image.float()), hole)
            sides = inpainter.multiple, inpainter.smallest
            for pair in sizes:
                known, hole = (x.to(inpainter.device) for x in pair)
                coarse = results[-1][0].to(inpainter.device) if results else None
                fill, losses = self._one(front, rear, known, hole, sides, coarse)
                results.append((fill.clamp(0, 1).cpu(), losses))
        return results

    def pyramid(self, image: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(image, mask) of all sizes, smallest first; the hole grows where pixels merge."""
        height, width = image.shape[-2:]
        if height * width > self.budget:
            ratio = math.sqrt(self.budget / (height * width))
            size = max(1, int(height * ratio)), max(1, int(width * ratio))
            image, mask = _resize(image, size), (_resize(mask, size) > _EPS).float()
        ratio = min(image.shape[-2:]) / self.min_side
        n = min(1 + round(max(0.0, math.log2(ratio))), self.max_scales)
        sizes = [(image, mask)]
        for _ in range(n - 1):
            image, mask = halve(image), (halve(mask) >= _EPS).float()
            sizes.insert(0, (image, mask))
        return sizes

    def _one(
        self, front: nn.Module, rear: list[nn.Module], image: Tensor, mask: Tensor,
        sides: tuple[int, int], coarse: Tensor | None,
    ) -> tuple[Tensor, list[float]]:  # fmt: skip
        """Fill one size, in agreement with the result of the next smaller one if there is any."""
        height, width = image.shape[-2:]
        padded, hole = pad_to(image, *sides), (pad_to(mask, *sides) >= _EPS).float()
        with torch.no_grad():
            z = front(torch.cat([padded * (1 - hole), hole], 1))  # map or (local, global)
            if coarse is None:
                return torch.where(hole > 0, _run(rear, z), padded)[..., :height, :width], []
        variables = [z] if isinstance(z, Tensor) else [half for half in z if half is not None]
        optimizer = torch.optim.Adam([half.requires_grad_() for half in variables], lr=self.lr)
        inner = erode((_resize(mask, coarse.shape[-2:]) >= 1 - _EPS).float())
        quiet = None if self.progress is None else not self.progress
        losses = []
        for left in tqdm(range(self.steps)[::-1], desc="refine", leave=False, disable=quiet):
            with torch.set_grad_enabled(left > 0):  # the last pass only shows the result
                prediction = _run(rear, z)
                small = halve(prediction[..., :height, :width])
                loss = _mean_l1(prediction, padded, 1 - hole) + _mean_l1(small, coarse, inner)
            losses.append(loss.item())
            if left:
                optimizer.zero_grad()
                loss.backward(inputs=variables)
                optimizer.step()
        return torch.where(hole > 0, prediction, padded)[..., :height, :width], losses


def split(generator: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    """Front (all before the first residual block) and rear, in pieces to be recomputed singly.

    Raises:
        ValueError: not laid out like :class:`lama_ref.generator.Generator`, or without blocks.
    """
    model = getattr(generator, "model", None)
    modules = list(model) if isinstance(model, nn.Sequential) else []
    blocks = (FFCResidualBlock, ResidualBlock)
    first = next((i for i, module in enumerate(modules) if isinstance(module, blocks)), None)
    if first is None:
        raise ValueError(
            "refinement needs a generator with residual blocks in its attribute 'model', as "
            f"lama_ref.build_generator makes them; this {type(generator).__name__} has none: "
            "use strategy 'crop' or 'whole'"
        )
    pieces: list[list[nn.Module]] = []
    for module in modules[first:]:  # what follows one of these may work in place: same piece
        if isinstance(module, (*blocks, nn.ConvTranspose2d, nn.ReflectionPad2d)):
            pieces.append([])
        pieces[-1].append(module)
    return nn.Sequential(*modules[:first]), [nn.Sequential(*piece) for piece in pieces]


def _run(pieces: list[nn.Module], z: Tensor | Halves) -> Tensor:
    for piece in pieces:
        if torch.is_grad_enabled():
            z = checkpoint(piece, z, use_reentrant=False, preserve_rng_state=False)
        else:
            z = piece(z)
    return z  # type: ignore


def _mean_l1(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """Mean |a - b| over the pixels of a (1, 1, H, W) mask; 0 (published: NaN) if it is empty."""
    return ((a - b).abs() * where).sum() / (where.sum() * a.shape[1]).clamp(min=1)


def blur(x: Tensor, sigma: float, radius: int, border: str = "reflect") -> Tensor:
    """Gaussian blur, (B, C, H, W); ``border`` as in ``torch.nn.functional.pad``."""
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    taps = torch.exp(-(taps**2) / (2 * sigma**2))
    taps = (taps / taps.sum()).expand(x.shape[1], 1, 1, -1)
    for _ in range(2):  # rows, then columns
        x = F.conv2d(F.pad(x, (radius, radius, 0, 0), border), taps, groups=x.shape[1])
        x = x.mT
    return x


def halve(x: Tensor) -> Tensor:
    """5x5 blur with sigma 1, then bilinear to half the sides, rounded down."""
    return _resize(blur(x, 1, 2), (x.shape[-2] // 2, x.shape[-1] // 2))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def erode(mask: Tensor, radius: int = 7) -> Tensor:
    """Take an ellipse-shaped rim off the hole: (B, 1, H, W); beyond the border all is hole.

    The shape is OpenCV's ellipse of 2 * radius + 1 pixels, as published.
    """
    across = torch.arange(-radius, radius + 1, device=mask.device)
    reach = (radius**2 - across**2).sqrt().round()
    shape = (across.abs() <= reach[:, None]).float()[None, None]
    return (F.conv2d(1 - mask, shape, padding=radius) < 0.5).float()
