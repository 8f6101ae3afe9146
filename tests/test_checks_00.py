"""The checks of notebook 00: right answers pass, the stub is told apart, wrong ones are named."""

import numpy as np
import pytest
import torch

from lama_ref import checks, masks


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


def stub(*arguments):
    raise NotImplementedError("Exercise")


def composite_in_place(image, prediction, mask):
    image[mask.expand_as(image) > 0.5] = prediction[mask.expand_as(image) > 0.5]
    return image


RIGHT = {
    "0.1": (checks.rectangle_mask, rectangle_mask),
    "0.2": (checks.hole_share, hole_share),
    "0.3": (checks.composite, composite),
    "0.4": (checks.clean_mask, clean_mask),
    "0.5": (checks.disc_errors, disc_errors),
}
ALSO_RIGHT = [
    (checks.composite, lambda x, y, m: x * (1 - m) + y * m),
    (checks.hole_share, lambda gray: torch.from_numpy(gray > 127).float().mean()),
    (checks.disc_errors, lambda f, p, r: np.array(disc_errors(f, p, r))),
]
WRONG = [
    (checks.rectangle_mask, lambda *a: ~rectangle_mask(*a), "inverted"),
    (checks.rectangle_mask, lambda h, w, *b: rectangle_mask(w, h, *b), "height comes first"),
    (checks.rectangle_mask, lambda *a: rectangle_mask(*a).astype(float), "dtype float64"),
    (
        checks.rectangle_mask,
        lambda h, w, y, x, y2, x2: rectangle_mask(h, w, y, x, y2 + 1, x2 + 1),
        "first row and column outside",
    ),
    (
        checks.rectangle_mask,
        lambda h, w, y, x, y2, x2: rectangle_mask(h, w, x, y, x2, y2),
        "pixels differ",
    ),
    (checks.rectangle_mask, lambda *a: None, "returned None"),
    (checks.hole_share, lambda gray: gray.mean() / 255, "JPEG"),
    (checks.hole_share, lambda gray: (gray > 0).mean(), "every grey value above 0"),
    (checks.hole_share, lambda gray: (gray <= 127).mean(), "known pixels"),
    (checks.hole_share, lambda gray: 100 * (gray > 127).mean(), "percentage"),
    (checks.hole_share, lambda gray: (gray > 127).sum(), "expected 0.1470"),
    (checks.hole_share, lambda gray: (gray >= 127).mean(), "127 and 128"),
    (checks.hole_share, lambda gray: None, "returned None"),
    (checks.composite, lambda x, y, m: x * m + y * (1 - m), "inverted"),
    (checks.composite, lambda x, y, m: y, "random hole: largest difference"),
    (checks.composite, lambda x, y, m: x * (1 - m) + y, "random hole: largest difference"),
    (checks.composite, lambda x, y, m: (x * (1 - m) + y * m).mean(1), "shape"),
    (checks.composite, lambda x, y, m: composite(x, y.detach(), m), "no gradient"),
    (checks.composite, lambda x, y, m: composite(x, y, m) + 1e-6, "largest difference"),
    (checks.composite, composite_in_place, "changed its input"),
    (checks.composite, lambda x, y, m: None, "returned None"),
    (checks.clean_mask, lambda g, r: g > 127, "one white pixel, radius 1: 1 pixels"),
    (checks.clean_mask, lambda g, r: clean_mask(np.uint8(g > 0) * 255, r), "JPEG, radius 0"),
    (checks.clean_mask, lambda g, r: ~clean_mask(g, r), "radius 0: 153 pixels are hole"),
    (checks.clean_mask, lambda g, r: clean_mask(g, r)[None, None], "take off the two axes"),
    (checks.clean_mask, lambda g, r: clean_mask(g, r).astype(np.float32), "dtype float32"),
    (checks.clean_mask, lambda g, r: np.roll(clean_mask(g, r), 1, 1), "largest difference"),
    (checks.clean_mask, lambda g, r: clean_mask(g, 2 * r), "radius 1: 13 pixels"),
    (
        checks.disc_errors,
        lambda f, p, radii: [_disc_error(f, p, r, whole=True) for r in radii],
        "fills with black: largest difference",
    ),
    (
        checks.disc_errors,
        lambda f, p, radii: [_disc_error(f, p, r, scale=1) for r in radii],
        "fills with black: largest difference",
    ),
    (
        checks.disc_errors,
        lambda f, p, radii: [_disc_error(f, p, r, wrap=True) for r in radii],
        "fills with black: largest difference",
    ),
    (
        checks.disc_errors,
        lambda f, p, radii: [_disc_error(f, p, r, row=2) for r in radii],
        "radius 1: the mask has 5 hole pixels, not the 5 with (y - H//2)",
    ),
    (
        checks.disc_errors,
        lambda f, p, radii: [_disc_error(f, p, r - 0.5) for r in radii],
        "radius 1: the mask has 1 hole pixels, not the 5",
    ),
    (checks.disc_errors, lambda f, p, radii: disc_errors(f, p, radii)[:1], "shape"),
]


@pytest.mark.parametrize("number", RIGHT)
def test_reference_passes_and_stub_is_not_attempted(number, capsys):
    check, reference = RIGHT[number]
    check(stub)
    assert capsys.readouterr().out == f"Exercise {number}: not attempted yet\n"
    assert checks.attempted()[number] == "not attempted"
    check(reference)
    assert capsys.readouterr().out == f"Exercise {number}: passed\n"
    checks.require_all(number)


@pytest.mark.parametrize("check, answer", ALSO_RIGHT)
def test_other_right_answers_pass(check, answer, capsys):
    check(answer)
    assert "passed" in capsys.readouterr().out


@pytest.mark.parametrize("check, answer, message", WRONG)
def test_wrong_answers_are_told_what_differs(check, answer, message):
    with pytest.raises(AssertionError) as error:
        check(answer)
    assert message in str(error.value)


@pytest.mark.parametrize("number", RIGHT)
def test_an_exception_in_the_answer_is_reported(number):
    def broken(*arguments):
        raise KeyError("oops")

    with pytest.raises(AssertionError, match=f"Exercise {number}: your function raised KeyError"):
        RIGHT[number][0](broken)
    assert checks.attempted()[number] == "wrong"


def test_every_check_has_wrong_answers():
    counts = {check: sum(wrong[0] is check for wrong in WRONG) for check, _ in RIGHT.values()}
    assert min(counts.values()) >= 3
