"""Refinement: the published vectors, and what must hold on any device and for any generator."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_weights import fill_normal, fill_uniform, image_and_mask
from scipy import ndimage

import lama_ref
from lama_ref.evaluation.bench import peak_of
from lama_ref.highres import refine
from lama_ref.highres.refine import Refine, blur, erode, halve, split


def tiny(kind="fourier", **options):
    with torch.device("meta"):
        config = lama_ref.GeneratorConfig(kind=kind, width=8, blocks=2, **options)
        generator = lama_ref.build_generator(config)
    return fill_uniform(generator)


def picture(size=(96, 104), rows=None, columns=None):
    """A picture with a hole in these rows and columns; without them, all but an eighth around."""
    image, _ = image_and_mask(1, 1, *size)
    mask = torch.zeros(1, 1, *size)
    where = rows or (size[0] // 8, size[0] * 7 // 8), columns or (size[1] // 8, size[1] * 7 // 8)
    mask[(..., *(slice(*span) for span in where))] = 1
    return image, mask


SMALL = Refine(steps=4, min_side=48, progress=False)  # two sizes of the picture above


def scales(settings, generator, image, mask):
    return settings.scales(lama_ref.Inpainter(generator, device="cpu"), image, mask)


# --- published vectors ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    return picture((100, 140), (20, 75), (30, 110))


def test_halving_agrees_with_the_published_code(golden):
    image, mask = golden
    half = halve(image).double()
    assert half.mean().item() == pytest.approx(0.49897590, abs=1e-7)
    assert half.std().item() == pytest.approx(0.07420648, abs=1e-7)
    assert half.flatten()[0].item() == pytest.approx(0.4286212, abs=1e-6)
    assert (halve(mask) >= 1e-8).sum() == 1260
    inner = (F.interpolate(mask, (50, 70), mode="bilinear") >= 1 - 1e-8).float()
    assert inner.sum() == 1080 and erode(inner).sum() == 338


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"min_side": 32}, [(25, 35, 414), (50, 70, 1260), (100, 140, 4400)]),
        ({"min_side": 512}, [(100, 140, 4400)]),
        ({"min_side": 32, "budget": 5000}, [(29, 41, 486), (59, 83, 1617)]),
        ({"min_side": 8, "max_scales": 2}, [(50, 70, 1260), (100, 140, 4400)]),
    ],
)
def test_pyramid_agrees_with_the_published_code(golden, settings, sizes):
    got = Refine(**settings).pyramid(*golden)
    assert [(*image.shape[-2:], int(mask.sum())) for image, mask in got] == sizes


def test_a_whole_run_agrees_with_the_published_code():
    with torch.device("meta"):
        generator = lama_ref.build_generator("lama-fourier")
    image, mask = picture((160, 176), (20, 140), (30, 150))
    settings = Refine(steps=4, min_side=80, progress=False)
    (small, none), (large, losses) = scales(settings, fill_normal(generator), image, mask)
    for result, mean, std in ((small, 0.50398773, 0.05344763), (large, 0.50354488, 0.20308048)):
        assert result.double().mean().item() == pytest.approx(mean, abs=2e-6)
        assert result.double().std().item() == pytest.approx(std, abs=2e-6)
    assert none == []
    assert [round(loss, 4) for loss in losses] == [0.2621, 0.2620, 0.2620, 0.2619]


# --- its parts against others' ----------------------------------------------------------------


def test_blur_agrees_with_scipy():
    x = torch.rand(1, 2, 11, 14)
    for border, mode in (("reflect", "mirror"), ("constant", "constant")):
        expected = ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), radius=4, mode=mode)
        np.testing.assert_allclose(blur(x, 1.5, 4, border), expected, atol=1e-6)


def test_erosion_agrees_with_opencv():
    mask = (torch.rand(1, 1, 60, 70) < 0.995).float()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    assert kernel.sum() == 169
    expected = cv2.erode(mask[0, 0].numpy(), kernel)  # beyond the border nothing is known
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(erode(mask)[0, 0], expected)


@pytest.mark.parametrize("kind", ["fourier", "regular", "dilated"])
def test_front_and_rear_are_the_generator_and_losses_fall(kind):
    generator = tiny(kind, output="none")
    x = torch.rand(1, 4, 96, 80)
    front, rear = split(generator)
    with torch.no_grad():
        assert torch.equal(refine._run(rear, front(x)), generator(x))
    blocks = [part for piece in rear for part in piece if "Residual" in type(part).__name__]
    assert len(blocks) == 2 and not any("Residual" in type(part).__name__ for part in front)
    _, (_, losses) = scales(replace(SMALL, lr=0.02), tiny(kind), *picture())
    assert all(b < a for a, b in zip(losses, losses[1:])), losses


# --- what must hold ---------------------------------------------------------------------------


def test_losses_are_what_the_paper_says():
    """Each loss from the generator's output, and the features moved by steps of Adam."""
    generator = tiny()
    image, mask = picture()
    (small, _), (large, losses) = scales(SMALL, generator, image, mask)
    front, rear = split(generator)
    x = torch.cat([image * (1 - mask), mask], 1)
    z = [half.detach().requires_grad_() for half in front(x)]
    quarters = mask[0, 0].reshape(48, 2, 52, 2).numpy().min((1, 3))  # all four are hole
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    inner = torch.from_numpy(cv2.erode(quarters, kernel)) > 0
    assert inner.any()
    adam = torch.optim.Adam(z, lr=0.002)
    for loss in losses:
        out = refine._run(rear, tuple(z))
        known = (out - image).abs()[..., mask[0, 0] == 0].mean()
        deep = (halve(out) - small).abs()[..., inner].mean()
        assert loss == pytest.approx((known + deep).item(), rel=1e-5)
        for half, gradient in zip(z, torch.autograd.grad(known + deep, z)):
            half.grad = gradient
        adam.step()
    assert len(losses) == 4
    torch.testing.assert_close(large, torch.where(mask > 0, out, image).clamp(0, 1))


