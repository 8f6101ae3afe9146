"""Evaluation cards: the right numbers, said in full, not computed twice, refused if meaningless."""

import json

import numpy as np
import pytest
import torch
from helpers import run
from PIL import Image

from lama_ref.evaluation import baselines, cards, held_out, measure, metrics, report
from lama_ref.evaluation.cards import CardConfig, evaluate
from lama_ref.evaluation.texture import TexturePatches, sliced_wasserstein
from lama_ref.generator import build_generator
from lama_ref.inference import Inpainter
from lama_ref.pictures import panels
from lama_ref.weights import format, names
from lama_ref.weights.files import checksum

SMALL = dict(weights="mini-fourier", n=3, sizes="64", metrics="hole-l1,psnr,swd", seed=5)


def card_of(output=None, **changes):
    return evaluate(CardConfig(**(SMALL | changes)), output, progress=False)


def filled(images, masks):
    """What mini-fourier makes of them."""
    return np.moveaxis(Inpainter("mini-fourier")(np.moveaxis(images, 1, -1), masks), -1, 1)


def test_numbers_by_hand():
    card = card_of()
    (cell,) = card["cells"]
    images, masks = held_out.pictures("scenes", 64, 3, 5), held_out.holes("wide", 64, 3, 5)
    assert cell["masks_sha256"] == held_out.masks_sha256(masks) and cell["n"] == 3
    fills = {
        name: np.stack([baselines.BASELINES[name](i, m) for i, m in zip(images, masks)])
        for name in ("telea", "navier-stokes")
    }
    fills["mini-fourier"] = filled(images, masks)
    assert set(cell["values"]) == set(card["models"]) == set(fills)
    patches, counts = TexturePatches(images, masks), metrics.bootstrap_counts(3)
    errors = {k: metrics.hole_l1(v, images, masks) for k, v in fills.items()}
    for name, result in fills.items():
        found = cell["values"][name]
        value, low, high = found["hole-l1"]
        assert value == pytest.approx(errors[name].mean(), rel=1e-4)
        expected = np.quantile(counts @ errors[name] / 3, [0.025, 0.975])
        np.testing.assert_allclose((low, high), expected, rtol=1e-4)
        levels = sliced_wasserstein(patches.project(result), patches.real)
        assert found["swd"][0] == pytest.approx(np.mean(levels), rel=1e-4)
        assert cell["more"][name]["swd levels"] == pytest.approx(levels, rel=1e-4)
        assert found["swd"][1] <= found["swd"][0] <= found["swd"][2]
    a, b, c = (counts @ errors[k] for k in ("mini-fourier", "telea", "navier-stokes"))
    ratio = errors["mini-fourier"].sum() / min(errors[k].sum() for k in ("telea", "navier-stokes"))
    expected = [ratio, *np.quantile(a / np.minimum(b, c), [0.025, 0.975])]
    np.testing.assert_allclose(cell["ratios"]["mini-fourier"]["hole-l1"], expected, rtol=1e-3)
    assert "psnr" not in cell["ratios"]["mini-fourier"]  # decibels have no ratio
    expected = metrics.paired_bootstrap(errors["mini-fourier"], errors["telea"], draws=2000)
    found = cell["differences"]["mini-fourier minus telea"]["hole-l1"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_the_same_card_from_any_batch():
    assert card_of(weights="mean", batch=3) == card_of(weights="mean", batch=2)


def test_every_default_metric_and_biharmonic():
    card = card_of(weights="biharmonic,mean", metrics="", n=20, sizes="32", rivals="telea")
    (cell,) = card["cells"]
    assert set(card["metrics"]) == set(measure.NO_DOWNLOAD) == set(cell["values"]["mean"])
    assert {m for m in measure.METRICS if measure.METRICS[m].ratio} & set(card["metrics"]) == set(
        cell["ratios"]["mean"]
    )
    for triple in cell["values"]["mean"].values():
        assert triple[1] <= triple[0] <= triple[2]
    assert cell["more"]["mean"]["kernel-segmentation standard_error"] > 0
    values = cell["values"]
    assert values["biharmonic"]["ring-colour"][0] < values["mean"]["ring-colour"][0]
    assert "kernel-segmentation" not in card_of(n=19, metrics="", sizes="32")["metrics"]


def test_frechet_of_our_own_network():
    card = card_of(weights="mean", n=64, sizes="32", metrics="frechet-segmentation", rivals="telea")
    cell = card["cells"][0]
    value, low, high = cell["values"]["mean"]["frechet-segmentation"]
    assert low < high and value > 0
    variant = card["metrics"]["frechet-segmentation"]["variant"]
    assert "neither FID" in variant and names.card("segmentation-dilated")["sha256"][:12] in variant


def test_panels_show_holes_results_and_originals(tmp_path):
    card_of(tmp_path, panels=2, sizes="64", metrics="hole-l1", rivals="mean", data="samples")
    (path,) = tmp_path.glob("*.jpg")
    page = np.asarray(Image.open(path), np.float64) / 255
    assert path.name == "card_wide_64.jpg" and page.shape == (4 * 160, 90 + 2 * 160, 3)
    images, masks = held_out.pictures("samples", 64, 2, 5), held_out.holes("wide", 64, 3, 5)[:2]
    means = np.stack([baselines.mean_fill(i, m) for i, m in zip(images, masks)])
    holes = np.where(masks[:, None], panels.RED, images)
    for row, expected in enumerate([holes, filled(images, masks), means, images]):
        for i in range(2):
            tile = page[row * 160 : row * 160 + 160, 90 + i * 160 : 250 + i * 160]
            error = abs(tile.mean((0, 1)) - expected[i].mean((1, 2)))  # resized, and JPEG
            assert error.max() < 0.02, (row, i)
    with pytest.raises(ValueError, match="panels need an output"):
        card_of(panels=2)


def test_weights_are_known_by_their_hash(tmp_path):
    for seed in (0, 1):
        torch.manual_seed(seed)
        (tmp_path / f"run{seed}").mkdir()
        path = tmp_path / f"run{seed}" / "weights.safetensors"
        format.save(build_generator("mini-fourier").eval(), path)
    both = f"{tmp_path / 'run0'},{tmp_path / 'run1' / 'weights.safetensors'}"
    card = card_of(tmp_path / "out", weights=both, metrics="hole-l1", sizes="32", rivals="")
    assert list(card["models"]) == ["run0", "run1"] and str(tmp_path) not in json.dumps(card)
    digest = checksum(tmp_path / "run1" / "weights.safetensors")
    assert card["models"]["run1"] == {"file": "weights.safetensors", "sha256": digest}
    values = card["cells"][0]["values"]
    assert values["run0"] != values["run1"] and "run0 minus run1" in card["cells"][0]["differences"]
    again = card_of(weights=f"other={tmp_path / 'run1'}", metrics="hole-l1", sizes="32", rivals="")
    assert again["cells"][0]["values"]["other"] == values["run1"]
    with pytest.raises(ValueError, match="two models are called 'run1'"):
        card_of(weights=f"{tmp_path / 'run1'},run1=telea")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(metrics="fid"), ValueError, "fid of 3 pictures.*needs 2,048: use swd"),
        (dict(metrics="fid", n=2000), ValueError, "needs 2,048: use swd or kernel-segmentation"),
        (dict(metrics="kernel-segmentation"), ValueError, "needs 20: use swd$"),
        (dict(metrics="frechet-segmentation", n=63), ValueError, "needs 64"),
        (dict(metrics="hole-l2"), ValueError, "no metric 'hole-l2': choose from l1, psnr"),
        (dict(metrics="lpips-vgg"), FileNotFoundError, "lama-ref weights fetch lpips-vgg"),
        (dict(weights="mini"), ValueError, "no weights 'mini'.*mini-fourier.*telea"),
        (dict(weights="no/file.ckpt"), FileNotFoundError, "no/file.ckpt"),
        (dict(data="no/such/folder"), FileNotFoundError, "no/such/folder"),
        (dict(masks="broad"), ValueError, "no mask preset 'broad'"),
        (dict(masks=""), ValueError, "no mask preset ''"),
        (dict(sizes=","), ValueError, "sizes must be whole numbers from 16.*','"),
        (dict(weights="", rivals=""), ValueError, "nothing to measure"),
        (dict(n=1), ValueError, "n must be at least 2, not 1"),
        (dict(sizes="64,x"), ValueError, "sizes must be whole numbers from 16.*'64,x'"),
        (dict(sizes="8"), ValueError, "from 16"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, error, message, monkeypatch):
    monkeypatch.setattr(Inpainter, "__call__", lambda *a: pytest.fail("too late"))
    with pytest.raises(error, match=message):
        card_of(**change)


