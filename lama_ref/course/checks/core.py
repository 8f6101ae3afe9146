"""The machinery that all checks share."""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, TracebackType

import numpy as np
import torch
from torch import Tensor

Frames = list[tuple[traceback.FrameSummary, CodeType]]

_results: dict[str, str] = {}
_NOT_THEIRS = (
    str(Path(__file__).parents[2]),  # this package
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    *("<frozen", "<string>", "<__array"),
)
_STUB = {  # all that the bytecode of raise NotImplementedError("...") holds, in Python 3.11 to 3.14
    *("RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL", "PUSH_NULL"),
    *("LOAD_GLOBAL", "LOAD_CONST", "LOAD_COMMON_CONSTANT", "PRECALL", "CALL", "RAISE_VARARGS"),
}


class CheckFailed(AssertionError):
    """A wrong answer. Its message is all there is to see: no source of a check, so no answer."""

    def _render_traceback_(self) -> list[str]:  # a notebook prints this in place of all frames
        calls = [frame for frame, _ in _students_frames(self.__traceback__)]
        where = f"\n{_line(calls[-1])}" if calls and "\n" not in str(self) else ""
        return [f"\033[31m{self}\033[0m{where}"]


def exercise(number: str) -> Callable:
    """Decorator of a check: runs it on the student's answer and reports.

    The decorated function takes the answer and raises ``AssertionError`` with a helpful message
    when it is wrong (use :func:`compare` and :func:`expect`).
    """

    def decorate(check: Callable[[Callable], None]) -> Callable[[Callable], None]:
        @functools.wraps(check)
        def run(answer: Callable) -> None:
            __tracebackhide__ = True  # pytest and IPython skip this frame
            reason = None
            try:
                check(answer)
            except Exception as error:
                frames = _students_frames(error.__traceback__, getattr(check, "__code__", None))
                if isinstance(error, NotImplementedError) and _untouched(frames):
                    _results[number] = "not attempted"
                    print(f"Exercise {number}: not attempted yet")
                    return
                reason = _reason(error, frames)
            _results[number] = "passed" if reason is None else "wrong"
            if reason is not None:  # raised here, it has no traceback of the check
                raise CheckFailed(f"Exercise {number}: {reason}")
            print(f"Exercise {number}: passed")

        return run

    return decorate


def _students_frames(trace: TracebackType | None, check: CodeType | None = None) -> Frames:
    """The frames of a traceback that lie neither in a check nor in a library."""
    frames = zip(traceback.extract_tb(trace), (f.f_code for f, _ in traceback.walk_tb(trace)))
    return [(s, c) for s, c in frames if c is not check and not s.filename.startswith(_NOT_THEIRS)]


def _line(frame: traceback.FrameSummary) -> str:
    name = "" if frame.name == "<module>" else f", in {frame.name}"
    return f"  line {frame.lineno}{name}: {frame.line}"


def _untouched(frames: Frames) -> bool:
    """Whether the answer does nothing but raise: the stub of the exercise, with its docstring."""
    codes = [code for _, code in frames]
    return len(codes) == 1 and {i.opname for i in dis.get_instructions(codes[0])} <= _STUB


def _reason(error: Exception, frames: Frames) -> str:
    last = next(reversed(traceback.extract_tb(error.__traceback__)))
    theirs = bool(frames) and frames[-1][0] == last  # an assert in the answer is theirs as well
    if isinstance(error, AssertionError) and not theirs:
        return str(error)
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    if not frames:
        return f"the check cannot work with your answer, which gives {what}"
    return f"your function raised {what}\n{_line(frames[-1][0])}"


def expect(condition: bool, message: str) -> None:
    """Raise ``AssertionError`` with the message unless the condition holds."""
    __tracebackhide__ = True
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
    where = f" at index {tuple(map(int, worst))}" if worst else ""
    scale = max(1.0, float(np.abs(expected_array).max()))
    expect(
        bool(difference.max() <= tolerance * scale),
        f"{what}: largest difference {difference.max():.3g}{where}: "
        f"got {got_array[worst]:.5g}, expected {expected_array[worst]:.5g}",
    )


def by_hand(answer: Callable, *modules_own: Callable) -> Callable:
    """The answer, which must not call these functions of ``lama_ref``: that would be no answer."""
    codes = {function.__code__: function.__qualname__ for function in modules_own}  # type: ignore

    @functools.wraps(answer)
    def watched(*args, **options):
        used: set[str] = set()

        def note(frame, event, _):
            if event == "call" and frame.f_code in codes:
                used.add(codes[frame.f_code].removesuffix(".__init__"))

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            result = answer(*args, **options)
        finally:
            sys.setprofile(before)
        names = " and ".join(sorted(used))
        expect(not used, f"your function calls lama_ref's own {names}; write that part yourself")
        return result

    return watched


def attempted() -> dict[str, str]:
    """State of each exercise checked so far: "passed", "wrong" or "not attempted"."""
    return dict(_results)


def require_all(*numbers: str) -> None:
    """Raise unless every named exercise has passed; the last cell of a solution notebook."""
    missing = [n for n in numbers if _results.get(n) != "passed"]
    if missing:
        raise CheckFailed(f"not passed: {', '.join(missing)}")
    print(f"All {len(numbers)} exercises passed")
