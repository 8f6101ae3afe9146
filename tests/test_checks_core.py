"""The machinery of the checks: what a student sees of a wrong answer, and of none."""

import math
import re

import numpy as np
import pytest
import torch

from lama_ref.course.checks import core


@core.exercise("0.0")
def check(answer):
    core.compare(answer(3.0), torch.tensor(9.0), "three squared")


def untouched(x):
    """What is to be done."""
    raise NotImplementedError("Exercise 0.0")


class Untouched:
    def __call__(self, x):
        raise NotImplementedError


def half_way(x):
    y = x * x
    raise NotImplementedError(f"what now? {y}")


def in_one_case(x):
    if x > 2:
        raise NotImplementedError("large numbers")
    return x


def domain(x):
    return math.log(-x)


def doubtful(x):
    assert x < 3, "too large"
    return x * x


def deeper(x):
    return domain(x)


def one_that_calls_a_stub(x):
    return untouched(x)


def failure(answer) -> core.CheckFailed:
    with pytest.raises(core.CheckFailed) as caught:
        check(answer)
    assert core.attempted()["0.0"] == "wrong"
    return caught.value


@pytest.mark.parametrize("answer", [untouched, Untouched()])
def test_a_stub_is_not_attempted(answer, capsys):
    check(answer)
    assert capsys.readouterr().out == "Exercise 0.0: not attempted yet\n"
    assert core.attempted()["0.0"] == "not attempted"


@pytest.mark.parametrize(
    ("answer", "kind", "line"),
    [
        (half_way, "NotImplementedError: what now", "half_way: raise NotImplementedError"),
        (in_one_case, "NotImplementedError: large", "in_one_case: raise NotImplementedError"),
        (one_that_calls_a_stub, "NotImplementedError", "untouched: raise NotImplementedError"),
        (domain, "ValueError: .+", r"domain: return math.log\(-x\)"),
        (deeper, "ValueError: .+", r"domain: return math.log\(-x\)"),
        (doubtful, "AssertionError: too large", 'doubtful: assert x < 3, "too large"'),
    ],
)
def test_an_exception_names_the_students_line(answer, kind, line):
    expected = rf"(?s)Exercise 0\.0: your function raised {kind}.*\n  line \d+, in {line}"
    assert re.match(expected, str(failure(answer)))


def test_an_answer_that_the_check_cannot_use():
    error = failure(lambda x: object())
    assert "cannot work with your answer, which gives TypeError" in str(error)


def test_a_notebook_shows_the_sentence_and_the_call_but_no_source_of_ours():
    error = failure(lambda x: torch.tensor(8.0))
    assert str(error) == ("Exercise 0.0: three squared: largest difference 1: got 8, expected 9")
    shown = "\n".join(error._render_traceback_())
    assert str(error) in shown and shown.endswith("check(answer)")
    assert len(shown.splitlines()) == 2 and "core" not in shown
    assert error.__context__ is None and error.__cause__ is None  # nor does plain Python


def test_ipython_asks_the_exception_itself(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.user_ns["check"] = check
    try:
        result = shell.run_cell("def square(x):\n    return x\n\n\ncheck(square)")
    finally:
        InteractiveShell.clear_instance()
    assert isinstance(result.error_in_exec, AssertionError)
    shown = capsys.readouterr().out
    assert "three squared" in shown and "line 5: check(square)" in shown
    assert "compare" not in shown and len(shown.splitlines()) <= 4


def test_an_index_is_named_where_there_is_one():
    with pytest.raises(AssertionError, match=r"difference 1 at index \(1,\): got 2, expected 1"):
        core.compare(np.array([0, 2]), np.array([0, 1]), "two numbers")


def test_a_check_that_fails_without_words_has_failed():
    @core.exercise("0.9")
    def wordless(answer):
        assert answer, ""

    with pytest.raises(core.CheckFailed):
        wordless(0)
    assert core.attempted()["0.9"] == "wrong"
