"""What every variant must do, measured: :func:`spectral_contract` prints a card and returns it.

A variant may declare, as attributes of its module, ``resolution_free = False`` or
``batch_independent = False``: the card then says so instead of testing it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..ffc import GlobalBranch
from .kit import Transform
from .variants import find_spectral, name_of

C_IN, C_OUT = 12, 8
SIDES = ((8, 8), (7, 9), (6, 11), (5, 1), (1, 6), (16, 12))


@dataclass
class Card:
    """What was found out about a variant.

    Attributes:
        name: under which it is registered, or that of the factory.
        lines: (what, verdict, finding); the verdict is "holds", "fails", "declared" or "measured".
        impulse: (65, 65) answer of the fresh layer to one pixel in the middle.
    """

    name: str
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    impulse: Tensor | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return all(verdict != "fails" for _, verdict, _ in self.lines)

    def __str__(self) -> str:
        rows = [f"  {what:24} {verdict:9} {finding}" for what, verdict, finding in self.lines]
        end = "keeps the contract" if self.passed else "does NOT keep the contract"
        return "\n".join([f"{self.name}", *rows, f"  {self.name} {end}"])


def spectral_contract(variant: str | GlobalBranch, *, verbose: bool = True) -> Card:
    """Tests a variant: a registered name, or a factory (c_in, c_out, *, stride, groups).

    Takes seconds on a CPU. What fails is said on the card, and raises nothing.

    Raises:
        ValueError: no variant of that name is registered.
    """
    factory = find_spectral(variant) if isinstance(variant, str) else variant
    name = variant if isinstance(variant, str) else name_of(variant)
    card = Card(name or getattr(factory, "__name__", type(factory).__name__))
    state = torch.get_rng_state()
    try:
        for what, test in TESTS.items():
            torch.manual_seed(0)
            try:
                verdict, finding = test(factory)
            except Exception as error:  # of somebody's own code: any
                text = str(error).partition("\n")[0]
                verdict, finding = "fails", f"{type(error).__name__}: {text}"
            card.lines.append((what, verdict, finding))
            if what == "module" and verdict == "fails":
                break  # there is nothing to test
        else:
            with suppress(Exception):
                card.impulse = impulse(factory)
    finally:
        torch.set_rng_state(state)
    if verbose:
        print(card)
    return card


def build(
    factory: GlobalBranch, stride: int = 1, c_in: int = C_IN, c_out: int = C_OUT
) -> nn.Module:
    """The variant as a module.

    Raises:
        TypeError: the factory returns something else, whose weights nobody would train.
    """
    module = factory(c_in, c_out, stride=stride, groups=1)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"the factory must return an nn.Module, whose weights are trained and saved, not a "
            f"{type(module).__name__}"
        )
    return module


def checked(module: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The module's output, which must be real and of this shape."""
    y = module(x)
    if not isinstance(y, Tensor) or y.is_complex() or tuple(y.shape) != shape:
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"{tuple(x.shape)} must give real {shape}, not {got}")
    return y


