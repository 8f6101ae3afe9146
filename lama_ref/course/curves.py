"""Curves of a training run, drawn from its log: afterwards, or while it runs in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .plots import COLOURS, LINES, style

PARTS = {"l1": "L1", "adversarial": "adversarial", "feature_matching": "feature matching",
         "perceptual": "perceptual"}  # fmt: skip


def read_log(run: str | Path) -> list[dict]:
    """Lines of a run's log.

    Args:
        run: the run's folder, or the file itself.

    Raises:
        FileNotFoundError: no log there.
        ValueError: nothing was logged yet.
    """
    path = Path(run) / "log.jsonl" if Path(run).is_dir() else Path(run)
    if not path.is_file():
        raise FileNotFoundError(f"no log at {path}: give the folder of a run")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise ValueError(f"{path} is empty: nothing was logged yet")
    return lines


def training_curves(run: str | Path | list[dict], *, smooth: int = 5):
    """Three panels: error in the hole, the generator's terms, the discriminator beside chance.

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
    figure, (hole, parts, critic) = plt.subplots(1, 3, figsize=(10, 2.9))

    def draw(axis, name, label, i):
        points = [(x["step"], x[name]) for x in lines if name in x]
        if points:
            steps, values = np.array(points).T
            axis.plot(steps, _running_mean(values, smooth), LINES[i], label=label, color=COLOURS[i])

    draw(hole, "hole_l1", "hole L1", 0)
    for before, after in zip(lines, lines[1:]):
        if before.get("crop") != after.get("crop"):
            hole.axvline(after["step"], color="0.7", lw=0.8)
            hole.annotate(f" {after['crop']} px", (after["step"], 0.97), color="0.4", size=7,
                          xycoords=("data", "axes fraction"), va="top")  # fmt: skip
    for i, (name, label) in enumerate(PARTS.items()):
        draw(parts, name, label, i)
    draw(critic, "d", "real + fake", 0)
    draw(critic, "d_chance", "one that does not look", 1)
    hole.set(title="Error in the hole", ylabel="mean absolute error", xlabel="step")
    parts.set(title="Terms of the generator's loss", ylabel="weighted", xlabel="step")
    parts.set_yscale("log")
    critic.set(title="Discriminator's loss", xlabel="step")
    for axis in (parts, critic):
        if axis.lines:
            axis.legend(frameon=False, fontsize=7)
        else:
            axis.annotate("not in use", (0.5, 0.5), xycoords="axes fraction", ha="center")
    figure.tight_layout()
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
    """

    def __init__(self, every: int = 5):
        self.every, self.lines, self._shown = every, [], None

    def __call__(self, line: dict) -> None:
        self.lines.append(line)
        if len(self.lines) % self.every == 0:
            self.draw()

    def draw(self) -> None:
        import matplotlib.pyplot as plt
        from IPython.display import display

        figure = training_curves(self.lines)
        if self._shown is None:
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)
        plt.close(figure)
