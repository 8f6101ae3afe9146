"""Notebook 00 in a real browser: paint with the mouse, press Inpaint, look at the result.

Run by name only: `pytest tests/browser`, or `make test-browser`.
"""

import pytest

pytestmark = pytest.mark.timeout(1200)

STATE = """
import json
import numpy as np
rows, columns = np.nonzero(panel.mask)
print(json.dumps({
    "count": int(panel.mask.sum()),
    "box": [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())]
    if len(rows) else None,
    "size": list(panel.mask.shape),
    "brush": panel.painter.brush,
    "done": panel.result is not None,
}))
"""


CELL = "panel = widgets.paint_and_inpaint(photo"  # the notebook has a second panel


@pytest.fixture(scope="module")
def panel(start_here):
    """The cell with the painter, in view."""
    start_here.scroll_to(CELL)
    return start_here.page.locator(".jp-CodeCell").filter(has_text=CELL)


@pytest.fixture(scope="module")
def canvas(panel):
    """The painter's canvas."""
    canvas = panel.locator(".lama-painter canvas")
    canvas.wait_for()
    return canvas


@pytest.fixture
def empty(start_here, panel, canvas):
    """The notebook, with nothing painted on the painter, by its own button."""
    press(panel, "Clear")
    wait_until(start_here, lambda state: state["count"] == 0)
    return start_here


def press(panel, name):
    panel.get_by_role("button", name=name, exact=True).click()


def wait_until(notebook, condition):
    """Ask the kernel until the condition holds; a stroke takes a moment to travel."""
    for _ in range(100):
        state = notebook.python(STATE)
        if condition(state):
            return state
        notebook.page.wait_for_timeout(100)
    raise AssertionError(f"Python still has {state}")


def drag(notebook, canvas, start, end):
    """A stroke with the mouse; points are given as shares of the picture's width and height."""
    box = canvas.bounding_box()
    (x1, y1), (x2, y2) = (
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
    )
    mouse = notebook.page.mouse
    mouse.move(x1, y1)
    mouse.down()
    mouse.move(x2, y2, steps=12)
    mouse.up()


def painted(canvas):
    """Pixels of the canvas that are shown as hole, and the text beside the buttons."""
    return canvas.evaluate(
        """(canvas) => {
          const { width, height } = canvas;
          const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
          let count = 0;
          for (let i = 3; i < pixels.length; i += 4) count += pixels[i] > 0;
          return [count, canvas.closest('.lama-painter').querySelector('output').textContent];
        }"""
    )


def test_all_cells_ran(start_here):
    counts = [cell["count"] for cell in start_here.ran if cell["source"].strip()]
    assert counts == list(range(1, len(counts) + 1))
    failed = [(c["count"], c["errors"][0]["evalue"]) for c in start_here.ran if c["errors"]]
    assert not failed


@pytest.mark.parametrize("shown", [200, 384])
def test_a_stroke_arrives_where_it_was_drawn_at_any_size_on_the_screen(empty, canvas, shown):
    canvas.evaluate(
        "(c, shown) => c.closest('.lama-painter').style.setProperty('--wide', `${shown}px`)", shown
    )
    assert canvas.bounding_box()["width"] == shown
    drag(empty, canvas, (0.3, 0.5), (0.7, 0.5))
    state = wait_until(empty, lambda state: state["count"])
    (height, width), radius = state["size"], state["brush"] / 2
    top, bottom, left, right = state["box"]
    assert top == pytest.approx(0.5 * height - radius, abs=2)
    assert bottom == pytest.approx(0.5 * height + radius, abs=2)
    assert left == pytest.approx(0.3 * width - radius, abs=2)
    assert right == pytest.approx(0.7 * width + radius, abs=2)
    area = 0.4 * width * 2 * radius + 3.1416 * radius**2
    assert state["count"] == pytest.approx(area, rel=0.1)
    share = 100 * state["count"] / (height * width)
    assert painted(canvas) == [state["count"], f"hole {share:.1f} %"]


def test_eraser_undo_and_clear(empty, panel, canvas):
    drag(empty, canvas, (0.2, 0.3), (0.8, 0.3))
    full = wait_until(empty, lambda state: state["count"])["count"]
    press(panel, "Eraser")
    drag(empty, canvas, (0.2, 0.3), (0.5, 0.3))
    half = wait_until(empty, lambda state: state["count"] != full)["count"]
    press(panel, "Eraser")
    assert 0.3 * full < half < 0.7 * full
    assert painted(canvas)[0] == half
    press(panel, "Undo")
    wait_until(empty, lambda state: state["count"] == full)
    assert painted(canvas)[0] == full
    press(panel, "Undo")
    wait_until(empty, lambda state: state["count"] == 0)


def test_a_finger_paints_and_the_slider_sets_the_brush(empty, panel, canvas):
    slider = panel.locator(".lama-painter input[type=range]")
    slider.fill("40")
    wait_until(empty, lambda state: state["brush"] == 40)
    box = canvas.bounding_box()
    empty.page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    state = wait_until(empty, lambda state: state["count"])
    assert state["count"] == pytest.approx(3.1416 * 20**2, rel=0.05)


