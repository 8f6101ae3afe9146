"""Checks of notebook 00: masks, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ... import masks
from .core import compare, exercise, expect, returned

__all__ = ["clean_mask", "composite", "disc_errors", "hole_share", "rectangle_mask"]


@exercise("0.1")
def rectangle_mask(answer: Callable) -> None:
    """``answer(height, width, top, left, bottom, right)`` -> (H, W) bool, True in the hole."""
    for size, box in (
        ((6, 9), (1, 2, 4, 8)),
        ((9, 6), (0, 0, 9, 6)),
        ((5, 7), (4, 0, 5, 7)),
        ((5, 7), (2, 3, 2, 3)),
        ((64, 48), (10, 5, 33, 40)),
    ):
        mask = answer(*size, *box)
        what = f"{size[0]} x {size[1]} pixels, rows {box[0]}:{box[2]}, columns {box[1]}:{box[3]}"
        expected = np.zeros(size, bool)
        expected[box[0] : box[2], box[1] : box[3]] = True
        returned(mask, what)
        array = np.asarray(mask)
        if array.shape == size and (array.astype(bool) == ~expected).all():
            expect(False, f"{what}: inverted; the hole must be True and all else False")
        expect(
            array.shape == size, f"{what}: shape {array.shape}, expected {size}: height comes first"
        )
        expect(array.dtype == bool, f"{what}: dtype {array.dtype}, expected bool")
        rows, columns = np.nonzero(array != expected)
        expect(
            not len(rows),
            f"{what}: {len(rows)} pixels differ, the first at row {rows[:1]}, column "
            f"{columns[:1]}; bottom and right are the first row and column outside",
        )


def _gray_masks() -> list[tuple[str, np.ndarray]]:
    """8-bit masks as files give them: hard, noisy as after JPEG, soft, empty."""
    rng = np.random.default_rng(0)
    hard = np.zeros((12, 17), np.uint8)
    hard[3:8, 5:11] = 255
    noisy = np.where(hard > 0, 255 - rng.integers(0, 9, hard.shape), rng.integers(0, 9, hard.shape))
    soft = np.tile(np.array([0, 60, 127, 128, 200, 255, 255], np.uint8), (5, 1))
    return [
        ("a mask of 0 and 255", hard),
        ("a mask with the noise of JPEG", noisy.astype(np.uint8)),
        ("a mask with grey values 127 and 128", soft),
        ("a mask without a hole", np.zeros((4, 5), np.uint8)),
        ("a mask that is all hole", np.full((3, 2), 255, np.uint8)),
    ]


@exercise("0.2")
def hole_share(answer: Callable) -> None:
    """``answer(gray)``: (H, W) uint8 -> the share of pixels above 127, a number in [0, 1]."""
    for what, gray in _gray_masks():
        share, expected = answer(gray.copy()), float((gray > 127).mean())
        returned(share, what)
        value = float(share)
        hint = ""
        if expected not in (0, 0.5) and abs(value - (1 - expected)) < 1e-6:
            hint = ": that is the share of the known pixels"
        elif expected and abs(value - 100 * expected) < 1e-4:
            hint = ": a share lies in [0, 1], it is not a percentage"
        elif abs(value - float((gray > 0).mean())) < 1e-6:
            hint = ": every grey value above 0 was counted"
        expect(
            abs(value - expected) < 1e-6, f"{what}: got {value:.5g}, expected {expected:.5g}{hint}"
        )


def _spread(*shape: int, rng: torch.Generator) -> torch.Tensor:
    """Random numbers from 1e-3 to 1, as many of each size."""
    return 10 ** (-3 * torch.rand(*shape, generator=rng))


@exercise("0.3")
def composite(answer: Callable) -> None:
    """``answer(image, prediction, mask)``: the image outside the hole, else the prediction."""
    rng = torch.Generator().manual_seed(0)
    for batch, height, width in ((1, 8, 8), (3, 7, 10), (2, 5, 5)):
        what = f"{batch} x 3 x {height} x {width}"
        # of very different sizes: torch.rand alone lies on a grid that hides rounding
        image, prediction = (_spread(batch, 3, height, width, rng=rng) for _ in range(2))
        drawn = (torch.rand(batch, 1, height, width, generator=rng) > 0.5).float()
        impulse = torch.zeros_like(drawn)
        impulse[..., height // 2, width // 3] = 1
        for kind, mask in (
            ("random hole", drawn),
            ("no hole", torch.zeros_like(drawn)),
            ("all hole", torch.ones_like(drawn)),
            ("hole of one pixel", impulse),
        ):
            kept = image.clone()
            result = answer(image, prediction, mask)
            name = f"{what}, {kind}"
            expected = torch.where(mask > 0.5, prediction, image)
            swapped = torch.where(mask > 0.5, image, prediction)
            if isinstance(result, torch.Tensor) and result.shape == swapped.shape:
                inverted = bool((result == swapped).all()) and kind != "no hole"
                expect(not inverted, f"{name}: inverted; 1 in the mask marks the hole")
            rounded = isinstance(result, torch.Tensor) and result.shape == expected.shape
            rounded = rounded and torch.allclose(result, expected, rtol=1e-4, atol=1e-4)
            expect(
                not rounded or bool((result == expected).all()),
                f"{name}: almost, but not bit for bit; choose pixels instead of adding differences",
            )
            compare(result, expected, name, tolerance=0)
            expect(bool((image == kept).all()), f"{name}: your function changed its input image")
            hidden = torch.where(mask > 0.5, torch.nan, image)
            unused = torch.where(mask > 0.5, prediction, torch.nan)
            expect(
                bool((answer(hidden, unused, mask) == expected).all()),
                f"{name}: a NaN in a pixel that is not used reaches the result, because NaN * 0 is "
                "NaN; choose pixels with torch.where",
            )
    image, prediction = (torch.rand(1, 3, 6, 6, generator=rng) for _ in range(2))
    prediction.requires_grad_()
    mask = (torch.rand(1, 1, 6, 6, generator=rng) > 0.5).float()
    result = answer(image, prediction, mask)
    expect(result.requires_grad, "the result has no gradient: do not detach the prediction")
    (gradient,) = torch.autograd.grad(result.sum(), prediction)
    compare(gradient, mask.expand_as(image), "gradient with respect to the prediction")


@exercise("0.4")
def clean_mask(answer: Callable) -> None:
    """``answer(gray, radius)``: (H, W) uint8 -> (H, W) bool, thresholded, then grown."""
    dot = np.zeros((11, 14), np.uint8)
    dot[5, 6] = 255
    for what, gray in (("one white pixel", dot), *_gray_masks()):
        for radius in (0, 1, 3):
            name = f"{what}, radius {radius}"
            result = answer(gray.copy(), radius)
            returned(result, name)
            array = result.numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
            expect(
                array.shape == gray.shape,
                f"{name}: shape {array.shape}, expected {gray.shape}: take off the two axes that "
                "dilate wants",
            )
            expect(array.dtype == bool, f"{name}: dtype {array.dtype}, expected bool")
            hole = torch.from_numpy(gray > 127)[None, None].float()
            expected = masks.dilate(hole, radius)[0, 0].numpy() > 0.5
            expect(
                int(array.sum()) == int(expected.sum()),
                f"{name}: {array.sum()} pixels are hole, expected {expected.sum()} "
                f"({(gray > 127).sum()} of them before growing)",
            )
            compare(array, expected, name)


@exercise("0.5")
def disc_errors(answer: Callable) -> None:
    """``answer(inpaint, photo, radii)``: hole L1 in [0, 1] for each disc-shaped hole."""
    rng = np.random.default_rng(0)
    radii = [1, 2, 4]
    for height, width in ((16, 16), (13, 20)):
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        y, x = np.ogrid[:height, :width]
        square = (y - height // 2) ** 2 + (x - width // 2) ** 2
        holes = [square <= r * r for r in radii]
        seen: list[np.ndarray] = []

        def black(given, mask, seen=seen):
            seen.append(np.asarray(mask) > 0)
            return np.where(seen[-1][..., None], 0, given).astype(np.uint8)

        what = f"{height} x {width} pixels"
        perfect = answer(lambda given, mask: given.copy(), photo.copy(), radii)
        compare(np.asarray(perfect, float), np.zeros(3), f"{what}, a perfect inpainter")
        errors = answer(black, photo.copy(), radii)
        expect(len(seen) == 3, f"{what}: inpaint was called {len(seen)} times for 3 radii")
        for radius, mask, hole in zip(radii, seen, holes):
            expect(
                mask.shape == hole.shape and bool((mask == hole).all()),
                f"{what}, radius {radius}: the mask has {mask.sum()} hole pixels, not the "
                f"{hole.sum()} with (y - H//2)**2 + (x - W//2)**2 <= r**2",
            )
        expected = np.array([photo[hole].astype(float).mean() / 255 for hole in holes])
        name = f"{what}, an inpainter that fills with black"
        compare(np.asarray(errors, float), expected, name)
