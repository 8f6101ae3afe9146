"""Checks of notebook 01, fast Fourier convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from ... import ffc
from .core import compare, exercise, expect, normal

__all__ = [
    "spectral_channels",
    "hermitian_projection",
    "complex_pair",
    "shift_equivariant",
    "global_branch",
]

_SIZES = ((1, 1, 4, 6), (3, 2, 7, 9), (1, 3, 8, 8), (2, 1, 5, 4), (1, 2, 1, 5))


def _known_mistakes(got, mistakes: dict[str, Callable[[], Tensor]], expected: Tensor) -> None:
    """If the answer is one of the usual wrong ones, say which instead of giving numbers."""
    for explanation, wrong in mistakes.items():
        if not isinstance(got, Tensor):
            return
        value = wrong()
        same_shape = got.shape == value.shape
        differs = value.shape != expected.shape or not torch.allclose(value, expected)
        if same_shape and differs and torch.allclose(got.to(value.dtype), value):
            raise AssertionError(explanation)


@contextmanager
def _without(reason: str, *functions: str) -> Iterator[None]:
    """While the answer runs, these functions refuse to work and say why."""

    def refuse(*_, **__):
        raise AssertionError(reason)

    with ExitStack() as stack:
        for name in functions:
            stack.enter_context(patch(name, refuse))
        yield


_LARGE = [f"torch.fft.{name}" for name in ("rfft2", "fft2", "rfftn", "fftn")]


def _images() -> list[tuple[str, Tensor]]:
    impulse = torch.zeros(1, 1, 6, 7, dtype=torch.float64)
    impulse[..., 2, 3] = 1
    named = [
        ("a black image (1, 1, 4, 4)", torch.zeros(1, 1, 4, 4, dtype=torch.float64)),
        ("a constant image (1, 1, 4, 6)", torch.ones(1, 1, 4, 6, dtype=torch.float64)),
        ("an impulse at (2, 3) of 6 x 7 pixels", impulse),
    ]
    return named + [(f"random images {size}", normal(*size)) for size in _SIZES]


@exercise("1.1")
def spectral_channels(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise 1.1: (B, C, H, W) -> (B, 2C, H, W // 2 + 1), real and imaginary interleaved."""
    reason = "use only torch.fft.rfft and torch.fft.fft, which transform one axis"
    expect(answer is not ffc.real_fft, reason)
    for what, x in _images():
        expected, before = ffc.real_fft(x), x.clone()
        with _without(reason, *_LARGE, "lama_ref.ffc.real_fft"):
            got = answer(x)
        spectrum = torch.fft.rfft2(x, norm="ortho")
        mistakes = {
            "channels are grouped, all real parts before all imaginary parts; "
            "they must alternate: Re 0, Im 0, Re 1, Im 1, ...": lambda s=spectrum: torch.cat(
                [s.real, s.imag], 1
            ),
            "the normalisation is 'backward', H * W is put on the inverse; "
            "use norm='ortho' in both transforms": lambda v=x: ffc.real_fft(v, "backward"),
            "the half spectrum lies along the height; rfft belongs to the last axis, "
            "fft to the one before": lambda v=x: ffc.real_fft(v.mT).mT,
        }
        _known_mistakes(got, {f"{what}: {m}": f for m, f in mistakes.items()}, expected)
        compare(got, expected, what)
        compare(x, before, f"{what}: your function changed its input in place; the input")
    x = normal(2, 2, 5, 6).requires_grad_()
    weight = normal(2, 4, 5, 4, seed=1)
    (expected,) = torch.autograd.grad((ffc.real_fft(x) * weight).sum(), x)
    got = answer(x)
    expect(got.requires_grad, "no gradient reaches the input: is there a detach or a numpy call?")
    compare(torch.autograd.grad((got * weight).sum(), x)[0], expected, "gradient of the input")


