"""The recorded results: their format, their Markdown and their verdicts, from the files alone.

What is asserted here is a contract with files that nobody measures again: the README, notebooks
08 and 09 and others' programs read them.
"""

import json
import re
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lama_ref.evaluation import held_out, report, verdicts
from lama_ref.evaluation.cards import CardConfig, evaluate
from lama_ref.evaluation.experiments import EXPERIMENTS, PHOTOGRAPHS, Experiment, beats
from lama_ref.evaluation.measure import METRICS
from lama_ref.evaluation.metrics import holm
from lama_ref.evaluation.reproduce import reproduce
from lama_ref.evaluation.verdicts import Numbers

FOLDER = Path(__file__).resolve().parents[1] / "data" / "results"
CARDS = [
    *(f"mini-fourier_{x}" for x in ("cause", "photographs_256", "scenes_256", "periodic_256")),
    *(f"trio_confirming_{x}" for x in ("scenes", "periodic")),
]
SHA256 = re.compile("[0-9a-f]{64}")
SETTING = {"masks", "size", "n", "hole_share", "masks_sha256", "pictures_sha256"}


def record(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_every_file_is_looked_at_here():
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert names == {*CARDS, *EXPERIMENTS, "memory"}


# --- format -----------------------------------------------------------------------------------
def check_triple(triple, best=None):
    """[value, low, high]; low and high are None where resampling would take hours."""
    value, low, high = triple
    assert isinstance(value, float | int)
    if low is None or high is None:
        assert low is high
    else:
        assert low <= value <= high or best == "ratio"


def check_models(models):
    for identity in models:
        if "file" in identity:
            assert set(identity) == {"file", "sha256"} and SHA256.fullmatch(identity["sha256"])
        else:
            assert set(identity) == {"implementation"}


def check_setting(cell):
    for key in ("masks_sha256", "pictures_sha256"):
        assert SHA256.fullmatch(cell[key])
    low, high = held_out.SHARE
    assert low <= cell["hole_share"] <= high and cell["n"] >= 2


def check_metrics(metrics):
    for name, about in metrics.items():
        assert set(about) == {"best", "variant"}
        assert about["best"] == METRICS[name].best
        assert about["variant"].startswith(METRICS[name].variant)  # then its network's hash


def check_card(card):
    assert list(card) == [
        "lama_ref", "pictures", "seed", "results", "hole_share", "intervals", "models", "rivals",
        "metrics", "cells",
    ]  # fmt: skip
    models, rivals, metrics = list(card["models"]), card["rivals"], set(card["metrics"])
    check_models(card["models"].values())
    check_metrics(card["metrics"])
    assert set(rivals) <= set(models) and card["hole_share"] == list(held_out.SHARE)
    for cell in card["cells"]:
        assert set(cell) - {"enlarged"} == SETTING | {"values", "ratios", "differences", "more"}
        check_setting(cell)
        assert list(cell["values"]) == list(cell["ratios"]) == list(cell["more"]) == models
        pairs = list(combinations(models, 2))
        assert list(cell["differences"]) == [f"{a} minus {b}" for a, b in pairs]
        of_ratio = {name for name in metrics if METRICS[name].ratio and rivals}
        for label in models:
            assert set(cell["values"][label]) == metrics
            assert set(cell["ratios"][label]) == of_ratio
            for name, triple in cell["values"][label].items():
                check_triple(triple)
                if name in of_ratio:
                    ratio = cell["ratios"][label][name]
                    check_triple(ratio, "ratio")
                    best = min(cell["values"][rival][name][0] for rival in rivals)
                    assert ratio[0] == pytest.approx(triple[0] / best, rel=1e-4)
            more = {f"{name} standard_error" for name in metrics if name.startswith("kernel")}
            more |= {"swd levels"} & {f"{name} levels" for name in metrics}
            assert set(cell["more"][label]) == more
            if "swd" in metrics:
                swd = np.mean(cell["more"][label]["swd levels"])
                assert swd == pytest.approx(cell["values"][label]["swd"][0], rel=1e-4)
        for a, b in pairs:
            found = cell["differences"][f"{a} minus {b}"]
            assert set(found) == metrics
            for name, triple in found.items():
                check_triple(triple)
                of_a, of_b = (cell["values"][label][name][0] for label in (a, b))
                rounding = 1e-4 * max(abs(of_a), abs(of_b))
                assert triple[0] == pytest.approx(of_a - of_b, abs=rounding)


def check_experiment(result):
    assert list(result) == [
        "experiment", "title", "cited", "remarks", "command", "arms", "metrics", "cells", "claims",
    ]  # fmt: skip
    name = result["experiment"]
    declared, arms = EXPERIMENTS[name], result["arms"]
    for key in ("title", "cited", "remarks"):
        assert result[key] == getattr(declared, key)
    assert result["command"].startswith(f"lama-ref reproduce {name}")
    check_metrics(result["metrics"])
    assert list(result["metrics"]) == list(declared.metrics) and list(arms) == list(declared.arms)
    for arm in arms.values():
        check_models(arm["models"])
        trained = {"steps", "seconds", "training"} if "steps" in arm else set()
        network = {"parameters"} if "file" in arm["models"][0] else set()
        assert set(arm) == {"models"} | network | trained
        assert not trained or arm["training"]["steps"] == arm["steps"] and arm["seconds"] >= 0
    places = [(cell["data"], cell["size"], cell["masks"]) for cell in result["cells"]]
    assert places == list(product(declared.data, declared.sizes, declared.masks))
    pairs = [f"{a} minus {b}" for a, b in combinations(arms, 2)]
    for cell in result["cells"]:
        assert set(cell) - {"enlarged"} == SETTING | {"data", "values", "seeds", "differences"}
        check_setting(cell)
        assert list(cell["values"]) == list(cell["seeds"]) == list(arms)
        assert list(cell["differences"]) == pairs
        for arm, about in arms.items():
            assert list(cell["values"][arm]) == list(cell["seeds"][arm]) == list(declared.metrics)
            for metric, values in cell["seeds"][arm].items():
                check_triple(cell["values"][arm][metric])
                assert len(values) == len(about["models"])
                assert cell["values"][arm][metric][0] == pytest.approx(np.mean(values), rel=1e-4)
        for a, b in combinations(arms, 2):
            for metric, triple in cell["differences"][f"{a} minus {b}"].items():
                check_triple(triple)
                gap = cell["values"][a][metric][0] - cell["values"][b][metric][0]
                assert triple[0] == pytest.approx(gap, abs=1e-5)
    stated = [(claim["claim"], claim["metric"]) for claim in result["claims"]]
    assert stated == [(claim.text, claim.metric) for claim in declared.claims]
    for claim in result["claims"]:
        assert list(claim) == [
            "claim", "metric", "difference", "n", "seeds", "spread_from_seeds", "verdict",
            "would_decide", "p",
        ]  # fmt: skip
        check_triple(claim["difference"])
        assert claim["verdict"] in ("reproduced", "opposite", "undecided")
        assert bool(claim["would_decide"]) == (claim["verdict"] == "undecided")
        assert 0 <= claim["spread_from_seeds"] <= 1


@pytest.mark.parametrize("name", CARDS)
def test_recorded_cards(name):
    check_card(record(name))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_recorded_experiments(name):
    result = record(name)
    check_experiment(result)
    assert result["experiment"] == name
    for cell in result["cells"]:
        if cell["size"] == 64 and cell["masks"] != "segmentation":  # still the same masks today
            holes = held_out.holes(cell["masks"], 64, cell["n"], 1_000_000)
            assert held_out.masks_sha256(holes) == cell["masks_sha256"]
            if cell["data"] != PHOTOGRAPHS:
                pictures = held_out.Pictures(cell["data"], 64, cell["n"])
                assert pictures.sha256() == cell["pictures_sha256"]


def test_recorded_memory():
    result = record("memory")
    assert list(result) == ["command", "what", "torch", "threads", "machine", "cases"]
    cases = [(c["model"], c["strategy"], c["pixels"]) for c in result["cases"]]
    sides = ("1024x1024", "2048x2048")
    models, strategies = ("mini-fourier", "big-lama"), ("whole", "crop", "refine")
    assert cases == list(product(models, strategies, sides))
    for case in result["cases"]:
        assert list(case) == [
            "model", "strategy", "pixels", "peak_gib", "before_gib", "estimate_gib",
            "bytes_per_pixel", "cpu_seconds",
        ]  # fmt: skip
    peak = {case: row["peak_gib"] for case, row in zip(cases, result["cases"])}
    assert all(peak[m, "crop", side] < peak[m, "whole", side] for m, side in product(models, sides))
    for case in result["cases"]:  # workspaces take no more than live tensors
        rise = (case["peak_gib"] - case["before_gib"]) / case["estimate_gib"]
        assert case["strategy"] != "whole" or 1 < rise < 2


def test_what_is_measured_today_has_the_same_format(tmp_path, monkeypatch):
    config = CardConfig(
        weights="mini-fourier", rivals="mean,telea", n=20, sizes="32", metrics="hole-l1,swd,psnr"
    )
    check_card(evaluate(config, tmp_path, progress=False))
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    check_card(card)
    written = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert written == report.text(card) + "\n"
    arms = {"mini-fourier": "mini-fourier", "mean": "mean"}
    claims = (beats("mini-fourier", "mean", "hole-l1", size=32),)
    declared = Experiment("T", arms, claims, "cited", "remarks", sizes=(32, 48), n=5)
    monkeypatch.setitem(EXPERIMENTS, "table1", declared)
    check_experiment(reproduce("table1", tmp_path, progress=False))
    result = json.loads((tmp_path / "table1.json").read_text(encoding="utf-8"))
    check_experiment(result)
    written = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert written == report.text(result) + "\n"


# --- Markdown ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*CARDS, *EXPERIMENTS])
def test_markdown_is_what_is_written_today(name):
    written = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert report.text(record(name)) + "\n" == written


# --- verdicts ---------------------------------------------------------------------------------
def half_width(pictures, of_arms, n):
    """Of an interval with this variance over pictures, and seeds' sums {arm: (k,)}."""
    parts = [(np.var(x, ddof=1) / len(x), len(x) - 1) for x in of_arms.values() if len(x) > 1]
    parts.append((pictures, n - 1))
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / f for v, f in parts)
    return stats.t.ppf(0.975, freedom) * np.sqrt(variance)


