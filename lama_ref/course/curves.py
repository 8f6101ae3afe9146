"""Curves of a training run, drawn from its log: afterwards, or while it runs in a notebook."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from .plots import COLOURS, LINES, style

PARTS = {
    "l1": "L1",
    "adversarial": "adversarial",
    "feature_matching": "feature matching",
    "perceptual": "perceptual",
}
"""Terms of the generator's loss and what a legend calls them."""


def read_log(run: str | Path) -> list[dict]:
    """Lines of a run's log.

    Args:
        run: the run's folder, or the file itself.

    Raises:
        FileNotFoundError: no log there.
        ValueError: nothing was logged yet, or the file is no log.
    """
    path = Path(run) / "log.jsonl" if Path(run).is_dir() else Path(run)
    if not path.is_file():
        raise FileNotFoundError(f"no log at {path}: give the folder of a run")
    texts, lines = path.read_text(encoding="utf-8").splitlines(), []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(json.loads(text))
        except ValueError:
            if number < len(texts):  # the last one may be torn: the run may be writing it
                raise ValueError(f"{path}, line {number}, is not JSON: {text[:40]!r}") from None
    if not lines:
        raise ValueError(f"{path} is empty: nothing was logged yet")
    return lines


def training_curves(run: str | Path | list[dict], *, smooth: int = 5):
    """Three panels: error in the hole, the generator's terms, the discriminator beside chance.

    Draws what the log has: a run with L1 alone has no discriminator. Grey lines mark steps at which
    the crops grow.

    Args:
        run: a run's folder, its log file, or the lines of one.
        smooth: lines of the log over which a running mean is drawn.

    Returns:
        A matplotlib figure.
    """
    import matplotlib.pyplot as plt

    style()
    lines = run if isinstance(run, list) else read_log(run)
    lines = [x | {"d": x["d_real"] + x["d_fake"]} if "d_real" in x else x for x in lines]
    figure, (hole, parts, critic) = plt.subplots(1, 3, figsize=(9, 2.5))

    def draw(axis, name, label, i):
        points = [(x["step"], x[name]) for x in lines if name in x]
        if points:
            steps, values = np.array(points).T
            dashes, marker = LINES[i % len(LINES)], "o" if len(points) == 1 else None
            values = _running_mean(values, smooth)
            axis.plot(steps, values, dashes, marker=marker, label=label, color=COLOURS[i])

    draw(hole, "hole_l1", "hole L1", 0)
    high = 0.98  # labels of lines that are close to each other stand at different heights
    for before, after in zip(lines, lines[1:]):
        if before.get("crop") != after.get("crop"):
            hole.axvline(before["step"], color="0.7", lw=0.8)
            look = dict(xycoords=("data", "axes fraction"), va="top", color="0.4", size=7)
            hole.annotate(f" {after['crop']} px", (before["step"], high), **look)
            high = high - 0.07 if high > 0.75 else 0.98
    for i, (name, label) in enumerate(PARTS.items()):
        draw(parts, name, label, i)
    draw(critic, "d", "real + fake", 0)
    draw(critic, "d_chance", "one that does not look", 1)
    hole.set(title="Error in the hole", ylabel="mean absolute error", xlabel="step")
    parts.set(title="Terms of the generator's loss", ylabel="weighted", xlabel="step")
    critic.set(title="Discriminator's loss", xlabel="step")
    if parts.lines:
        parts.set_yscale("log")
    for axis in (hole, parts, critic):
        axis.set_xlim(0, max(x["step"] for x in lines))
    for axis in (parts, critic):
        if axis.lines:
            axis.legend(frameon=False, fontsize=8)
        else:
            at = (0.5, 0.5)
            axis.annotate("not in use so far", at, xycoords="axes fraction", ha="center")
    return figure


def _running_mean(values: np.ndarray, n: int) -> np.ndarray:
    """Mean of the last n values, of fewer at the beginning."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - n, 0)
    return (sums[last] - sums[first]) / (last - first)


class LiveCurves:
    """Redraws the curves of a run as it goes: ``train(..., on_log=LiveCurves())``.

    Args:
        every: lines of the log between two drawings.
        run: folder of a run that is continued: its curves so far come first.

    Attributes:
        lines: the log so far. A continued run logs some steps again; the last word counts.
    """

    def __init__(self, every: int = 5, run: str | Path | None = None):
        self.every, self.lines, self._new, self._shown = every, [], 0, None
        if run is not None and (Path(run) / "log.jsonl").exists():
            with suppress(ValueError):  # nothing logged so far
                self.lines = read_log(run)

    def __call__(self, line: dict) -> None:
        self.lines = [x for x in self.lines if x["step"] < line["step"]] + [line]
        self._new += 1
        if self._new % self.every == 0:
            self.draw()

    def draw(self) -> None:
        """Draw now; the first drawing takes a place, later ones replace it."""
        import matplotlib.pyplot as plt
        from IPython.display import display

        figure = training_curves(self.lines)
        if self._shown is None:
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)
        plt.close(figure)
