"""``Inpainter``: any picture, any size, any common format; known pixels come back unchanged.

The network wants float tensors whose sides are multiples of 4 or 8. People have photographs
and masks as files, arrays and tensors. This module turns the one into the other and back:

    read (image, mask) -> pad -> generator -> crop -> composite in the image's own format

How a large picture is filled (whole, crop by crop, refined) is a strategy's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from . import masks, runtime
from .generator import evaluating, pad_to

if TYPE_CHECKING:
    from PIL import Image

    from .highres.strategies import Strategy

_AS_THEY_STAND = ("1", "L", "LA", "RGB", "RGBA", "F", "I", "I;16", "I;16L", "I;16B", "I;16N")
"""PIL modes whose arrays are grey or RGB values."""
_WHITE = {"bool": 1, "uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}
"""The value that white has in an image array of each type."""
_SHORTAGE = ("out of memory", "allocate memory", "ALLOC_FAILED")


class Inpainter:
    """Fill the holes of pictures with a generator.

    Args:
        model: the name of shipped weights ("mini-fourier") or of fetched ones ("big-lama"), the
            path of a weights file (ours, a published checkpoint or a TorchScript archive, whose
            tensors are read and whose code is not run), or a module (B, 4, H, W) -> (B, 3, H, W).
        device: "auto", or what ``torch.device`` takes.
        batch_size: pictures of equal size that go through the network at once.
        strategy: for large pictures, "whole", "crop", "refine" or "auto", or one of these with
            settings, such as ``Crop(context=0.5)``; see :mod:`lama_ref.highres.strategies`.

    Raises:
        ValueError: unknown name, one that is not fetched, a file that is no generator, or an
            unknown strategy.
        FileNotFoundError: no file at the path.
    """

    def __init__(
        self,
        model: str | Path | nn.Module = "mini-fourier",
        *,
        device: str | torch.device = "auto",
        batch_size: int = 8,
        strategy: str | Strategy = "whole",
    ):
        from .highres import strategies

        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.device, self.batch_size = runtime.device(device), batch_size
        self.strategy = strategies.named(strategy)
        self.generator = _load(model).to(self.device)
        config = getattr(self.generator, "config", None)
        self.multiple = getattr(config, "multiple", 8)
        self.smallest = getattr(config, "smallest", 8)

    def __call__(self, image: Any, mask: Any) -> Any:
        """Fill the hole; the result has the type, the size and the known pixels of ``image``.

        Args:
            image: PIL image of any mode; numpy array (H, W), (H, W, C) or (B, H, W, C) with C = 1
                to 4 (grey, alpha, RGB), uint8, uint16, bool or float in [0, 1]; tensor (3, H, W) or
                (B, 3, H, W), uint8 or float in [0, 1]; or a list of any of these, of any sizes.
            mask: 1, 255, True or white in the hole. PIL image, numpy array or tensor with the
                image's height and width; with or without batch and channel axes. A list for a
                list of images, or one mask for all.

        Returns:
            What ``image`` was. Two things change: a PIL image with an EXIF orientation comes
            back upright, and one in a mode without free choice of colours (such as a palette)
            comes back as RGB or RGBA. A colour profile is kept; what is filled is opaque.

        Raises:
            TypeError: a type that is not listed here.
            ValueError: shapes that do not fit, values out of range, NaN in known pixels.
            MemoryError: the picture does not fit into memory with this strategy.

        Warns:
            UserWarning: more than 95 % is hole, which is what an inverted mask looks like.
        """
        if isinstance(image, (list, tuple)):
            stack = getattr(mask, "ndim", 2) > 2 and len(mask) == len(image)
            given = mask if stack or isinstance(mask, (list, tuple)) else [mask] * len(image)
            if len(given) != len(image):
                raise ValueError(
                    f"{len(image)} images but {len(given)} masks: give one mask for each, or one"
                )
            return type(image)(self(i, m) for i, m in zip(image, given))
        if isinstance(image, Tensor):
            return self._tensor(image, mask)
        if isinstance(image, np.ndarray):
            return self._array(image, mask)
        from PIL import Image

        if isinstance(image, Image.Image):
            return self._pil(image, mask)
        raise TypeError(
            "an image must be a PIL image, a numpy array, a tensor or a list of these, "
            f"not {type(image).__name__}"
        )

    def _tensor(self, image: Tensor, mask: Any) -> Tensor:
        if image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise ValueError(
                f"an image tensor must be (3, H, W) or (B, 3, H, W), not {tuple(image.shape)}"
            )
        if not (image.is_floating_point() or image.dtype == torch.uint8):
            raise TypeError(f"an image tensor must be float or uint8, not {image.dtype}")
        known = image if image.ndim == 4 else image[None]
        white = 255 if image.dtype == torch.uint8 else 1
        fill, hole = self._fill(known.detach().cpu().float() / white, mask)
        own = (fill * 255).round() if white == 255 else fill
        result = torch.where(hole.to(known.device), own.to(known), known)
        return result.reshape(image.shape)

    def _array(self, image: np.ndarray, mask: Any, white: float | None = None) -> np.ndarray:
        known = _with_axes(image)  # (B, H, W, C)
        if white is None and known.dtype.name not in _WHITE:
            raise TypeError(
                f"an image array must be uint8, uint16 or float in [0, 1], not {image.dtype}"
            )
        scale = np.float32(white or _WHITE[known.dtype.name])
        colours = known[..., :3] if known.shape[-1] >= 3 else known[..., :1].repeat(3, -1)
        rgb = torch.from_numpy((colours / scale).astype(np.float32))
        fill, hole = self._fill(rgb.movedim(-1, 1), mask)
        own = fill.movedim(1, -1).numpy()  # (B, H, W, 3)
        if known.shape[-1] < 3:  # luma of BT.601, as in PIL
            own = own @ np.array([[0.299], [0.587], [0.114]], np.float32)
        if known.shape[-1] in (2, 4):  # what is filled is opaque
            own = np.concatenate([own, np.ones_like(own[..., :1])], -1)
        own = own * scale if known.dtype.kind == "f" else (own * scale).round()
        result = np.where(hole.movedim(1, -1).numpy(), own.astype(known.dtype), known)
        return result.reshape(image.shape)

    def _pil(self, image: Image.Image, mask: Any) -> Image.Image:
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(image)
        if image.mode in ("CMYK", "YCbCr"):  # any colour can be written in these: filled as RGB
            filled = self._pil(image.convert("RGB"), mask).convert(image.mode)
            hole = read_mask(mask, (image.height, image.width), 1)[0, 0].numpy() > 0.5
            return Image.composite(filled, image, Image.fromarray(hole))
        profile = image.info.get("icc_profile")
        if image.mode not in _AS_THEY_STAND or "transparency" in image.info:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        known, white = np.array(image), 65535 if image.mode == "I" else None
        if image.mode.startswith("I;16"):  # in whatever byte order
            known = known.astype(np.uint16)
        result = Image.fromarray(self._array(known, mask, white))
        if profile:
            result.info["icc_profile"] = profile
        return result

    def _fill(self, rgb: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
        """Check values and mask, predict: (fill (B, 3, H, W), hole (B, 1, H, W) bool)."""
        if 0 in rgb.shape:
            raise ValueError(f"the image is empty: its shape is {tuple(rgb.shape)}")
        hole = read_mask(mask, (rgb.shape[-2], rgb.shape[-1]), len(rgb)) > 0.5
        known = rgb[(~hole).expand_as(rgb)]
        if torch.isnan(known).any():
            raise ValueError(f"{int(torch.isnan(known).sum())} known values of the image are NaN")
        if len(known) and (known.min() < 0 or known.max() > 1):
            raise ValueError(
                "float images must lie in [0, 1]; known values here lie in "
                f"[{known.min():g}, {known.max():g}]: divide 8-bit values by 255"
            )
        size = f"{rgb.shape[-1]}x{rgb.shape[-2]} px with {self.strategy} on {self.device}"
        try:
            pairs = zip(rgb.split(self.batch_size), hole.split(self.batch_size))
            return torch.cat([self.strategy(self, *pair) for pair in pairs]), hole
        except RuntimeError as error:  # torch says it differently for each device
            if not any(text in str(error) for text in _SHORTAGE):
                raise
            remedy = "use strategy='crop' or 'auto', or a lower batch_size"
            raise MemoryError(f"out of memory: {size}; {remedy}") from error

    @torch.inference_mode()
    def predict(self, image: Tensor, mask: Tensor) -> Tensor:
        """The generator's output, known region included: (B, 3, H, W) in [0, 1], on the CPU.

        Args:
            image: (B, 3, H, W) float in [0, 1]; the values in the hole are not looked at.
            mask: (B, 1, H, W), 1 = hole.
        """
        hole = mask > 0.5
        x = torch.cat([torch.where(hole, 0.0, image.float()), hole.float()], 1)  # (B, 4, H, W)
        height, width = x.shape[-2:]
        x = pad_to(x, self.multiple, self.smallest).to(self.device)
        with evaluating(self.generator):
            y = self.generator(x)
        return y[..., :height, :width].float().clamp(0, 1).cpu()


def _load(model: str | Path | nn.Module) -> nn.Module:
    from .weights.format import load_generator
    from .weights.names import find

    if isinstance(model, nn.Module):
        return model
    if not isinstance(model, (str, Path)):
        raise TypeError(f"a model is a name, a path or a module, not {type(model).__name__}")
    return load_generator(find(model, "generator"))


# --------------------------------------------------------------------------- formats
def _with_axes(array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, C) or (B, H, W, C) to (B, H, W, C) with 1 to 4 channels."""
    full = array[..., None] if array.ndim == 2 else array
    full = full[None] if full.ndim == 3 else full
    if full.ndim != 4 or full.shape[-1] not in (1, 2, 3, 4):
        hint = ""
        if array.ndim >= 3 and array.shape[-3] in (1, 3):
            hint = ": channels come last in numpy; use np.moveaxis, or a torch tensor"
        raise ValueError(
            "an image array must be (H, W), (H, W, C) or (B, H, W, C) with C = 1 to 4, "
            f"not {array.shape}{hint}"
        )
    return full


