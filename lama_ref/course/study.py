"""A blind forced-choice study: two pictures side by side, which one is better?

:func:`forced_choice` runs one with any function as the chooser, :class:`ChoicePanel` with a person.
Both go by the same schedule: every pair once, in random order, on random sides, and nothing says
which method made what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .plots import png

__all__ = ["ChoicePanel", "Outcome", "forced_choice", "schedule"]

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Outcome:
    """How often the first method was chosen.

    Attributes:
        chosen, of: number of trials in which it was, and of all trials.
        share: chosen / of.
        low, high: exact (Clopper-Pearson) interval of the share, 95 %.
        p: probability of a result at least as unlikely if every choice were a coin's.
    """

    chosen: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.chosen <= self.of or self.of < 1:
            raise ValueError(f"{self.chosen} choices of {self.of} trials")

    @property
    def share(self) -> float:
        return self.chosen / self.of

    @property
    def low(self) -> float:
        return float(self._test().proportion_ci(0.95, "exact").low)

    @property
    def high(self) -> float:
        return float(self._test().proportion_ci(0.95, "exact").high)

    @property
    def p(self) -> float:
        return float(self._test().pvalue)

    def _test(self) -> Any:
        from scipy.stats import binomtest

        return binomtest(self.chosen, self.of, 0.5)

    def __str__(self) -> str:
        return (
            f"{self.chosen} of {self.of}: {self.share:.0%} [{self.low:.0%}, {self.high:.0%}], "
            f"p = {self.p:.2g}"
        )


def schedule(n: int, rng: np.random.Generator) -> list[tuple[int, Side]]:
    """(pair, side of the first method) of each trial: random order, each side equally often."""
    sides = np.arange(n) % 2 == rng.integers(2)  # equally often, but for one if n is odd
    return [
        (int(pair), "left" if left else "right")
        for pair, left in zip(rng.permutation(n), rng.permutation(sides))
    ]


def forced_choice(
    first: Sequence,
    second: Sequence,
    choose: Callable[[Any, Any, int], Side],
    rng: np.random.Generator,
) -> Outcome:
    """Run a study; how often ``first`` was chosen.

    Args:
        first, second: n pictures each, of two methods; pictures of the same number are compared.
        choose: (left picture, right picture, number of the pair) -> "left" or "right".
        rng: draws order and sides.

    Raises:
        ValueError: lists of different lengths, or another answer.
    """
    _paired(first, second)
    chosen = 0
    for pair, side in schedule(len(first), rng):
        shown = (first[pair], second[pair]) if side == "left" else (second[pair], first[pair])
        answer = choose(*shown, pair)
        if answer not in ("left", "right"):
            raise ValueError(f'a choice is "left" or "right", not {answer!r}')
        chosen += answer == side
    return Outcome(chosen, len(first))


def ChoicePanel(  # noqa: N802  a widget's class, made when ipywidgets is there
    first: Sequence,
    second: Sequence,
    rng: np.random.Generator,
    context: Sequence | None = None,
    names: tuple[str, str] = ("the first method", "the second"),
    width: int = 256,
) -> Any:
    """The same study for a person: three pictures, two buttons, the result at the end.

    Args:
        first, second, rng: as of :func:`forced_choice`.
        context: what is shown beside the pairs, such as the pictures with their holes.
        names: of the methods, said after the last trial only.
        width: of each picture on the screen, in CSS pixels.

    Returns:
        an ``ipywidgets.VBox`` with ``choose(side)``, which the buttons call, ``outcome`` (None
        before the last trial), ``left``, ``right``, ``buttons`` and ``message``.
    """
    import ipywidgets

    _paired(first, second)
    trials = schedule(len(first), rng)

    class Panel(ipywidgets.VBox):
        def __init__(self) -> None:
            layout = {"width": f"{width}px", "max_width": "32%"}
            self.context, self.left, self.right = (
                ipywidgets.Image(format="png", layout=layout) for _ in range(3)
            )
            self.message = ipywidgets.Label()
            self.buttons = [ipywidgets.Button(description=side) for side in ("left", "right")]
            for button in self.buttons:
                button.on_click(lambda pressed: self.choose(pressed.description))
            shown = [self.context, self.left, self.right][context is None :]
            super().__init__(
                [ipywidgets.HBox(shown), ipywidgets.HBox([*self.buttons, self.message])]
            )
            self.answers: list[bool] = []
            self.outcome: Outcome | None = None
            self._show()

        def choose(self, side: Side) -> None:
            """Answer the trial that is shown, and show the next one."""
            if self.outcome is not None:
                return
            self.answers.append(side == trials[len(self.answers)][1])
            self._show()

        def _show(self) -> None:
            done = len(self.answers)
            if done == len(trials):
                self.outcome = Outcome(sum(self.answers), done)
                self.message.value = f"{names[0]} rather than {names[1]}: {self.outcome}"
                for button in self.buttons:
                    button.disabled = True
                return
            pair, side = trials[done]
            one, other = (first, second) if side == "left" else (second, first)
            self.left.value, self.right.value = png(one[pair]), png(other[pair])
            if context is not None:
                self.context.value = png(context[pair])
            self.message.value = f"trial {done + 1} of {len(trials)}: which is better?"

    return Panel()


def _paired(first: Sequence, second: Sequence) -> None:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"pairs need two equally long lists, not {len(first)} and {len(second)}")