@exercise("1.2")
def hermitian_projection(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 1.2: (half spectrum (B, C, H, K) complex, width W) -> the same shape."""
    reason = "write the projection yourself; do not call lama_ref.ffc"
    expect(answer is not ffc.hermitian, reason)
    for size in _SIZES:
        b, c, h, w = size
        k = w // 2 + 1
        what = f"random half spectrum of H = {h}, W = {w} ({'odd' if w % 2 else 'even'} width)"
        s = torch.complex(normal(b, c, h, k), normal(b, c, h, k, seed=1))
        expected, before = ffc.hermitian(s, w), s.clone()
        with _without(reason, "lama_ref.ffc.hermitian", "lama_ref.ffc.inverse_real_fft"):
            got = answer(s, w)
        compare(s, before, f"{what}: your function changed its input in place; the input")
        mirror = s.flip(-2).roll(1, -2)
        everywhere = (s + mirror.conj()) / 2
        first = torch.cat([everywhere[..., :1], s[..., 1:]], -1)
        both = torch.cat([everywhere[..., :1], s[..., 1:-1], everywhere[..., -1:]], -1)
        flipped = (s + s.flip(-2).conj()) / 2
        no_roll = torch.where(expected == s, s, flipped)
        no_conj = torch.where(expected == s, s, (s + mirror) / 2)
        mistakes = {
            "every column was projected; only those that are their own mirror image may be: "
            "kx = 0 and, for even W, kx = W / 2": everywhere,
            "the last column (kx = W / 2) of an even width was left as it was": first,
            "the last column of an odd width was projected; its mirror image lies outside "
            "the half spectrum, so it must stay": both,
            "row ky was paired with row H - 1 - ky; its mirror is row -ky, that is "
            "(H - ky) % H, so row 0 pairs with itself": no_roll,
            "the mirrored column was not conjugated": no_conj,
        }
        _known_mistakes(got, {f"{what}: {m}": lambda v=v: v for m, v in mistakes.items()}, expected)
        compare(got, expected, what)


def _blocks(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return weight[::2, ::2], weight[::2, 1::2], weight[1::2, ::2], weight[1::2, 1::2]


def _pair(weight: Tensor) -> tuple[Tensor, Tensor]:
    a, b, c, d = _blocks(weight)  # Re' = a Re + b Im, Im' = c Re + d Im
    return torch.complex(a + d, c - b) / 2, torch.complex(a - d, c + b) / 2


def _weights() -> list[tuple[str, Tensor]]:
    pixel = {
        "the identity, (P, Q) = (1, 0)": [[1.0, 0], [0, 1]],
        "multiplication by i, (P, Q) = (i, 0)": [[0.0, -1], [1, 0]],
        "conjugation, (P, Q) = (0, 1)": [[1.0, 0], [0, -1]],
        "conjugation, then times i, (P, Q) = (0, i)": [[0.0, 1], [1, 0]],
    }
    named = [(name, torch.tensor(w, dtype=torch.float64)) for name, w in pixel.items()]
    named.append(("a weight of zeros (4, 2)", torch.zeros(4, 2, dtype=torch.float64)))
    sizes = ((2, 2), (6, 4), (2, 6), (8, 8))  # first: there no two mistakes look alike
    return [(f"a random weight {s}", normal(*s)) for s in sizes] + named


@exercise("1.3")
def complex_pair(answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
    """Exercise 1.3: real weight (2D, 2C) -> complex P, Q, both (D, C), so that z' = P F + Q F*."""
    for what, weight in _weights():
        expected = _pair(weight)
        got = answer(weight.clone())
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2,
            f"{what}: return two matrices, (P, Q), not {type(got).__name__}",
        )
        p, q = got
        expect(
            all(isinstance(m, Tensor) and m.is_complex() for m in got),
            f"{what}: P and Q must be complex tensors",
        )
        right = torch.stack(expected)
        mistakes = {
            "P and Q are swapped; P multiplies F, Q its conjugate": right.flip(0),
            "P and Q are twice too large": 2 * right,
            "the imaginary parts have the wrong sign; are b (from Im to Re) and c (from Re to "
            "Im) exchanged?": right.conj(),
            "Q is missing: not every real 2 x 2 matrix is the multiplication by a complex "
            "number": torch.stack([expected[0], torch.zeros_like(expected[1])]),
        }
        if p.shape == q.shape and "random" in what:
            lazily = {f"{what}: {m}": lambda v=v: v for m, v in mistakes.items()}
            _known_mistakes(torch.stack([p, q]), lazily, right)
        compare(p, expected[0], f"P of {what}")
        compare(q, expected[1], f"Q of {what}")