def judged_again(claim, result, recorded):
    """The verdict on a claim from what is recorded: the draws that are not are made up to fit."""
    cells = {(c["data"], c["masks"], c["size"]): c for c in result["cells"]}
    seeds = [np.array(cells[place]["seeds"][arm][claim.metric]) for _, arm, place in claim.terms]
    of_arms = {}
    for (factor, arm, _), values in zip(claim.terms, seeds):
        of_arms[arm] = of_arms.get(arm, 0) + factor * values
    spread = sum(np.var(x, ddof=1) / len(x) for x in of_arms.values() if len(x) > 1)
    n = min(cells[place]["n"] for _, _, place in claim.terms)
    half = (recorded["difference"][2] - recorded["difference"][1]) / 2
    if spread == 0:
        pictures = (half / stats.t.ppf(0.975, n - 1)) ** 2
    else:
        share = recorded["spread_from_seeds"] + np.array([-0.005, 0.005])  # as it is rounded
        low, high = spread / share.clip(1e-9, 1)[::-1] - spread
        possible = np.linspace(low, min(high, half**2), 20_000)  # t is above 1
        pictures = possible[np.argmin(np.abs(half_width(possible, of_arms, n) - half))]
    noise = np.sqrt(pictures) * np.array([1, -1])
    found = {}
    for i, ((_, arm, place), values) in enumerate(zip(claim.terms, seeds)):
        draws = values[:, None] + (noise if i == 0 else 0 * noise)
        found[place, arm, claim.metric] = Numbers(arm, values, draws, cells[place]["n"])
    return verdicts.judge(claim, found, set())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_verdicts_from_the_record_are_the_recorded_ones(name):
    result = record(name)
    for claim, recorded in zip(EXPERIMENTS[name].claims, result["claims"], strict=True):
        again = judged_again(claim, result, recorded)
        difference, expected = again.pop("difference"), recorded["difference"]
        scale = abs(expected[2] - expected[1])
        np.testing.assert_allclose(difference, expected, atol=2e-3 * scale)
        advice, before = again.pop("would_decide"), recorded["would_decide"]
        assert re.sub(r"\d+", "", advice) == re.sub(r"\d+", "", before)
        counts = [list(map(int, re.findall(r"\d+", text))) for text in (advice, before)]
        np.testing.assert_allclose(*counts, rtol=0.02)  # "about" so many, rounded up
        p, recorded_p = again.pop("p"), recorded["p"]
        assert p == pytest.approx(recorded_p, rel=0.3) or max(p, recorded_p) < 1e-6
        assert (recorded_p < 0.05) == (recorded["verdict"] != "undecided")
        share = again.pop("spread_from_seeds")
        assert share == pytest.approx(recorded["spread_from_seeds"], abs=0.0101)
        assert again == {key: recorded[key] for key in again}


