"""The mask painter without a browser: what Python gets, sends, and refuses."""

import io
import sys
from datetime import datetime, timezone

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from lama_ref.course import widgets
from lama_ref.course.widgets import MaskPainter, paint_and_inpaint, uploaded_photo

SIZE = (13, 11)  # 143 pixels: the last byte of the packed mask is not full


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def hole():
    mask = np.zeros(SIZE, bool)
    mask[2:5, 3:9] = True
    mask[-1, -1] = True
    return mask


def browser_says(widget, **state):
    """Deliver a state update as the browser's message does: binary values as memoryviews."""
    binary = {k: v for k, v in state.items() if isinstance(v, bytes)}
    plain = {k: v for k, v in state.items() if k not in binary}
    data = {"method": "update", "state": plain, "buffer_paths": [[key] for key in binary]}
    buffers = [memoryview(value) for value in binary.values()]
    widget._handle_msg({"content": {"data": data}, "buffers": buffers})


# --- the painter ------------------------------------------------------------------------------


def test_mask_from_the_browser_arrives(photo, hole):
    painter = MaskPainter(photo)
    assert painter.mask.shape == SIZE and painter.mask.dtype == bool and not painter.mask.any()
    browser_says(painter, _mask=np.packbits(hole).tobytes())
    np.testing.assert_array_equal(painter.mask, hole)


def test_mask_from_the_browser_arrives_together_with_other_values(photo, hole):
    painter = MaskPainter(photo)
    browser_says(painter, _mask=np.packbits(hole).tobytes(), brush=7, erase=True)
    np.testing.assert_array_equal(painter.mask, hole)
    assert painter.brush == 7 and painter.erase is True


def test_browsers_mask_of_a_wrong_size_is_refused(photo, hole):
    painter = MaskPainter(photo, hole)
    browser_says(painter, _mask=bytes(5))  # ipywidgets logs the error and carries on
    np.testing.assert_array_equal(painter.mask, hole)
    with pytest.raises(traitlets.TraitError, match="13 x 11 pixels has 18 bytes, not 5"):
        painter._mask = bytes(5)
    np.testing.assert_array_equal(painter.mask, hole)


def test_bits_are_row_by_row_most_significant_first(photo):
    painter = MaskPainter(photo)
    browser_says(painter, _mask=bytes([0b1000_0001, 0b0100_0000]) + bytes(16))
    assert np.flatnonzero(painter.mask).tolist() == [0, 7, 9]


@pytest.mark.parametrize(
    "convert",
    [
        lambda m: m,
        lambda m: m.astype(np.uint8),
        lambda m: m.astype(np.uint8) * 255,
        lambda m: m.astype(np.float32),
        lambda m: m[..., None],
        lambda m: m[None, None],
        lambda m: m.tolist(),
        lambda m: torch.from_numpy(m),
        lambda m: torch.from_numpy(m)[None, None].float(),
        lambda m: Image.fromarray(m),
        lambda m: Image.fromarray(m.astype(np.uint8) * 255),
    ],
)
def test_mask_set_from_python(photo, hole, convert):
    painter = MaskPainter(photo)
    painter.mask = convert(hole)
    np.testing.assert_array_equal(painter.mask, hole)
    np.testing.assert_array_equal(MaskPainter(photo, convert(hole)).mask, hole)


def test_mask_set_from_python_goes_to_the_browser(photo, hole):
    painter, seen = MaskPainter(photo), []
    painter.observe(lambda change: seen.append(change["new"]), "_mask")
    painter.mask = hole
    assert seen == [np.packbits(hole).tobytes()]
    assert painter.get_state("_mask")["_mask"] == seen[0]


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.zeros((11, 13)), r"\(11, 13\).*\(13, 11\).*nearest"),
        (np.zeros((13, 11, 3)), r"\(13, 11, 3\)"),
        (np.zeros((2, 13, 11)), r"\(2, 13, 11\)"),
        (np.full(SIZE, 2.0), r"\[2.0, 2.0\]"),
        (np.full(SIZE, -1), r"\[-1, -1\]"),
        (np.full(SIZE, np.nan), "nan"),
    ],
)
def test_bad_masks_are_refused(photo, hole, mask, message):
    painter = MaskPainter(photo, hole)
    with pytest.raises(ValueError, match=message):
        painter.mask = mask
    with pytest.raises(ValueError, match=message):
        MaskPainter(photo, mask)
    np.testing.assert_array_equal(painter.mask, hole)


@pytest.mark.parametrize(
    "convert",
    [
        lambda p: p,
        lambda p: Image.fromarray(p),
        lambda p: Image.fromarray(p).convert("RGBA"),
        lambda p: p.astype(np.float32) / 255,
        lambda p: torch.from_numpy(p).movedim(-1, 0),
        lambda p: torch.from_numpy(p).movedim(-1, 0)[None].float() / 255,
    ],
)
def test_photographs_of_all_kinds(photo, convert):
    painter = MaskPainter(convert(photo))
    np.testing.assert_array_equal(painter.image, photo)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(painter._photo))), photo)
    assert painter._size == list(SIZE)


def test_grey_photograph(photo):
    assert (MaskPainter(photo[..., 0]).image == photo[..., :1]).all()


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (np.zeros((4, 5, 7), np.uint8), ValueError, r"\(4, 5, 7\)"),
        (np.zeros((0, 5, 3), np.uint8), ValueError, r"\(0, 5, 3\)"),
        (np.zeros((4, 5, 3), np.int64), TypeError, "int64"),
        (np.full((4, 5, 3), 200.0), ValueError, r"\[200, 200\].*255"),
        (np.full((4, 5, 3), np.nan), ValueError, "nan"),
    ],
)
def test_bad_photographs_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        MaskPainter(bad)


