"""A painter of masks for notebooks, and a panel that paints, inpaints and shows the result.

Both only wrap plain values and functions: a mask is an (H, W) bool array, and whatever the
button does is ``inpaint(photo, mask)``. A notebook works without them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .plots import png, to_array

try:
    import anywidget
    import ipywidgets
    import traitlets
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"the mask painter needs {missing.name}, which is not installed: "
        "pip install 'lama-ref[course]'; everything else works without it",
        name=missing.name,
    ) from None

__all__ = ["InpaintPanel", "MaskPainter", "paint_and_inpaint", "uploaded_photo"]

_HERE = Path(__file__).parent


def _as_uint8(photo: Any) -> np.ndarray:
    """A picture of any of our kinds as (H, W, 3) uint8."""
    if isinstance(photo, Image.Image):
        return np.array(photo.convert("RGB"))
    array = to_array(photo)
    if array.ndim == 2:
        array = array[..., None].repeat(3, -1)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise ValueError(
            "a photograph to paint on must be a PIL image, an array (H, W, 3) or a tensor "
            f"(3, H, W), not {type(photo).__name__} of shape {tuple(np.shape(photo))}"
        )
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"float pictures must lie in [0, 1], not in [{array.min():g}, {array.max():g}]: "
                "divide 8-bit values by 255"
            )
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise TypeError(f"a picture must be uint8, or float in [0, 1], not {array.dtype}")
    return np.ascontiguousarray(array[..., :3])


def _as_bool(mask: Any, size: tuple[int, int]) -> np.ndarray:
    """A mask of any of our kinds as (H, W) bool, with the size checked."""
    if isinstance(mask, Image.Image):
        mask = np.array(mask.convert("L"))
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    given = array.shape
    if array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.shape != size:
        raise ValueError(
            f"the mask's shape is {given} and the photograph has {size} pixels (height, width): "
            "they must agree; resize a mask with nearest-neighbour sampling"
        )
    if array.dtype == bool:
        return array
    low, high = array.min(), array.max()
    if not (low >= 0 and (high <= 1 or (high <= 255 and array.dtype.kind in "ui"))):
        raise ValueError(f"mask values must lie in [0, 1], or 0 to 255, not in [{low}, {high}]")
    return array > (0.5 if high <= 1 else 127)


class MaskPainter(anywidget.AnyWidget):
    """Paint a hole on a photograph, with the mouse, a pen, a finger or keys.

    Args:
        photo: PIL image, array (H, W, 3) or (H, W), tensor (3, H, W); uint8 or float in [0, 1].
        mask: the hole to begin with, of the photograph's height and width; none if left out.
        brush: diameter of the brush, in pixels of the photograph; a twelfth of its short side
            if left out.

    Attributes:
        image: the photograph, (H, W, 3) uint8.
        mask: the hole, (H, W) bool; assign to it to show another one.
        brush, erase: the state of the tools.

    Raises:
        TypeError, ValueError: pictures and masks of another kind, or whose sizes disagree.
    """

    _esm = (_HERE / "painter.js").read_text(encoding="utf-8")
    _css = (_HERE / "painter.css").read_text(encoding="utf-8")

    _photo = traitlets.Bytes().tag(sync=True)  # PNG
    _size = traitlets.List(traitlets.Int()).tag(sync=True)  # height, width
    _display = traitlets.Int(256).tag(sync=True)  # width on the screen, in CSS pixels
    # The hole, one bit a pixel: a message from the browser may not exceed 10 MB. It arrives as a
    # memoryview, which Bytes would refuse, and with it, silently, the whole message: from_json.
    _mask = traitlets.Bytes().tag(
        sync=True, echo_update=False, from_json=lambda value, widget: bytes(value)
    )
    brush = traitlets.Int(24, min=1).tag(sync=True)
    erase = traitlets.Bool(False).tag(sync=True)

    def __init__(self, photo: Any, mask: Any = None, *, brush: int | None = None):
        self._array = _as_uint8(photo)
        self._array.flags.writeable = False
        size = self._array.shape[:2]
        hole = np.zeros(size, bool) if mask is None else _as_bool(mask, size)
        super().__init__(
            _size=list(size),
            _photo=png(self._array),
            _display=int(np.clip(size[1], 320, 480)),
            _mask=np.packbits(hole).tobytes(),
            brush=max(1, round(min(size) / 12)) if brush is None else brush,
        )

    @traitlets.validate("_mask")
    def _check_mask(self, proposal: Any) -> bytes:
        height, width = self._array.shape[:2]
        expected = -(-height * width // 8)
        if len(proposal["value"]) != expected:
            raise traitlets.TraitError(
                f"a mask of {height} x {width} pixels has {expected} bytes, "
                f"not {len(proposal['value'])}"
            )
        return proposal["value"]

    @property
    def image(self) -> np.ndarray:
        return self._array

    @property
    def mask(self) -> np.ndarray:
        height, width = self._array.shape[:2]
        bits = np.unpackbits(np.frombuffer(self._mask, np.uint8), count=height * width)
        return bits.reshape(height, width).astype(bool)

    @mask.setter
    def mask(self, mask: Any) -> None:
        self._mask = np.packbits(_as_bool(mask, self._array.shape[:2])).tobytes()


class InpaintPanel(ipywidgets.HBox):
    """A :class:`MaskPainter`, a button, and the result beside it; see :func:`paint_and_inpaint`.

    Attributes:
        painter, button, before, view, message: the parts; pressed, ``before`` shows the photograph.
        result: what the function returned last, None before the first time.
    """

    def __init__(self, photo: Any, inpaint: Callable[[Any, np.ndarray], Any], mask: Any = None):
        self.photo, self.inpaint, self.result = photo, inpaint, None
        self.painter = MaskPainter(photo, mask)
        coral = {"button_color": "#ff5959", "text_color": "black", "font_weight": "bold"}
        self.button = ipywidgets.Button(description="Inpaint", style=coral)
        self.before = ipywidgets.ToggleButton(
            description="Before",
            tooltip="Show the photograph in place of the result",
            disabled=True,
        )
        self.message = ipywidgets.Label("Paint over something, then press Inpaint.")
        width = f"{self.painter._display}px"
        self.view = ipywidgets.Image(
            value=self.painter._photo, format="png", layout={"width": width, "max_width": "100%"}
        )
        self.view.add_class("lama-result")
        self._after = self.painter._photo
        self.button.on_click(lambda _: self.run())
        self.before.observe(lambda _: self._show(), "value")
        bar = ipywidgets.HBox(
            [self.button, self.before, self.message], layout={"flex_flow": "wrap"}
        )
        right = ipywidgets.VBox([self.view, bar], layout={"margin": "0 0 0 12px"})
        super().__init__([self.painter, right], layout={"flex_flow": "row wrap"})

    @property
    def mask(self) -> np.ndarray:
        """The hole that is painted, (H, W) bool."""
        return self.painter.mask

    @mask.setter
    def mask(self, mask: Any) -> None:
        self.painter.mask = mask

    def _show(self) -> None:
        self.view.value = self.painter._photo if self.before.value else self._after

    def run(self) -> Any:
        """What the button does: inpaint, show and return the result; tell what went wrong."""
        mask = self.mask
        if not mask.any():
            self.message.value = "Nothing is painted yet: draw on the left picture first."
            return None
        self.button.disabled, self.message.value = True, "Inpainting ..."
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.result = self.inpaint(self.photo, mask)
            self._after = png(_as_uint8(self.result))
            self.before.value, self.before.disabled = False, False
            self._show()
            text = f"{mask.sum():,} pixels filled, {mask.mean():.1%} of the picture"
            self.message.value = f"Warning: {caught[0].message}" if caught else text
        except Exception as error:  # a callback's traceback would vanish into the browser's log
            self.message.value = f"{type(error).__name__}: {error}"
            return None
        finally:
            self.button.disabled = False
        return self.result


def paint_and_inpaint(
    photo: Any, inpaint: Callable[[Any, np.ndarray], Any], mask: Any = None
) -> InpaintPanel:
    """Paint a mask and press a button: shows ``inpaint(photo, mask)`` beside the photograph.

    Args:
        photo: what :class:`MaskPainter` takes; handed to ``inpaint`` as it is.
        inpaint: any function of a photograph and an (H, W) bool mask that returns a picture.
        mask: the hole to begin with.
    """
    return InpaintPanel(photo, inpaint, mask)


def uploaded_photo(upload: ipywidgets.FileUpload) -> np.ndarray | None:
    """The file chosen last in an upload button, (H, W, 3) uint8; None if none was chosen."""
    from ..pictures.photographs import read_image

    if not upload.value:
        return None
    return read_image(io.BytesIO(bytes(upload.value[-1]["content"])))