@exercise("1.4")
def shift_equivariant(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise 1.4: real weight (2D, 2C) -> the nearest one whose linear unit follows shifts."""
    for what, weight in _weights():
        a, b, c, d = _blocks(weight)

        def interleave(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
            rows = [torch.stack(r, -1).flatten(-2) for r in ((a, b), (c, d))]
            return torch.stack(rows, 1).flatten(0, 1)

        p = (a + d) / 2
        expected = interleave(p, (b - c) / 2, (c - b) / 2, p)
        before = weight.clone()
        got = answer(weight)
        compare(weight, before, f"{what}: your function changed its input in place; the input")
        zero = torch.zeros_like(p)
        q = (a - d) / 2
        mistakes = {
            "the weight came back as it was": weight,
            "it is twice too large": 2 * expected,
            "this is the conjugating part, exactly what must go": interleave(
                q, (b + c) / 2, (b + c) / 2, -q
            ),
            "the part that multiplies by i was removed as well; it is a Hilbert transform, a "
            "circular convolution, and follows shifts": interleave(p, zero, zero, p),
            "the four blocks are grouped, but channels alternate: row 2d is the real part, row "
            "2d + 1 the imaginary part of output d": torch.cat(
                [torch.cat([p, (b - c) / 2], 1), torch.cat([(c - b) / 2, p], 1)]
            ),
            "this weight does follow shifts, but a nearer one exists: average the blocks a and d, "
            "and -b and c, instead of copying one": interleave(a, -c, c, a),
        }
        if "random" in what:
            lazily = {f"{what}: {m}": lambda v=v: v for m, v in mistakes.items()}
            _known_mistakes(got, lazily, expected)
        compare(got, expected, what)


@exercise("1.5")
def global_branch(answer: Callable[..., nn.Module]) -> None:
    """Exercise 1.5: a ``factory(c_in, c_out, *, stride, groups)``; its branch follows shifts."""
    torch.manual_seed(0)
    for c_in, c_out in ((8, 8), (8, 12)):
        for stride in (1, 2):
            branch = answer(c_in, c_out, stride=stride, groups=1)
            expect(
                isinstance(branch, nn.Module),
                f"the factory must return a module, not {type(branch).__name__}",
            )
            _probe(branch.eval(), c_in, c_out, stride)
    _trainable(answer(8, 8, stride=1, groups=1))
    first, second = (answer(8, 8, stride=1, groups=1).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    x = normal(1, 8, 8, 9, dtype=torch.float32)
    compare(second(x), first(x), "a second branch that loaded the first one's state dict")
    _follows_shifts_and_sees_all(first.double())
    first.float()
    layer = ffc.FFC(16, 16, 3, 0.5, 0.5, padding=1, global_branch=answer)
    local, glob = layer((x, x))
    expect(local.shape == glob.shape == x.shape, "inside an FFC the halves have wrong shapes")


def _probe(branch: nn.Module, c_in: int, c_out: int, stride: int) -> None:
    sizes = ((8, 8), (6, 10), (16, 12)) if stride == 2 else ((8, 8), (9, 7), (6, 11), (12, 5))
    for h, w in sizes:
        what = f"{c_in} to {c_out} channels, stride {stride}, maps of {h} x {w}"
        x = normal(3, c_in, h, w, dtype=torch.float32)
        try:
            with torch.no_grad():
                y, alone = branch(x), branch(x[1:2])
        except RuntimeError as error:
            raise AssertionError(f"{what}: the branch raised {error}") from error
        expect(isinstance(y, Tensor), f"{what}: the branch returned {type(y).__name__}")
        expect(not y.is_complex(), f"{what}: the result must be real, not {y.dtype}")
        shape = (3, c_out, h // stride, w // stride)
        expect(tuple(y.shape) == shape, f"{what}: shape {tuple(y.shape)}, expected {shape}")
        expect(bool(y.isfinite().all()), f"{what}: NaN or infinite values")
        compare(alone, y[1:2], f"{what}: an image alone against the same image in a batch", 1e-4)
        with torch.no_grad():
            flat = branch(torch.zeros_like(x)), branch(torch.full_like(x, 100.0))
        expect(
            all(bool(v.isfinite().all()) for v in flat),
            f"{what}: NaN or infinite values for a constant map of 0 or 100",
        )


def _trainable(branch: nn.Module) -> None:
    x = normal(2, 8, 8, 8, dtype=torch.float32).requires_grad_()
    branch(x).square().sum().backward()
    expect(
        x.grad is not None and bool((x.grad != 0).any()), "no gradient reaches the branch's input"
    )
    for name, parameter in branch.named_parameters():
        expect(
            parameter.grad is not None and bool(parameter.grad.isfinite().all()),
            f"no finite gradient reaches the parameter {name}: it is never used, or divides by 0",
        )


def _follows_shifts_and_sees_all(branch: nn.Module) -> None:
    for h, w in ((16, 16), (11, 14)):
        x = normal(1, 8, h, w)
        poked = x.clone()
        poked[:, :, 2, 3] += 1
        with torch.no_grad():
            y, answered = branch(x), branch(poked)
            moved = branch(x.roll((3, 5), (-2, -1))).roll((-3, -5), (-2, -1))
        reached = int(((answered - y).abs() > 1e-12 * y.abs().max()).any(1).sum())
        expect(
            reached == h * w,
            f"maps of {h} x {w}: one pixel reaches only {reached} of {h * w}; let all of them talk",
        )
        error = float((moved - y).norm() / y.norm())
        expect(
            error < 1e-3,
            f"maps of {h} x {w}: the branch does not follow circular shifts: off by {error:.2f}",
        )
