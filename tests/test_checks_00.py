"""Every check of notebook 00: right and wrong answers."""

import numpy as np
import torch
from check_suite import check_suite

from lama_ref import masks


def rectangle_mask(height, width, top, left, bottom, right):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def hole_share(gray):
    return float((gray > 127).mean())


def composite(image, prediction, mask):
    return torch.where(mask > 0.5, prediction, image)


def clean_mask(gray, radius):
    hole = torch.from_numpy(gray > 127)[None, None].float()
    return masks.dilate(hole, radius)[0, 0].numpy() > 0.5


def disc_errors(inpaint, photo, radii):
    return [_disc_error(inpaint, photo, radius) for radius in radii]


def _disc_error(inpaint, photo, radius, row=None, scale=255.0, whole=False, wrap=False):
    height, width = photo.shape[:2]
    y, x = np.ogrid[:height, :width]
    row = height // 2 if row is None else row
    mask = (y - row) ** 2 + (x - width // 2) ** 2 <= radius**2
    result = inpaint(photo, mask)
    difference = np.abs(result - photo) if wrap else np.abs(result / scale - photo / scale)
    return float((difference if whole else difference[mask]).mean()) / (255 if wrap else 1)


def composite_in_place(image, prediction, mask):
    image[mask.expand_as(image) > 0.5] = prediction[mask.expand_as(image) > 0.5]
    return image


RIGHT = {
    "rectangle_mask": rectangle_mask,
    "hole_share": hole_share,
    "composite": composite,
    "clean_mask": clean_mask,
    "disc_errors": disc_errors,
}
ALSO_RIGHT = [
    ("composite", lambda x, y, m: torch.where(m.bool().expand_as(x), y, x)),
    ("hole_share", lambda gray: torch.from_numpy(gray > 127).float().mean()),
    ("disc_errors", lambda f, p, r: np.array(disc_errors(f, p, r))),
]
WRONG = [
    ("rectangle_mask", lambda *a: ~rectangle_mask(*a), "inverted"),
    ("rectangle_mask", lambda h, w, *b: rectangle_mask(w, h, *b), "height comes first"),
    ("rectangle_mask", lambda *a: rectangle_mask(*a).astype(float), "dtype float64"),
    (
        "rectangle_mask",
        lambda h, w, y, x, y2, x2: rectangle_mask(h, w, y, x, y2 + 1, x2 + 1),
        "first row and column outside",
    ),
    (
        "rectangle_mask",
        lambda h, w, y, x, y2, x2: rectangle_mask(h, w, x, y, x2, y2),
        "pixels differ",
    ),
    ("rectangle_mask", lambda *a: None, "returned None"),
    ("hole_share", lambda gray: gray.mean() / 255, "JPEG"),
    ("hole_share", lambda gray: (gray > 0).mean(), "every grey value above 0"),
    ("hole_share", lambda gray: (gray <= 127).mean(), "known pixels"),
    ("hole_share", lambda gray: 100 * (gray > 127).mean(), "percentage"),
    ("hole_share", lambda gray: (gray > 127).sum(), "expected 0.1470"),
    ("hole_share", lambda gray: (gray >= 127).mean(), "127 and 128"),
    ("hole_share", lambda gray: None, "returned None"),
    ("composite", lambda x, y, m: x * m + y * (1 - m), "inverted"),
    ("composite", lambda x, y, m: y, "random hole: largest difference"),
    ("composite", lambda x, y, m: x * (1 - m) + y, "random hole: largest difference"),
    ("composite", lambda x, y, m: (x * (1 - m) + y * m).mean(1), "shape"),
    ("composite", lambda x, y, m: composite(x, y.detach(), m), "no gradient"),
    ("composite", lambda x, y, m: composite(x, y, m) + 1e-6, "almost"),
    ("composite", lambda x, y, m: x + m * (y - x), "almost, but not bit for bit"),
    ("composite", lambda x, y, m: x * (1 - m) + y * m, "NaN in a pixel that is not used"),
    ("composite", composite_in_place, "changed its input"),
    ("composite", lambda x, y, m: None, "returned None"),
    ("clean_mask", lambda g, r: g > 127, "one white pixel, radius 1: 1 pixels"),
    ("clean_mask", lambda g, r: clean_mask(np.uint8(g > 0) * 255, r), "JPEG, radius 0"),
    ("clean_mask", lambda g, r: ~clean_mask(g, r), "radius 0: 153 pixels are hole"),
    ("clean_mask", lambda g, r: clean_mask(g, r)[None, None], "take off the two axes"),
    ("clean_mask", lambda g, r: clean_mask(g, r).astype(np.float32), "dtype float32"),
    ("clean_mask", lambda g, r: np.roll(clean_mask(g, r), 1, 1), "largest difference"),
    ("clean_mask", lambda g, r: clean_mask(g, 2 * r), "radius 1: 13 pixels"),
    (
        "disc_errors",
        lambda f, p, radii: [_disc_error(f, p, r, whole=True) for r in radii],
        "fills with black: largest difference",
    ),
    (
        "disc_errors",
        lambda f, p, radii: [_disc_error(f, p, r, scale=1) for r in radii],
        "fills with black: largest difference",
    ),
    (
        "disc_errors",
        lambda f, p, radii: [_disc_error(f, p, r, wrap=True) for r in radii],
        "fills with black: largest difference",
    ),
    (
        "disc_errors",
        lambda f, p, radii: [_disc_error(f, p, r, row=2) for r in radii],
        r"radius 1: the mask has 5 hole pixels, not the 5 with \(y - H//2\)",
    ),
    (
        "disc_errors",
        lambda f, p, radii: [_disc_error(f, p, r - 0.5) for r in radii],
        "radius 1: the mask has 1 hole pixels, not the 5",
    ),
    ("disc_errors", lambda f, p, radii: disc_errors(f, p, radii)[:1], "shape"),
]

TestChecks = check_suite("0", RIGHT, ALSO_RIGHT, WRONG)
