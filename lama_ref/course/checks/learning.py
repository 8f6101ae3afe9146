"""Checks of notebook 06, training."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...evaluation import metrics
from ...generator import inpaint_batch
from ...losses import LossWeights
from ...runs import loop
from ...runs.batches import Batches
from ...runs.recipes import TrainConfig
from ...weights.format import load_generator
from .core import compare, exercise, expect, returned

__all__ = ["step_size", "gradient_in_pieces", "checkpoint", "recipe"]


# --------------------------------------------------------------------------- 6.1
@exercise("6.1")
def step_size(answer: Callable[[int, int, int, float, float], float]) -> None:
    """``answer(step, steps, warmup, decay_from, lr)``: the learning rate of a step."""
    cases = ((100, 10, 0.6), (100, 1, 1.0), (100, 30, 0.0), (7, 3, 0.5), (10, 20, 0.5), (1, 1, 1.0))
    for steps, warmup, decay_from in cases:
        config = TrainConfig(steps=steps, warmup=warmup, decay_from=decay_from)
        for step in sorted({0, 1, warmup - 1, warmup, steps // 2, steps * 6 // 10, steps - 1}):
            if 0 <= step < steps:
                got = answer(step, steps, warmup, decay_from, 0.002)
                what = f"step {step} of {steps}, warm-up {warmup}, decay from {decay_from:g}"
                returned(got, what)
                compare(float(got) / 0.002, config.speed(step), f"{what}: share of lr")


# --------------------------------------------------------------------------- 6.2
class _Small(nn.Module):
    """(B, 3, H, W) -> the same, in float64, without BatchNorm; notes the batches it sees."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)
        self.double()
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(len(image))
        return self.last(self.first(image).tanh())


def _mean_error(network: nn.Module, image: Tensor) -> Tensor:
    return (network(image) - image).square().mean()


