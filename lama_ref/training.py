"""Training: one step that fits on a screen.

The step follows the published order, generator first and then the discriminator, both with
Adam. What a step needs to know is a :class:`StepConfig`, which the settings of a whole run
extend; the loop around the step, with everything that lets a run survive, is
:mod:`lama_ref.runs.loop`.

Source: LaMa section 3 and the published training code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from .generator import inpaint_batch
from .losses import LaMaLoss, Terms


@dataclass(frozen=True)
class StepConfig:
    """How a step is taken.

    Attributes:
        steps: optimiser steps in all.
        lr, lr_discriminator: Adam step sizes.
        warmup: steps over which the step size rises to its full value.
        decay_from: share of the run after which it falls, linearly to 0; 1 for never.
        clip: largest gradient norm of either network.
        double_forward: predict anew for the discriminator's step, as was published.
        average: decay of the generator's moving average (EMA), which is then what is saved.
        precision: "bfloat16" computes convolutions in it; FFTs and losses stay in float32.
    """

    steps: int = 10_000
    lr: float = 2e-3
    lr_discriminator: float = 4e-4
    warmup: int = 200
    decay_from: float = 0.6
    clip: float = 5.0
    double_forward: bool = False
    average: float | None = 0.998
    precision: Literal["float32", "bfloat16"] = "float32"

    def speed(self, step: int) -> float:
        """Factor of the learning rate at a step: warm-up, plateau, linear decay."""
        falling = (1 - self.decay_from) * self.steps
        remaining = (self.steps - step) / falling if falling else 1.0
        return min(1.0, (step + 1) / self.warmup, max(0.0, remaining))


@dataclass
class TrainState:
    """The networks of a run, their optimisers, and how far it is.

    ``generator`` and ``discriminator`` may be wrapped for several processes
    (DistributedDataParallel); what is saved is what they wrap.
    """

    generator: nn.Module
    optimizer: torch.optim.Optimizer
    discriminator: nn.Module | None = None
    optimizer_d: torch.optim.Optimizer | None = None
    average: nn.Module | None = None
    step: int = 0

    PARTS = ("generator", "optimizer", "discriminator", "optimizer_d", "average")

    def state_dict(self) -> dict:
        parts = {name: getattr(self, name) for name in self.PARTS}
        saved = {
            name: unwrap(part).state_dict() for name, part in parts.items() if part is not None
        }
        return saved | {"step": self.step}

    def load_state_dict(self, saved: dict) -> None:
        self.step = saved["step"]
        for name in self.PARTS:
            if (part := getattr(self, name)) is not None:
                unwrap(part).load_state_dict(saved[name])


def unwrap(part) -> Any:
    """The network inside DistributedDataParallel; anything else as it is."""
    return part.module if isinstance(part, nn.parallel.DistributedDataParallel) else part


def training_step(
    state: TrainState, loss: LaMaLoss, image: Tensor, mask: Tensor, config: StepConfig
) -> Terms:
    """One step of the generator, then one of the discriminator; returns the weighted terms.

    Args:
        image: (B, 3, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = hole.
    """
    g, d = state.generator, state.discriminator
    set_learning_rates(state, config)
    low = torch.autocast(image.device.type, torch.bfloat16, config.precision == "bfloat16")

    # 1. generator: make a prediction that the losses like; the discriminator stands still
    if d is not None:
        d.requires_grad_(False)
    with low:
        prediction, _ = inpaint_batch(g, image, mask)
        total, terms = loss.generator(image, mask, prediction)
    norm = _descend(total, state.optimizer, config.clip)

    # 2. discriminator: tell hole patches of that prediction from real ones
    if d is not None and state.optimizer_d is not None and "adversarial" in terms:
        d.requires_grad_(True)
        with low:
            if config.double_forward:  # by the generator as it is now
                prediction, _ = inpaint_batch(g, image, mask)
            total_d, terms_d = loss.discriminator(image, mask, prediction)  # detaches it
        norm_d = _descend(total_d, state.optimizer_d, config.clip)
        terms |= {f"d_{name}": value for name, value in terms_d.items()}
        terms["d_gradient_norm"] = norm_d

    state.step += 1
    if state.average is not None and config.average is not None:
        follow(state.average, unwrap(g), min(config.average, state.step / (state.step + 10)))
    return {name: value.detach() for name, value in terms.items()} | {
        "gradient_norm": norm,
        "hole_l1": ((prediction.detach() - image).abs() * mask).sum() / (3 * mask.sum() + 1e-6),
    }


def set_learning_rates(state: TrainState, config: StepConfig) -> None:
    """Those of this step: warm-up, plateau, decay."""
    for adam, lr in ((state.optimizer, config.lr), (state.optimizer_d, config.lr_discriminator)):
        if adam is not None:
            adam.param_groups[0]["lr"] = lr * config.speed(state.step)


def _descend(total: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    """One step down the gradient; returns its norm before clipping."""
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip)
    optimizer.step()
    return norm


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average: a <- decay * a + (1 - decay) * w, statistics included."""
    for a, w in zip(average.state_dict().values(), network.state_dict().values()):
        if a.is_floating_point():
            a.lerp_(w, 1 - decay)
        else:
            a.copy_(w)


@torch.no_grad()
def settle_batchnorm(
    generator: nn.Module, data: Iterable[tuple[Tensor, Tensor]], batches: int
) -> None:
    """Replace BatchNorm's running statistics by their mean over some batches; weights stay.

    The running average trails behind weights that still move. At a large step size that shift
    is the whole difference between a right and a wrong hue in the hole (0.236 against 0.107
    hole L1 in the middle of the run of the first shipped weights).
    """
    pairs = (torch.cat([image * (1 - mask), mask], 1) for image, mask in islice(data, batches))
    update_bn(pairs, generator)
    generator.eval()