def test_recomputing_changes_memory_and_nothing_else(monkeypatch):
    image, mask = picture()
    generator = tiny()

    def run():
        return scales(SMALL, generator, image, mask)[-1]

    frugal, low = run(), peak_of(run)
    monkeypatch.setattr(refine, "checkpoint", lambda piece, z, **_: piece(z))
    lavish, high = run(), peak_of(run)
    assert torch.equal(frugal[0], lavish[0]) and frugal[1] == lavish[1]
    assert low < 0.75 * high


def test_the_generator_comes_back_as_it_was():
    generator = tiny().train()
    generator.model[1].bn_l.eval()
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    scales(SMALL, generator, *picture())
    assert generator.training and not generator.model[1].bn_l.training
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_flow_whatever_the_caller_forbids(mode):
    generator, (image, mask) = tiny(), picture()
    expected = scales(SMALL, generator, image, mask)[-1][1]
    assert expected[-1] < expected[0]
    with mode():
        assert scales(SMALL, generator, image.clone(), mask.clone())[-1][1] == expected


def test_a_small_hole_leaves_finite_losses():
    """Its eroded half is empty: the published loss is NaN there."""
    image, mask = picture()
    mask.zero_()[..., 40:46, 50:55] = 1
    large, losses = scales(SMALL, tiny(), image, mask)[-1]
    assert all(map(math.isfinite, losses)) and large.isfinite().all()
    assert losses[-1] < losses[0]  # on known pixels


@pytest.mark.parametrize("size", [(97, 110), (100, 140), (30, 20), (1, 9)])
def test_through_the_inpainter_any_size_keeps_what_is_known(size):
    inpaint = lama_ref.Inpainter(tiny(), strategy=Refine(steps=2, min_side=24, progress=False))
    image = torch.rand(2, 3, *size)
    mask = torch.rand(size) < 0.3
    mask[0, 0] = True
    image[..., mask] = torch.nan  # hidden: must not be looked at
    result = inpaint(image, mask)
    assert torch.equal(result[..., ~mask], image[..., ~mask])
    assert result.isfinite().all() and result.shape == image.shape
    alone = inpaint(image[1], mask)
    torch.testing.assert_close(alone, result[1])


def test_beyond_the_budget_the_fill_is_enlarged_again():
    settings = Refine(steps=2, min_side=48, budget=4900, progress=False)
    generator, (image, mask) = tiny(), picture((140, 200))
    small = scales(settings, generator, image, mask)[-1][0]
    assert small.shape[-2:] == (58, 83)
    result = lama_ref.Inpainter(generator, strategy=settings)(image, mask)
    assert result.shape == image.shape
    hole = mask[0, 0] > 0
    expected = F.interpolate(small, (140, 200), mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(result[..., hole], expected[..., hole])


def test_the_inpainter_returns_the_largest_size_whatever_is_hidden():
    generator, (image, mask) = tiny(), picture()
    expected = scales(SMALL, generator, image, mask)[-1][0]
    assert not expected.requires_grad
    other = torch.where(mask > 0, 1 - image, image)
    assert torch.equal(lama_ref.Inpainter(generator, strategy=SMALL)(other, mask), expected)


def test_progress_is_shown_when_asked_for(capsys):
    scales(Refine(steps=3, min_side=48, progress=True), tiny(), *picture())
    assert "refine" in capsys.readouterr().err
    scales(Refine(steps=3, min_side=48), tiny(), *picture())  # no terminal here
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "generator",
    [
        torch.nn.Identity(),
        tiny(output="none").model,
        lama_ref.build_generator("mini-fourier", blocks=0, width=4),
    ],
    ids=["no model", "a Sequential", "no blocks"],
)
def test_a_generator_that_cannot_be_split_is_named(generator):
    inpaint = lama_ref.Inpainter(generator, strategy="refine")
    with pytest.raises(ValueError, match=f"{type(generator).__name__} has none: use strategy"):
        inpaint(*picture())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("steps", 0), ("steps", float("inf")), ("min_side", 7), ("max_scales", 0), ("budget", 100),
     ("lr", 0), ("lr", float("nan"))],
)  # fmt: skip
def test_bad_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=f"{setting} .*{value}"):
        Refine(**{setting: value})