def test_nan_is_no_number(monkeypatch):
    monkeypatch.setitem(baselines.BASELINES, "mean", lambda image, mask: image * np.nan)
    with pytest.raises(ValueError, match="NaN"):
        card_of(weights="mean")


def test_no_interval_where_none_was_drawn():
    scores = {k: {"fid": metrics.Score(3.0, None)} for k in "ab"}
    found = report.summary(scores, ["a"])
    assert found["values"]["b"]["fid"] == [3.0, None, None]
    assert found["ratios"]["b"]["fid"] == [1.0, None, None]
    assert report.number([3.0, None, None]) == "3.000"


def test_command_line(tmp_path, capsys):
    models = ["--weights", "mean,biharmonic", "--masks", "wide,segmentation"]
    places = ["--sizes", "32,48", "--n", "2", "-o", tmp_path / "card.json"]
    assert run("evaluate", *models, *places) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "card.md").read_text() in text
    card = json.loads((tmp_path / "card.json").read_text())
    assert [(c["masks"], c["size"]) for c in card["cells"]] == [
        ("wide", 32), ("segmentation", 32), ("wide", 48), ("segmentation", 48),
    ]  # fmt: skip
    assert "ratio to the better of telea and navier-stokes" in text and "OpenCV" in text


def test_lists_allow_spaces():
    assert cards._split(" a, b ,,c") == ["a", "b", "c"]