def test_holms_correction():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])  # his own example
    assert holm(np.array([0.9, 0.8])).max() == 1 and len(holm(np.array([]))) == 0
    rng = np.random.default_rng(0)  # nothing true: any decision in 5 % of the tables
    assert np.mean([holm(rng.random(12)).min() < 0.05 for _ in range(4000)]) < 0.06


def test_what_is_left_after_holms_correction():
    records = {name: record(name) for name in EXPERIMENTS}
    left = {name: report.after_holm(one["claims"]) for name, one in records.items()}
    assert "opposite" not in left["table3"] and left["table4"].count("opposite") == 1
    seen = [name for name in records if name != "table1"]  # those that count training runs
    claims = [claim for name in seen for claim in records[name]["claims"]]
    assert len(claims) == 78 and sum(c["verdict"] != "undecided" for c in claims) == 54
    assert sum(v != "undecided" for name in seen for v in left[name]) == 41
    assert sum(v != "undecided" for v in report.after_holm(claims)) == 33  # all as one table


def test_the_confirming_run_stands_as_it_was_declared():
    cards = {name: record(f"trio_confirming_{name}") for name in ("scenes", "periodic")}
    p = []
    for name, size, metric, sign in (
        ("scenes", 64, "hole-l1", -1), ("scenes", 512, "hole-l1", -1), ("scenes", 512, "swd", -1),
        *(("periodic", side, "hole-correlation", 1) for side in (64, 128, 256)),
    ):  # fmt: skip
        (cell,) = (c for c in cards[name]["cells"] if c["size"] == size)
        assert cell["n"] == 80 and cards[name]["seed"] == 7_000_000
        for rival in ("regular", "dilated"):
            value, low, high = cell["differences"][f"trio-fourier minus trio-{rival}"][metric]
            assert value * sign > 0
            p.append(2 * stats.norm.sf(abs(value) / ((high - low) / 2 / 1.96)))
    assert len(p) == 12 and holm(np.array(p)).max() < 0.05
