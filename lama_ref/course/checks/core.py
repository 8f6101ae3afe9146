"""The machinery that all checks share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_results: dict[str, str] = {}


def exercise(number: str) -> Callable:
    """Decorator of a check: runs it on the student's answer and reports.

    The decorated function takes the answer and raises ``AssertionError`` with a helpful message
    when it is wrong (use :func:`compare` and :func:`expect`).
    """

    def decorate(check: Callable[[Callable], None]) -> Callable[[Callable], None]:
        @functools.wraps(check)
        def run(answer: Callable) -> None:
            try:
                check(answer)
            except NotImplementedError:
                _results[number] = "not attempted"
                print(f"Exercise {number}: not attempted yet")
                return
            except AssertionError:
                _results[number] = "wrong"
                raise
            except Exception as error:
                _results[number] = "wrong"
                raise AssertionError(
                    f"Exercise {number}: your function raised {type(error).__name__}: {error}"
                ) from error
            _results[number] = "passed"
            print(f"Exercise {number}: passed")

        return run

    return decorate


def expect(condition: bool, message: str) -> None:
    """Raise ``AssertionError`` with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def returned(got, what: str) -> None:
    """Raise ``AssertionError`` if the answer gave nothing back."""
    expect(got is not None, f"{what}: your function returned None; is there a return statement?")


def tensor(got, what: str) -> Tensor:
    """The answer, which must be a tensor."""
    returned(got, what)
    expect(isinstance(got, Tensor), f"{what}: return a tensor, not a {type(got).__name__}")
    return got


def numbers(got, names: str, what: str) -> list[float]:
    """The answer, which must be as many finite numbers as there are names: "low, high"."""
    returned(got, what)
    n = names.count(",") + 1
    expect(
        isinstance(got, (tuple, list, np.ndarray)) and np.shape(got) == (n,),
        f"{what}: expected {n} numbers, ({names}), not {got!r}",
    )
    values = [float(v) for v in got]
    expect(bool(np.isfinite(values).all()), f"{what}: NaN or infinite values: {values}")
    return values


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers in [0, 1), float32, that are the same every time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal random numbers that are the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def compare(got, expected, what: str, tolerance: float = 1e-5) -> None:
    """Type, shape and values against the expected array or tensor; the message names ``what``."""
    returned(got, what)
    got_array, expected_array = (
        v.detach().cpu().resolve_conj().resolve_neg().numpy()
        if isinstance(v, Tensor)
        else np.asarray(v)
        for v in (got, expected)
    )
    expect(
        got_array.shape == expected_array.shape,
        f"{what}: shape {got_array.shape}, expected {expected_array.shape}",
    )
    if got_array.size == 0:
        return
    difference = np.abs(got_array.astype(complex) - expected_array.astype(complex))
    expect(bool(np.isfinite(difference).all()), f"{what}: the result has NaN or infinite values")
    worst = np.unravel_index(difference.argmax(), difference.shape)
    scale = max(1.0, float(np.abs(expected_array).max()))
    expect(
        bool(difference.max() <= tolerance * scale),
        f"{what}: largest difference {difference.max():.3g} at index {tuple(map(int, worst))}: "
        f"got {got_array[worst]:.5g}, expected {expected_array[worst]:.5g}",
    )


def _refuse(*_, **__):
    raise AssertionError("this calls the module's own function: write the operation yourself")


@contextmanager
def without(function: Callable) -> Iterator[None]:
    """Meanwhile the module's function refuses to work, by whatever name it was imported."""
    code, function.__code__ = function.__code__, _refuse.__code__
    try:
        yield
    finally:
        function.__code__ = code


def attempted() -> dict[str, str]:
    """State of each exercise checked so far: "passed", "wrong" or "not attempted"."""
    return dict(_results)


def require_all(*numbers: str) -> None:
    """Raise unless every named exercise has passed; the last cell of a solution notebook."""
    missing = [n for n in numbers if _results.get(n) != "passed"]
    expect(not missing, f"not passed: {', '.join(missing)}")
    print(f"All {len(numbers)} exercises passed")