def shapes(factory: GlobalBranch) -> None:
    """The cheap part of the contract, for whoever builds a network: one map for each stride.

    Raises:
        TypeError, ValueError: no module, or not the right shape.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for stride in (1, 2):
            h, w = 6, 10 - stride  # odd where it need not be halved
            module = build(factory, stride).eval()
            shape = (1, C_OUT, h // stride, w // stride)
            checked(module, torch.randn(1, C_IN, h, w), shape)


Finding = tuple[str, str]


def _module(factory: GlobalBranch) -> Finding:
    module = build(factory)
    n = sum(p.numel() for p in module.parameters())
    return "holds", f"{n:,} parameters for {C_IN} to {C_OUT} channels"


def _shapes(factory: GlobalBranch) -> Finding:
    for stride in (1, 2):
        module = build(factory, stride)
        for h, w in SIDES:
            shape = (2, C_OUT, -(-h // stride), -(-w // stride))
            checked(module, torch.randn(2, C_IN, h, w), shape)
    return "holds", f"{len(SIDES)} sizes, odd and one pixel wide, strides 1 and 2"


def _trained(factory: GlobalBranch) -> Finding:
    module = build(factory)
    module(torch.randn(2, C_IN, 8, 9)).square().sum().backward()
    idle = [name for name, p in module.named_parameters() if p.grad is None]
    if idle:
        return "fails", f"no gradient reaches {', '.join(idle[:3])}"
    return "holds", "a gradient reaches every parameter"


def _batch(factory: GlobalBranch) -> Finding:
    module = build(factory).eval()
    if not getattr(module, "batch_independent", True):
        return "declared", "depends on the other samples of a batch"
    x = torch.randn(3, C_IN, 9, 12)
    worst = (module(x)[:1] - module(x[:1])).abs().max().item()
    return _below(worst, 1e-5, "a sample alone or among three")


def _resolution(factory: GlobalBranch) -> Finding:
    module = build(factory).eval()
    if not getattr(module, "resolution_free", True):
        return "declared", "belongs to one size of map"
    small, large = torch.randn(1, C_IN, 8, 8), torch.randn(1, C_IN, 31, 48)
    before = module(small)
    module(large)
    return _below(
        (module(small) - before).abs().max().item(), 1e-6, "same before and after 31 x 48"
    )


def _autocast(factory: GlobalBranch) -> Finding:
    module, x = build(factory).eval(), 200 + torch.randn(1, C_IN, 64, 64)
    plain = module(x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            y = module(x).float()
        if not y.isfinite().all():
            return "fails", f"not finite in {str(dtype)[6:]} on a map whose mean is 200"
    error = (y - plain).square().mean().sqrt() / plain.square().mean().sqrt().clamp(min=1e-12)
    return _below(error.item(), 0.05, "relative error in float16, mean 200")


def _gradient(factory: GlobalBranch) -> Finding:
    module = build(factory).double().eval()
    with torch.no_grad():
        for p in module.parameters():  # away from zeros, where ReLU has a corner
            p.add_(0.05 * torch.randn_like(p))
    x = torch.randn(1, C_IN, 3, 4, dtype=torch.float64, requires_grad=True)
    holds = torch.autograd.gradcheck(module, (x,), fast_mode=True, raise_exception=False)
    return ("holds" if holds else "fails"), "autograd against finite differences, float64"


def _saved(factory: GlobalBranch) -> Finding:
    module, other = build(factory).eval(), build(factory).eval()
    other.load_state_dict(module.state_dict())
    x = torch.randn(1, C_IN, 8, 11)
    return _below(
        (module(x) - other(x)).abs().max().item(), 1e-6, "equal after loading its weights"
    )


def _backends(factory: GlobalBranch) -> Finding:
    module = build(factory).eval()
    product = copy.deepcopy(module)
    for transform in _transforms(product):
        transform.backend = "matmul"
    if not list(_transforms(module)):
        return "declared", "has no transform of the kit"
    x = torch.randn(2, C_IN, 15, 22)
    return _below((module(x) - product(x)).abs().max().item(), 1e-4, "fft against matmul")


def _parseval(factory: GlobalBranch) -> Finding:
    worst, found = 0.0, list(_transforms(build(factory)))
    for transform in found:
        for h, w in SIDES:
            x = torch.randn(2, 3, h, w, dtype=torch.float64)
            spectrum, energy = transform(x), x.square().sum()
            worst = max(worst, ((spectrum.energy() - energy) / energy).abs().item())
            worst = max(worst, (transform.inverse(spectrum) - x).abs().max().item())
    if not found:
        return "declared", "has no transform of the kit"
    return _below(worst, 1e-9, "keeps the energy, and its inverse gives the map back")


def _shift(factory: GlobalBranch) -> Finding:
    module, x = build(factory).eval(), torch.randn(1, C_IN, 16, 16)
    y = module(x)
    moved = module(x.roll((3, 5), (2, 3))).roll((-3, -5), (2, 3))
    error = ((moved - y).square().mean() / y.square().mean().clamp(min=1e-12)).sqrt().item()
    return "measured", f"relative change of {error:.2g} when the map is shifted cyclically"


def _cost(factory: GlobalBranch) -> Finding:
    module, x = build(factory, c_in=48, c_out=48).eval(), torch.randn(1, 48, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(x)
    seconds = []
    with torch.no_grad():
        for _ in range(6):
            start = time.perf_counter()
            module(x)
            seconds.append(time.perf_counter() - start)
    n = sum(p.numel() for p in module.parameters())
    flops, ms = counter.get_total_flops() / 1e6, 1e3 * min(seconds)
    return "measured", f"48 channels, 32 x 32: {n:,} parameters, {flops:.1f} MFLOP, {ms:.1f} ms"


def impulse(factory: GlobalBranch, side: int = 65) -> Tensor:
    """(side, side): how much each output pixel changes when the middle input pixel does.

    The layer is as fresh as it comes, in evaluation mode, before a map of noise.
    """
    module = build(factory, c_in=48, c_out=48).eval()  # of few channels all might be deaf to it
    with torch.no_grad():
        x = torch.randn(1, 48, side, side)
        lit = x.clone()
        lit[..., side // 2, side // 2] += 10
        return (module(lit) - module(x)).square().mean((0, 1)).sqrt()


def _transforms(module: nn.Module) -> Iterator[Transform]:
    return (part for part in module.modules() if isinstance(part, Transform))


def _below(value: float, limit: float, what: str) -> Finding:
    return ("holds" if value <= limit else "fails"), f"{what}: {value:.1e} (limit {limit:.0e})"


TESTS: dict[str, Callable[[GlobalBranch], Finding]] = {
    "module": _module,
    "shapes": _shapes,
    "all weights are trained": _trained,
    "batch independence": _batch,
    "resolution freedom": _resolution,
    "autocast": _autocast,
    "gradient": _gradient,
    "saved and loaded": _saved,
    "two backends": _backends,
    "Parseval": _parseval,
    "translation": _shift,
    "cost": _cost,
}
