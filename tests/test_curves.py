"""Curves of a run: what the log says is what is drawn."""

import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lama_ref.course.curves import LiveCurves, read_log, training_curves


def lines(n=8, adversarial_from=5, crop_from=4):
    made = []
    for i in range(1, n + 1):
        line = {"step": 10 * i, "crop": 96 if i > crop_from else 64, "hole_l1": 1 / i, "l1": 2 / i}
        if i > adversarial_from:
            line |= {"adversarial": 3.0, "d_real": 0.3, "d_fake": 0.4, "d_r1": 0.1}
            line |= {"d_chance": 0.85, "feature_matching": 1.5, "perceptual": 0.2}
        made.append(line)
    return made


def write(path, log):
    path.write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def xs(line) -> np.ndarray:
    return np.asarray(line.get_xdata(), float)


def ys(line) -> np.ndarray:
    return np.asarray(line.get_ydata(), float)


def drawn(figure) -> list[dict]:
    return [{line.get_label(): line for line in axis.lines} for axis in figure.axes]


def test_every_term_of_the_log_is_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as about two layouts for one figure
        figure = training_curves(lines(), smooth=1)
        figure.canvas.draw()
    hole, parts, critic = drawn(figure)
    np.testing.assert_allclose(xs(hole["hole L1"]), 10 * np.arange(1, 9))
    np.testing.assert_allclose(ys(hole["hole L1"]), 1 / np.arange(1, 9))
    assert set(parts) == {"L1", "adversarial", "feature matching", "perceptual"}
    np.testing.assert_allclose(xs(parts["adversarial"]), [60, 70, 80])
    np.testing.assert_allclose(ys(critic["real + fake"]), 0.7)  # without the penalty
    np.testing.assert_allclose(ys(critic["one that does not look"]), 0.85)
    looks = {(line.get_linestyle(), line.get_color()) for line in parts.values()}
    assert len(looks) == 4 and len({dashes for dashes, _ in looks}) == 4  # told apart in grey


def test_growing_crops_are_marked_where_they_grow():
    figure = training_curves(lines())
    assert [text.get_text() for text in figure.axes[0].texts] == [" 96 px"]
    assert xs(figure.axes[0].lines[-1])[0] == 40  # the last step with small ones


def test_a_log_with_l1_alone_says_that_the_rest_is_not_in_use():
    figure = training_curves([{"step": 20, "l1": 1.0, "hole_l1": 0.2}])
    assert [text.get_text() for text in figure.axes[2].texts] == ["not in use so far"]
    assert figure.axes[0].lines[0].get_marker() == "o"  # a single point would be invisible


def test_smoothing_is_the_mean_of_the_lines_before():
    values = [3.0, 1.0, 2.0, 6.0]
    log = [{"step": i, "hole_l1": v} for i, v in enumerate(values, 1)]
    line = training_curves(log, smooth=2).axes[0].lines[0]
    np.testing.assert_allclose(ys(line), [3.0, 2.0, 1.5, 4.0])


def test_a_log_is_read_from_a_folder_or_a_file(tmp_path):
    write(tmp_path / "log.jsonl", lines())
    assert read_log(tmp_path) == read_log(str(tmp_path / "log.jsonl")) == lines()
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 90, "ho')  # the run is writing
    assert read_log(tmp_path) == lines()
    assert len(training_curves(tmp_path).axes) == 3


def test_what_is_no_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no log at .*give the folder of a run"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match="is empty: nothing was logged yet"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text('step 1\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"log.jsonl, line 1, is not JSON: 'step 1'"):
        read_log(tmp_path)


class Handle:
    def __init__(self, drawings):
        self.drawings = drawings

    def update(self, figure):
        self.drawings.append(("again", figure))


@pytest.fixture
def drawings(monkeypatch):
    made = []

    def display(figure, display_id):
        made.append(("new", figure))
        return Handle(made)

    monkeypatch.setattr("IPython.display.display", display)
    return made


def test_live_curves_take_one_place_and_redraw_it(drawings):
    live = LiveCurves(every=2)
    for line in lines(5):
        live(line)
    assert [how for how, _ in drawings] == ["new", "again"]  # after lines 2 and 4
    assert len(xs(drawings[-1][1].axes[0].lines[0])) == 4
    live.draw()
    assert len(xs(drawings[-1][1].axes[0].lines[0])) == 5
    assert not plt.get_fignums()  # closed: nothing is shown twice


def test_live_curves_of_a_continued_run_begin_with_its_log(tmp_path, drawings):
    assert LiveCurves(run=tmp_path).lines == []  # a new run
    write(tmp_path / "log.jsonl", lines(4))
    live = LiveCurves(every=1, run=tmp_path)
    again = lines(4)[2] | {"hole_l1": 0.5}  # went on from step 20
    live(again)
    assert live.lines == [*lines(2), again]
    assert [how for how, _ in drawings] == ["new"]


def test_live_curves_of_a_run_that_logged_nothing_so_far(tmp_path):
    (tmp_path / "log.jsonl").touch()
    assert LiveCurves(run=tmp_path).lines == []