def test_keys_set_the_brush_and_paint(empty, panel, canvas):
    cells = empty.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length")
    panel.locator(".lama-painter input[type=range]").fill("32")
    wait_until(empty, lambda state: state["brush"] == 32)
    box = canvas.bounding_box()
    empty.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    canvas.focus()
    for keys, brush in (("]", 36), ("[[", 28), ("]]", 36)):
        for key in keys:
            empty.page.keyboard.press(key)
        wait_until(empty, lambda state, brush=brush: state["brush"] == brush)
        assert panel.locator(".lama-size").inner_text() == f"{brush} px"
    empty.page.keyboard.press("Space")
    dot = wait_until(empty, lambda state: state["count"])
    assert dot["count"] == pytest.approx(3.1416 * 18**2, rel=0.05)
    middle = [(dot["box"][i] + dot["box"][i + 1]) / 2 for i in (0, 2)]
    assert middle == pytest.approx([side / 2 for side in dot["size"]], abs=2)

    empty.page.keyboard.down("Shift")
    for _ in range(4):  # a quarter of the brush each
        empty.page.keyboard.press("ArrowRight")
    empty.page.keyboard.up("Shift")
    line = wait_until(empty, lambda state: state["count"] > dot["count"])
    assert line["box"][3] == pytest.approx(dot["box"][3] + 36, abs=2)
    assert line["box"][:3] == pytest.approx(dot["box"][:3], abs=1)
    empty.page.keyboard.press("z")  # one step takes the whole stroke back
    wait_until(empty, lambda state: state["count"] == dot["count"])
    eraser = panel.get_by_role("button", name="Eraser", exact=True)
    empty.page.keyboard.press("e")
    assert eraser.get_attribute("aria-pressed") == "true"
    empty.page.keyboard.press("e")
    empty.page.keyboard.press("x")  # JupyterLab would cut the cell
    empty.page.keyboard.press("]")
    wait_until(empty, lambda state: state["brush"] > 36)
    assert cells == empty.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length")


def test_a_mask_set_in_python_is_shown_and_can_be_painted_on(empty, canvas):
    empty.python(
        "mask = np.zeros(panel.mask.shape, bool); mask[10:30, 20:60] = True\n"
        "panel.mask = mask; print(1)"
    )
    empty.page.wait_for_function(
        """(canvas) => canvas.closest('.lama-painter').querySelector('output').textContent
             !== 'hole 0.0 %'""",
        arg=canvas.element_handle(),
    )
    assert painted(canvas)[0] == 20 * 40
    drag(empty, canvas, (0.6, 0.8), (0.8, 0.8))
    state = wait_until(empty, lambda state: state["count"] != 20 * 40)
    assert state["count"] > 20 * 40 and state["box"][0] == 10 and state["box"][2] == 20


def test_the_button_fills_the_hole_and_nothing_else(empty, panel, canvas, tmp_path):
    result = panel.locator("img.lama-result")
    before = result.get_attribute("src")
    drag(empty, canvas, (0.35, 0.4), (0.65, 0.6))
    state = wait_until(empty, lambda state: state["count"])
    press(panel, "Inpaint")
    empty.page.wait_for_function(
        """([image, before]) => image.src !== before && image.complete""",
        arg=[result.element_handle(), before],
    )
    assert wait_until(empty, lambda state: state["done"])["count"] == state["count"]

    for _ in ("the photograph", "the result again"):
        old = result.get_attribute("src")
        press(panel, "Before")
        empty.page.wait_for_function(
            "([image, old]) => image.src !== old && image.complete",
            arg=[result.element_handle(), old],
        )

    changed = result.evaluate(
        """async (image, hole) => {
          await image.decode();
          const photo = hole.closest('.lama-painter').querySelector('img');
          const { width, height } = hole;
          const read = (source) => {
            const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext('2d');
            pen.drawImage(source, 0, 0);
            return pen.getImageData(0, 0, width, height).data;
          };
          const [a, b, m] = [photo, image, hole].map(read);
          const count = { inside: 0, outside: 0, hole: 0 };
          for (let i = 0; i < a.length; i += 4) {
            const differs = a[i] !== b[i] || a[i + 1] !== b[i + 1] || a[i + 2] !== b[i + 2];
            if (m[i + 3] > 0) count.hole++;
            if (differs) count[m[i + 3] > 0 ? 'inside' : 'outside']++;
          }
          return { ...count, size: [image.naturalHeight, image.naturalWidth] };
        }""",
        canvas.element_handle(),
    )
    empty.page.screenshot(path=tmp_path / "painter.png")
    print(f"screenshot: {tmp_path / 'painter.png'}")
    assert changed["size"] == state["size"]
    assert changed["hole"] == state["count"]
    assert changed["outside"] == 0
    assert changed["inside"] > 0.9 * changed["hole"]
