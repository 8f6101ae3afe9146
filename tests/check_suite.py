"""The tests that the checks of every notebook must pass.

A test file says what is right and what is wrong, and ends with
``TestChecks = check_suite("2", RIGHT, ALSO_RIGHT, WRONG)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest

from lama_ref import checks


def stub(*_, **__):
    raise NotImplementedError("Exercise")


def broken(*_, **__):
    raise KeyError("oops")


stub.draw, broken.draw = stub, broken  # type: ignore  an answer may be an object: a kind of mask


def check_suite(
    notebook: str,
    right: dict[str, Any],
    also_right: Collection[tuple],
    wrong: Collection[tuple[str, Any, str]],
    *,
    slow: Collection[str] = (),
) -> type:
    """Tests of the checks of one notebook.

    Args:
        notebook: its number, as exercises say it.
        right: name of each check and the reference answer, in the order of the exercises.
        also_right: (check, answer, words that its report holds ...).
        wrong: (check, answer, pattern of the message), at least three of each check.
        slow: checks whose answers train.
    """
    numbers = {name: f"{notebook}.{i}" for i, name in enumerate(right, 1)}
    accepted = [(name, answer, words) for name, answer, *words in (*right.items(), *also_right)]

    def marked(rows: Collection[tuple]) -> list:
        return [
            pytest.param(*row, marks=pytest.mark.slow if row[0] in slow else ()) for row in rows
        ]

    class Suite:
        @pytest.mark.parametrize("name", right)
        def test_stub_is_not_attempted(self, name, capsys):
            getattr(checks, name)(stub)
            assert capsys.readouterr().out == f"Exercise {numbers[name]}: not attempted yet\n"
            assert checks.attempted()[numbers[name]] == "not attempted"
            with pytest.raises(AssertionError, match=f"not passed: {numbers[name]}"):
                checks.require_all(numbers[name])

        @pytest.mark.parametrize("name", right)
        def test_an_exception_in_the_answer_is_reported(self, name):
            message = f"Exercise {numbers[name]}: your function raised KeyError: 'oops'"
            with pytest.raises(AssertionError, match=message) as caught:
                getattr(checks, name)(broken)
            assert ', in broken: raise KeyError("oops")' in str(caught.value)

        @pytest.mark.parametrize(("name", "answer", "words"), marked(accepted))
        def test_right_answer_passes(self, name, answer, words, capsys):
            getattr(checks, name)(answer)
            out = capsys.readouterr().out
            assert out.endswith(f"Exercise {numbers[name]}: passed\n")
            for word in words:
                assert word in out
            checks.require_all(numbers[name])

        @pytest.mark.parametrize(("name", "answer", "message"), marked(wrong))
        def test_wrong_answer_is_rejected_with_its_reason(self, name, answer, message):
            with pytest.raises(AssertionError, match=f"(?s){message}") as caught:
                getattr(checks, name)(answer)
            assert str(caught.value).startswith(f"Exercise {numbers[name]}: ")
            assert caught.value.__context__ is None  # the source of a check tells its answer
            assert checks.attempted()[numbers[name]] == "wrong"

        def test_every_check_has_three_wrong_answers(self):
            counts = Counter(name for name, *_ in wrong)
            assert set(counts) == set(right) and min(counts.values()) >= 3

    return Suite