def test_the_photograph_cannot_be_changed_behind_the_painters_back(photo):
    painter = MaskPainter(photo)
    with pytest.raises(ValueError):
        painter.image[0, 0] = 0
    photo[0, 0] += 1  # and the caller's own array stays the caller's


# --- the panel --------------------------------------------------------------------------------


def invert(photo, mask):
    return np.where(mask[..., None], 255 - photo, photo)


def test_button_calls_the_plain_function(photo, hole):
    calls = []

    def inpaint(given, mask):
        calls.append((given, mask))
        return invert(given, mask)

    panel = paint_and_inpaint(photo, inpaint)
    assert panel.result is None
    browser_says(panel.painter, _mask=np.packbits(hole).tobytes())
    panel.button.click()
    ((given, mask),) = calls
    assert given is photo
    np.testing.assert_array_equal(mask, hole)
    np.testing.assert_array_equal(panel.result, invert(photo, hole))
    shown = np.array(Image.open(io.BytesIO(panel.view.value)))
    np.testing.assert_array_equal(shown, invert(photo, hole))
    assert "19 pixels" in panel.message.value and not panel.button.disabled


def test_panel_begins_with_the_given_mask_and_the_photograph(photo, hole):
    panel = paint_and_inpaint(Image.fromarray(photo), lambda p, m: p, hole)
    np.testing.assert_array_equal(panel.mask, hole)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(panel.view.value))), photo)
    assert isinstance(panel.run(), Image.Image)
    panel.mask = ~hole
    np.testing.assert_array_equal(panel.painter.mask, ~hole)


def test_nothing_painted_calls_nothing(photo):
    def inpaint(photo, mask):
        raise AssertionError("must not be called")

    panel = paint_and_inpaint(photo, inpaint)
    assert panel.run() is None
    assert "Nothing is painted" in panel.message.value


def test_errors_are_shown_and_not_lost(photo, hole):
    def inpaint(photo, mask):
        raise ValueError("no such weights")

    panel = paint_and_inpaint(photo, inpaint, hole)
    panel.button.click()
    assert panel.message.value == "ValueError: no such weights"
    assert panel.result is None and not panel.button.disabled


def test_warnings_are_shown(photo, hole):
    import warnings

    def inpaint(photo, mask):
        warnings.warn("is the mask inverted?", stacklevel=1)
        return photo

    panel = paint_and_inpaint(photo, inpaint, hole)
    panel.button.click()
    assert panel.message.value == "Warning: is the mask inverted?"


def test_before_and_after(photo, hole):
    panel = paint_and_inpaint(photo, invert, hole)
    assert panel.before.disabled  # there is no result yet

    def shown():
        return np.array(Image.open(io.BytesIO(panel.view.value)))

    panel.button.click()
    np.testing.assert_array_equal(shown(), invert(photo, hole))
    panel.before.value = True
    np.testing.assert_array_equal(shown(), photo)
    panel.before.value = False
    np.testing.assert_array_equal(shown(), invert(photo, hole))
    panel.before.value = True
    panel.button.click()  # a new result is shown at once
    assert not panel.before.value
    np.testing.assert_array_equal(shown(), invert(photo, hole))


def test_painter_and_figures_have_one_coral():
    from lama_ref.course import plots

    coral = (plots.masked(np.zeros((1, 1, 3)), np.ones((1, 1)))[0, 0] * 255).round().astype(int)
    assert f"COLOUR = [{', '.join(map(str, coral))}]" in MaskPainter._esm
    written = "#" + "".join(f"{value:02x}" for value in coral)
    assert f"--coral: {written};" in MaskPainter._css
    assert paint_and_inpaint(np.zeros((4, 4)), invert).button.style.button_color == written


# --- uploads and installation -----------------------------------------------------------------


def test_uploaded_photo(photo):
    upload = ipywidgets.FileUpload()
    assert uploaded_photo(upload) is None
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    entry = {
        "name": "mine.png",
        "type": "image/png",
        "size": file.tell(),
        "last_modified": datetime.now(timezone.utc),
        "content": memoryview(file.getvalue()),
    }
    upload.set_trait("value", ({**entry, "content": memoryview(b"older")}, entry))
    np.testing.assert_array_equal(uploaded_photo(upload), photo)
    upload.set_trait("value", ({**entry, "content": memoryview(b"no picture")},))
    with pytest.raises(ValueError, match="cannot read"):
        uploaded_photo(upload)


def test_missing_package_is_named(monkeypatch):
    import importlib

    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "lama_ref.course.widgets")
    with pytest.raises(ModuleNotFoundError, match=r"needs anywidget.*lama-ref\[course\]"):
        importlib.import_module("lama_ref.course.widgets")
    monkeypatch.undo()
    assert sys.modules["lama_ref.course.widgets"] is widgets


def test_the_painters_script_travels_with_the_package():
    from importlib.resources import files

    folder = files("lama_ref.course")
    assert "export default" in folder.joinpath("painter.js").read_text(encoding="utf-8")
    assert ".lama-stage" in folder.joinpath("painter.css").read_text(encoding="utf-8")
    assert "export default" in str(MaskPainter._esm)