def read_mask(mask: Any, size: tuple[int, int], n: int) -> Tensor:
    """A mask of any kind as (n, 1, H, W) float32 of zeros and ones, checked.

    Whole numbers up to 1, 255 or 65535 (the least that fits the largest value) are scaled by it.
    """
    if isinstance(mask, Tensor):
        mask = (mask.float() if mask.is_floating_point() else mask).detach().cpu().numpy()
    elif not isinstance(mask, np.ndarray):
        from PIL import Image, ImageOps

        if not isinstance(mask, Image.Image):
            raise TypeError(
                f"a mask must be a PIL image, a numpy array or a tensor, not {type(mask).__name__}"
            )
        mask = ImageOps.exif_transpose(mask)
        grey = mask.mode in ("1", "L") or mask.mode[0] in "IF"
        mask = np.array(mask if grey else mask.convert("RGB").convert("L"))
    if mask.dtype.kind not in "buif":
        raise TypeError(f"a mask must hold bools or numbers, not {mask.dtype}: use mask > 0")
    shape = mask.shape
    if mask.ndim > 2 and shape[-1] == 1 and shape[-3:-1] == size:
        mask = mask[..., 0]
    if not 2 <= mask.ndim <= 4 or mask.shape[-2:] != size:
        raise ValueError(
            f"the mask's shape is {shape} and the image has {size} pixels (height, width): "
            "they must agree; resize a mask with nearest-neighbour sampling"
        )
    if mask.ndim == 4 and mask.shape[1] != 1:
        raise ValueError(f"a mask has one channel, not {mask.shape[1]}: its shape is {shape}")
    largest = mask.max(initial=0) if mask.dtype.kind in "ui" else 1
    white = 1 if largest <= 1 else 255 if largest <= 255 else 65535
    values = torch.from_numpy(mask.astype(np.float32) / white)
    values = masks.validate(values.reshape(-1, 1, *size))
    if len(values) not in (1, n):
        raise ValueError(f"{len(values)} masks for {n} images: give one for each, or one for all")
    return values.expand(n, -1, -1, -1)