@exercise("6.2")
def gradient_in_pieces(
    answer: Callable[[nn.Module, Callable[[nn.Module, Tensor], Tensor], Tensor, int], list[Tensor]],
) -> None:
    """``answer(network, loss, image, pieces)``: the whole batch's gradients, piece by piece."""
    for n, pieces, side in (
        (6, 2, (8, 8)),
        (1, 1, (5, 7)),
        (6, 6, (4, 4)),
        (5, 2, (7, 6)),
        (7, 3, (5, 5)),
    ):
        what = f"{n} pictures in {pieces} pieces"
        network, image = _Small(), torch.rand(n, 3, *side, dtype=torch.float64)
        parameters = tuple(network.parameters())
        wanted = torch.autograd.grad(_mean_error(network, image), parameters)
        for stale in (False, True):
            network.seen.clear()
            for p in parameters:
                p.grad = torch.ones_like(p) if stale else None
            got = answer(network, _mean_error, image, pieces)
            expect(
                isinstance(got, (list, tuple)) and len(got) == len(wanted),
                f"{what}: return a list of {len(wanted)} gradients, one a parameter",
            )
            expect(sum(network.seen) == n, f"{what}: the network saw {sum(network.seen)} pictures")
            most = -(-n // pieces)
            expect(
                max(network.seen) <= most,
                f"{what}: {max(network.seen)} pictures at once; the memory is for {most}",
            )
            for (name, _), g, w in zip(network.named_parameters(), got, wanted):
                expect(isinstance(g, Tensor), f"{what}: gradient of {name} is {g!r}, not a tensor")
                expect(
                    not stale or not torch.allclose(g, w + 1),
                    f"{what}: gradients of the step before were still in .grad",
                )
                expect(
                    n % pieces == 0
                    or not torch.allclose(g, _equal_mean(network, image, pieces, name)),
                    f"{what}: the mean over pieces; a piece with fewer pictures counts less",
                )
                expect(
                    pieces == 1 or not torch.allclose(g, pieces * w),
                    f"{what}: {pieces} times too large: the loss is a mean over pictures",
                )
                compare(g / w.norm(), w / w.norm(), f"{what}: gradient of {name}", 1e-9)


def _equal_mean(network: nn.Module, image: Tensor, pieces: int, name: str) -> Tensor:
    """The gradient if every piece had the same weight."""
    parameter = dict(network.named_parameters())[name]
    parts = image.chunk(pieces)
    losses = torch.stack([_mean_error(network, part) for part in parts])
    return torch.autograd.grad(losses.mean(), parameter)[0]


# --------------------------------------------------------------------------- 6.3
Run = tuple[nn.Module, torch.optim.Optimizer, torch.Generator]


def _toy_run(seed: int) -> Run:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    adam = torch.optim.Adam(network.parameters(), 0.01)
    return network, adam, torch.Generator().manual_seed(seed)


def _toy_steps(run: Run, n: int) -> None:
    network, adam, rng = run
    for _ in range(n):
        adam.zero_grad()
        network(torch.rand(2, 3, 8, 8, generator=rng)).square().mean().backward()
        adam.step()


def _contents(run: Run) -> dict[str, Tensor]:
    """All that the next step depends on, by name."""
    network, adam, rng = run
    all_of = {f"parameter {k}": v for k, v in network.named_parameters()}
    all_of |= {f"BatchNorm's statistics {k}": v for k, v in network.named_buffers()}
    for number, state in adam.state_dict()["state"].items():
        all_of |= {f"Adam's {k} of parameter {number}": v for k, v in state.items()}
    return all_of | {"the state of the random generator": rng.get_state()}


@exercise("6.3")
def checkpoint(answer: Callable[..., dict]) -> None:
    """``answer(network, adam, rng)`` saves, ``answer(network, adam, rng, saved)`` restores."""
    for seed, before, after in ((0, 3, 4), (1, 1, 1), (2, 10, 3)):
        what = f"stopped after {before} steps"
        run = _toy_run(seed)
        _toy_steps(run, before)
        then = {name: value.clone() for name, value in _contents(run).items()}
        saved = answer(*run)
        expect(isinstance(saved, dict), f"{what}: return a dict, not {type(saved).__name__}")
        for name, value in _contents(run).items():
            expect(torch.equal(value, then[name]), f"{what}: saving changed {name}")
        _toy_steps(run, after)  # the run goes on: what was saved must not move with it
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        try:
            saved = torch.load(file, weights_only=True)
        except Exception as error:
            raise AssertionError(
                f"{what}: the dict must hold tensors and plain values only, so that "
                f"torch.load(..., weights_only=True) reads it: {str(error).splitlines()[0]}"
            ) from None
        other = _toy_run(seed + 100)  # another process, which starts elsewhere
        _toy_steps(other, 2)
        answer(*other, saved)
        now, moved = _contents(other), _contents(run)
        for name, value in then.items():
            expect(name in now, f"{what}: {name} is missing after restoring")
            expect(
                torch.equal(value, moved[name]) or not torch.equal(now[name], moved[name]),
                f"{what}: {name} is that of {after} steps later: state_dict() refers to tensors "
                "that go on changing; copy them",
            )
            expect(torch.equal(now[name], value), f"{what}: {name} was not restored")
        _toy_steps(other, after)
        for name, value in _contents(other).items():
            expect(torch.equal(value, moved[name]), f"{what}, {after} steps on: {name} differs")


# --------------------------------------------------------------------------- 6.4
_BASE = TrainConfig(
    generator="trio-fourier",
    stages=((0.0, 32, 4),),
    steps=40,
    l1_until=1.0,
    warmup=5,
    weights=LossWeights(l1_hole=10, adversarial=0, feature_matching=0, perceptual=0),
    features=None,
    average=None,
    settle=10,
    discriminator_width=8,
    save_every=10**6,
    panel_every=10**6,
    device="cpu",
)
_SEEDS = (0, 1, 2)
_BUDGET = ("generator", "data", "stages", "steps", "settle", "start", "seed")


@contextmanager
def _one_thread() -> Iterator[None]:
    """For networks so small that threads cost more than they gain, on a busy machine ten times."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def _held_out_error(config: TrainConfig) -> float:
    """Hole L1 of a finished run on scenes that it did not see."""
    with tempfile.TemporaryDirectory() as folder:
        generator = load_generator(loop.train(config, folder, progress=False))
    unseen = replace(_BASE, seed=10**6, stages=((0.0, 32, 64),))
    image, mask, _ = Batches(unseen)[0]
    with torch.no_grad():
        _, result = inpaint_batch(generator, image, mask)
    return float(metrics.hole_l1(result.numpy(), image.numpy(), mask[:, 0].numpy() > 0.5).mean())


@functools.cache
def _given_error(seed: int) -> float:
    """That of the given recipe."""
    return _held_out_error(replace(_BASE, seed=seed))


@exercise("6.4")
def recipe(answer: Callable[[TrainConfig], TrainConfig]) -> None:
    """``answer(config)``: settings that learn more in the same steps, over three seeds."""
    config = answer(_BASE)
    expect(
        isinstance(config, TrainConfig),
        f"return a TrainConfig, such as replace(config, lr=...), not {type(config).__name__}",
    )
    for name in _BUDGET:
        given, got = getattr(_BASE, name), getattr(config, name)
        expect(got == given, f"{name} is the budget: leave it at {given!r}, not {got!r}")
    free = dict(save_every=_BASE.save_every, panel_every=_BASE.panel_every, device="cpu")
    config = replace(config, **free)
    expect(config != _BASE, "this is the given recipe: change a setting that learning depends on")
    theirs, ours = [], []
    for seed in _SEEDS:
        ours.append(_given_error(seed))
        try:
            theirs.append(_held_out_error(replace(config, seed=seed)))
        except FloatingPointError as error:
            raise AssertionError(f"the run broke off: {error}") from None
        print(f"seed {seed}, 64 unseen scenes: given {ours[-1]:.3f}, yours {theirs[-1]:.3f}")
    gain = sum(ours) / len(ours) - sum(theirs) / len(theirs)
    expect(
        gain > 0.003,
        f"over {len(_SEEDS)} seeds your recipe lowers the hole L1 by {gain:.4f} on average, and "
        "0.003 is asked for: change what forty steps depend on, the step size first",
    )
