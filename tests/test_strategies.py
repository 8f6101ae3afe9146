"""Strategies for large pictures: whole, crop, auto, and the memory that they take."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import noise, run
from PIL import Image
from tools.measure_memory import bytes_per_pixel, measure, table

import lama_ref
from lama_ref.evaluation.bench import peak_of
from lama_ref.highres.refine import Refine
from lama_ref.highres.strategies import Auto, Crop, Whole, blend, named


class Local(torch.nn.Module):
    """A generator that sees a few pixels far, and remembers the sizes it was given."""

    def __init__(self, reach=2):
        super().__init__()
        self.reach, self.sizes, self.batches = reach, [], []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        self.batches.append(len(x))
        parts = (F.pad(part, (self.reach,) * 4) for part in (x[:, :3], 1 - x[:, 3:]))
        colours, known = (F.avg_pool2d(part, 2 * self.reach + 1, 1) for part in parts)
        return colours / known.clamp(min=1e-3)


class Is(torch.nn.Module):
    """A generator that is a function."""

    def __init__(self, forward):
        super().__init__()
        self.forward = forward


@pytest.fixture
def local():
    return Local()


def mask_of(size, *boxes):
    mask = torch.zeros(1, 1, *size)
    for top, left, bottom, right in boxes:
        mask[..., top:bottom, left:right] = 1
    return mask


# --- whole ------------------------------------------------------------------------------------


def test_whole_is_the_default_and_one_pass(local):
    image, mask = torch.rand(1, 3, 600, 700), mask_of((600, 700), (100, 100, 200, 200))
    inpaint = lama_ref.Inpainter(local)
    assert inpaint.strategy == Whole()
    result = inpaint(image, mask)
    assert local.sizes == [(600, 704)]
    expected = inpaint.predict(image, mask)
    assert torch.equal(result, torch.where(mask > 0, expected, image))


# --- crop -------------------------------------------------------------------------------------

HOLES = {
    "one": [(120, 130, 160, 150)],
    "far apart": [(20, 20, 40, 50), (360, 260, 380, 290)],
    "neighbours": [(120, 120, 140, 140), (150, 150, 170, 170)],
    "at the border": [(0, 0, 9, 9), (391, 274, 400, 304)],
    "one within the box of another": [(40, 40, 45, 280), (45, 40, 350, 45), (300, 240, 310, 250)],
    "many": [(y, x, y + 4, x + 6) for y in range(5, 390, 40) for x in range(7, 290, 47)],
}


@pytest.mark.parametrize("holes", HOLES.values(), ids=HOLES)
def test_a_generator_that_sees_only_near_does_not_mind_being_cut(local, holes):
    """The oracle: whole and crop must agree where the context holds all that is seen."""
    torch.manual_seed(0)
    image, mask = torch.rand(2, 3, 400, 304), mask_of((400, 304), *holes)
    whole = lama_ref.Inpainter(local)(image, mask)
    crop = Crop(context=0.5, least=64, budget=10**6, feather=0)
    result = lama_ref.Inpainter(local, strategy=crop)(image, mask)
    torch.testing.assert_close(result, whole)
    known = (mask == 0).expand_as(image)
    assert torch.equal(result[known], image[known])


def test_only_the_surroundings_of_holes_are_computed(local):
    image = torch.rand(1, 3, 400, 300)
    inpaint = lama_ref.Inpainter(local, strategy=Crop(context=1, least=64))
    for name, sizes in {
        "one": [(120, 104)],  # 40 + 2 * 40 rows, 20 + 2 * 40 columns, rounded up to 8
        "far apart": [(80, 96), (80, 96)],
        "neighbours": [(152, 152)],
    }.items():
        inpaint(image, mask_of((400, 300), *HOLES[name]))
        assert local.sizes == sizes
        local.sizes.clear()
    inpaint(image, torch.zeros(400, 300))
    assert local.sizes == []


def test_cuts_stay_in_the_picture():
    cuts = Crop(context=1, least=64).cuts(mask_of((400, 304), *HOLES["at the border"])[0, 0])
    assert [box for box, _ in cuts] == [(0, 0, 64, 64), (331, 214, 400, 304)]
    own = cuts[0][1]
    assert own.shape == (64, 64) and own[:9, :9].all() and own.sum() == 81
    ((box, own),) = Crop().cuts(torch.ones(30, 20))
    assert box == (0, 0, 30, 20) and own.all()


def test_holes_near_each_other_are_filled_together():
    def count(holes, **settings):
        return len(Crop(**settings).cuts(mask_of((300, 300), *holes)[0, 0]))

    for apart in (10, 20, 21, 30):
        holes = [(100, 100, 110, 110), (110 + apart, 100, 120 + apart, 110)]
        assert count(holes, context=1, least=80) == (1 if apart <= 20 else 2)
    corners = [(100, 100, 110, 110), (110, 110, 120, 120)]
    assert count(corners, context=1, least=1) == 1
    large = [(0, 0, 100, 100), (90, 102, 100, 112)]  # together they would be shrunk further
    assert count(large, context=0, least=64, budget=4096) == 2
    assert count(large, context=0, least=64, budget=100 * 112) == 1


def test_many_holes_are_each_filled_once():
    holes = mask_of((400, 304), *HOLES["many"])[0, 0]
    holes[250:, 200:] = 1  # one that is too large to be filled together with others
    for settings in ({}, {"least": 64}, {"least": 200, "budget": 150 * 150}):
        filled = torch.zeros(400, 304)
        for (top, left, bottom, right), own in Crop(**settings).cuts(holes):
            filled[top:bottom, left:right] += own
        assert torch.equal(filled, holes)


def test_beyond_the_budget_the_network_sees_a_smaller_picture(local):
    image, mask = torch.rand(1, 3, 900, 600), mask_of((900, 600), (100, 100, 700, 500))
    result = lama_ref.Inpainter(local, strategy=Crop(budget=10_000))(image, mask)
    ((height, width),) = local.sizes
    assert 0.9 * 10_000 < height * width < 1.2 * 10_000  # rounded up to multiples of 8
    assert height / width == pytest.approx(1.5, abs=0.1)
    known = (mask == 0).expand_as(image)
    assert torch.equal(result[known], image[known])


@pytest.mark.parametrize("budget", [4096, 10**6])
def test_nothing_of_the_hole_is_seen(budget):
    """A grey picture is filled with grey, whatever hides in the hole, shrunk or not."""
    image, mask = torch.full((1, 3, 300, 500), 0.5), mask_of((300, 500), (93, 101, 100, 333))
    image[..., mask[0, 0] > 0] = torch.nan
    crop = Crop(context=0.2, least=16, budget=budget)
    result = lama_ref.Inpainter(Local(8), strategy=crop)(image, mask)
    torch.testing.assert_close(result, torch.full_like(image, 0.5), atol=1e-3, rtol=0)


# --- blending ---------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0, 1, 8, 30])
def test_an_error_of_colour_fades_in_from_the_border(radius):
    """Closed form: a tint e is taken off by the factor 1 - d / (radius + 1) at the distance d."""
    torch.manual_seed(0)
    image, hole = 0.4 + 0.3 * torch.rand(1, 3, 60, 80), mask_of((60, 80), (0, 30, 60, 80))
    tint = torch.tensor([0.1, -0.05, 0.2])[:, None, None]
    result = blend(image + tint, image, hole, radius)
    assert torch.equal(result[..., :30], image[..., :30])
    depth = torch.arange(1, 51)
    left = 1 - (1 - depth / (radius + 1)).clamp(min=0)
    torch.testing.assert_close(
        result[..., 30:] - image[..., 30:], (tint * left).expand(1, 3, 60, 50)
    )
    nothing_known = torch.zeros_like(image), torch.ones_like(hole)
    torch.testing.assert_close(blend(image, *nothing_known, radius), image)


def test_crop_takes_a_tint_off():
    image, mask = torch.full((1, 3, 400, 400), 0.5), mask_of((400, 400), (150, 150, 250, 250))
    errors = {}
    for radius in (0, 16):
        tinted = Is(lambda x: 0.1 + x[:, :3] + 0.5 * x[:, 3:])  # grey in the hole
        inpaint = lama_ref.Inpainter(tinted, strategy=Crop(feather=radius))
        errors[radius] = (inpaint(image, mask) - 0.5).abs()
    assert errors[0][..., 150, 200].max() == pytest.approx(0.1, abs=1e-6)
    assert errors[16][..., 150, 200].max() == pytest.approx(0.1 / 17, abs=1e-4)
    assert errors[16][..., 200, 200].max() == pytest.approx(0.1, abs=1e-6)  # far inside: its own


# --- memory -----------------------------------------------------------------------------------


def test_peak_counts_tensors_that_live_at_once():
    given = torch.zeros(1000)

    def function():
        a = given + 1  # 4000 bytes
        view = a.view(10, 100).mT  # none
        b = view * given.view(10, 100).mT  # 8000
        del a, view  # 4000
        c = b.sum()  # 4004
        return c

    assert peak_of(function) == 8000
    assert peak_of(lambda: given.view(10, 100)) == 0
    leaf = torch.zeros(1000, requires_grad=True)

    def kept_for_backward():
        y = leaf.exp().sin()  # the result of exp is kept: 8000
        del y

    assert peak_of(kept_for_backward) == 8000


def test_memory_is_proportional_to_pixels():
    inpaint = lama_ref.Inpainter(lama_ref.build_generator("mini-fourier", width=8, blocks=2))
    small, large = (bytes_per_pixel(inpaint, Whole(), side) for side in (128, 256))
    assert small == pytest.approx(large, rel=0.05)
    assert small > 2 * 8 * 4  # at least the two widest maps: before and after BatchNorm
    refine = Refine(steps=2, min_side=64, progress=False)
    assert bytes_per_pixel(inpaint, refine) > 2 * small


def test_one_case_of_the_memory_table():
    row = measure("trio-fourier", "refine", 128)
    assert row["peak_gib"] >= row["before_gib"] > 0.05 and row["estimate_gib"] > 0
    assert "trio-fourier" in table([row]) and "128x128" in table([row])


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (None, MemoryError, r"48x32 px with Whole\(\) on cpu; use strategy='crop'"),
        ("CUDA out of memory. Tried", MemoryError, "'crop' or 'auto', or a lower batch_"),
        ("cuFFT error: CUFFT_ALLOC_FAILED", MemoryError, "use strategy='crop' or 'auto'"),
        ("something else", RuntimeError, "something else"),
    ],
)
def test_running_out_of_memory_is_said_in_one_line(said, error, message):
    def fail(x):
        if said is None:
            return torch.empty(2**55, dtype=torch.uint8)
        raise RuntimeError(said)

    with pytest.raises(error, match=message):
        lama_ref.Inpainter(Is(fail))(torch.rand(3, 32, 48), mask_of((32, 48), (8, 8, 16, 16)))


# --- auto -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixels", "whole"), [(240_000, True), (239_999, False)])
def test_auto_takes_the_whole_picture_up_to_a_number_of_pixels(local, pixels, whole):
    said = []
    auto = Auto(pixels=pixels, budget=120_000, say=said.append)
    image, mask = torch.rand(3, 3, 400, 600), mask_of((400, 600), (100, 100, 300, 400))
    lama_ref.Inpainter(local, strategy=auto)(image, mask)
    if whole:
        assert said == ["strategy whole: 600x400 px are no more than 240,000"]
        assert local.sizes == [(400, 600)] * 3 and local.batches == [1, 1, 1]
    else:
        assert said == ["strategy crop: 600x400 px are more than 239,999"]
        assert all(0.8 * 120_000 < h * w <= 1.05 * 120_000 for h, w in local.sizes)


def test_auto_fills_full_hd_whole_and_prints_what_it_chose(capsys, local):
    lama_ref.Inpainter(local, strategy="auto")(torch.rand(3, 1080, 1920), torch.eye(1920)[:1080])
    assert capsys.readouterr().out == ("strategy whole: 1920x1080 px are no more than 2,097,152\n")


# --- names ------------------------------------------------------------------------------------


def test_names_and_settings():
    assert named("crop", context=0.5) == Crop(context=0.5)
    own = lambda inpainter, image, mask: torch.zeros_like(image)  # noqa: E731
    assert named(own) is own
    result = lama_ref.Inpainter(Local(), strategy=own)(torch.ones(3, 16, 16), torch.eye(16))
    assert torch.equal(result[0], 1 - torch.eye(16))


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("tiles", {}, ValueError, "no strategy 'tiles': choose from whole, crop, refine, auto"),
        ("whole", {"context": 1}, ValueError, "'whole' has no setting 'context': it has none"),
        ("crop", {"steps": 1}, ValueError, "no setting 'steps': it has context, least"),
        ("crop", {"context": -1}, ValueError, "context must be at least 0, not -1"),
        ("crop", {"context": float("nan")}, ValueError, "context must be at least 0, not nan"),
        ("crop", {"budget": 10}, ValueError, "budget must be at least 4096, not 10"),
        (Crop, {}, TypeError, "a strategy is one of"),
        (3, {}, TypeError, "not 3"),
    ],
)
def test_bad_names_and_settings_are_named(name, settings, error, message):
    with pytest.raises(error, match=message):
        named(name, **settings)
    if not settings:
        with pytest.raises(error, match=message):
            lama_ref.Inpainter(Local(), strategy=name)


# --- command line -----------------------------------------------------------------------------


def test_command_line(tmp_path, capsys):
    array, hole = noise(90, 120), np.zeros((90, 120), np.uint8)
    hole[30:50, 40:60] = 255
    photo, mask, out = (tmp_path / f"{name}.png" for name in ("photo", "hole", "out"))
    Image.fromarray(array).save(photo)
    Image.fromarray(hole).save(mask)

    def code(*options):
        return run("inpaint", photo, mask, "-o", out, "--strategy", *options)

    results = []
    for options in (["crop"], ["crop", "--context", "0.2"], ["refine", "--steps", "2"], ["auto"]):
        assert code(*options) == 0
        said = capsys.readouterr().out
        assert ("strategy whole: 120x90 px are no more" in said) == ("auto" in options)
        results.append(np.array(Image.open(out)))
        np.testing.assert_array_equal(results[-1][hole == 0], array[hole == 0])
    np.testing.assert_array_equal(results[2], results[3])  # small: refined in a single pass
    assert code("whole", "--steps", "3") == 1
    assert "strategy 'whole' has no setting 'steps'" in capsys.readouterr().err
    assert code("tiles") == 2
