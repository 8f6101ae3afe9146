"""Experiments: intervals by the textbook, verdicts that follow them, a whole one in small."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lama_ref import cli
from lama_ref.evaluation import held_out, reproduce
from lama_ref.evaluation.experiments import EXPERIMENTS, RUNS, Experiment, beats, loses_less
from lama_ref.evaluation.verdicts import Numbers, estimate, judge

PLACE = ("scenes", "wide", 64)


def numbers(arm, values, spread=0.0, n=50, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, 400)
    values = np.array(values, float)
    return Numbers(arm, values, values[:, None] + noise, n)


def test_without_spread_over_pictures_it_is_welchs_test():
    a, b = [0.11, 0.14, 0.12], [0.19, 0.15, 0.16, 0.18]
    terms = [(1, numbers("a", a)), (-1, numbers("b", b))]
    value, low, high, pictures, seeds, p = estimate(terms)
    welch = stats.ttest_ind(a, b, equal_var=False)
    expected = welch.confidence_interval(0.95)
    assert p == pytest.approx(welch.pvalue, rel=1e-4)
    np.testing.assert_allclose((low, high), expected, rtol=1e-4)
    assert value == pytest.approx(np.mean(a) - np.mean(b), rel=1e-5)
    assert pictures < 1e-30 and seeds == pytest.approx(
        np.var(a, ddof=1) / 3 + np.var(b, ddof=1) / 4
    )


def test_of_one_seed_it_is_students_interval_over_pictures():
    rng = np.random.default_rng(0)
    errors = rng.normal(0.3, 0.1, 40)
    draws = rng.choice(errors, (20_000, 40)).mean(1)[None]
    found = estimate([(1, Numbers("a", errors.mean(keepdims=True), draws, 40))])
    half = stats.t.ppf(0.975, 39) * errors.std() / np.sqrt(40)
    np.testing.assert_allclose(found[1:3], (errors.mean() - half, errors.mean() + half), rtol=5e-3)


def test_what_seeds_share_between_places_cancels():
    near, far = [0.1, 0.2, 0.3], [0.15, 0.25, 0.35]  # each seed loses 0.05
    terms = [(1, numbers("a", far)), (-1, numbers("a", near))]
    value, low, high, *_ = estimate(terms)
    np.testing.assert_allclose((value, low, high), 0.05, rtol=1e-5)


@pytest.mark.slow
def test_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        seeds = rng.normal(0, 1.0, (2, 3))
        shared = rng.normal(0, 0.5)  # error of the pictures, seen by the bootstrap's spread
        draws = seeds[0][:, None] + rng.normal(0, 0.5, 400)
        a = Numbers("a", seeds[0] + shared, draws + shared, 50)
        b = Numbers("b", seeds[1], np.repeat(seeds[1][:, None], 400, 1), 50)
        _, low, high, *_ = estimate([(1, a), (-1, b)])
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.99


def verdict(a, b, metric="hole-l1", spread=0.0, lone=(), expected=-1, **more):
    found = {(PLACE, "a", metric): numbers("a", a, spread), (PLACE, "b", metric): numbers("b", b)}
    claim = replace(beats("a", "b", metric), expected=expected)
    return judge(claim, found, set(lone))


def test_verdicts():
    low, high, near = [0.10, 0.11, 0.12], [0.20, 0.21, 0.22], [0.11, 0.13, 0.14]
    assert verdict(low, high)["verdict"] == "reproduced"
    assert verdict(high, low)["verdict"] == "opposite"
    assert verdict(high, low, expected=1)["verdict"] == "reproduced"
    assert verdict(high, low, "hole-correlation")["verdict"] == "reproduced"  # more is better
    assert verdict(low, high, "hole-correlation")["verdict"] == "opposite"
    undecided = verdict(low, near)
    assert (
        undecided["verdict"] == "undecided" and "seeds of each (now 3)" in undecided["would_decide"]
    )
    assert undecided["spread_from_seeds"] == 1
    noisy = verdict(low, high, spread=0.3)
    assert noisy["verdict"] == "undecided" and "pictures (now 50)" in noisy["would_decide"]
    lone = verdict(low, high, lone="a")
    assert lone["verdict"] == "undecided" and "more than one seed" in lone["would_decide"]
    same = verdict(low, low)
    assert "hardly anything" in same["would_decide"]


def test_more_seeds_as_announced_decide():
    """The announced number of seeds, of the same mean and spread, brings the interval off zero."""
    a, b = [0.10, 0.12, 0.14], [0.13, 0.15, 0.17]
    announced = int(verdict(a, b)["would_decide"].split()[1])
    assert 3 < announced < 20
    times = -(-announced // 3)
    assert verdict(a * times, b * times)["verdict"] == "reproduced"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_declarations_hold_together(name):
    experiment = EXPERIMENTS[name]
    for claim in experiment.claims:
        assert claim.metric in experiment.metrics
        for _, arm, (data, masks, size) in claim.terms:
            assert arm in experiment.arms and data in experiment.data
            assert masks in experiment.masks and size in experiment.sizes
    assert len({(c.text, c.metric) for c in experiment.claims}) == len(experiment.claims)
    trained = [RUNS[run] for run in experiment.arms.values() if run in RUNS]
    assert len({(c.steps, c.stages, c.lr) for c in trained}) <= 1  # equal steps


@pytest.fixture
def small(monkeypatch):
    """An experiment of seconds in place of table 4."""
    quick = replace(
        RUNS["regular"], steps=6, l1_until=0.5, stages=((0.0, 32, 2),), settle=2, features=None
    )
    quick = replace(quick, weights=replace(quick.weights, perceptual=0), precision="float32")
    monkeypatch.setitem(RUNS, "one", quick)
    monkeypatch.setitem(RUNS, "other", replace(quick, masks="train-narrow"))
    claims = (
        beats("a", "mean", "hole-l1", size=32),
        loses_less("a", "b", "hole-l1", ("scenes", "wide", 32), ("scenes", "wide", 64)),
    )
    arms = {"a": "one", "b": "other", "mean": "mean"}
    more = dict(cited="c", remarks="r.", sizes=(32, 64), n=4, metrics=("hole-l1", "swd"))
    monkeypatch.setitem(EXPERIMENTS, "table4", Experiment("T", arms, claims, **more))


@pytest.mark.slow
def test_a_whole_experiment(small, tmp_path, monkeypatch):
    found = reproduce.reproduce("table4", tmp_path, seeds=2, progress=False)
    assert json.loads((tmp_path / "table4.json").read_text()) == json.loads(json.dumps(found))
    assert found["arms"]["a"]["steps"] == 6 and len(found["arms"]["a"]["models"]) == 2
    logs = [(tmp_path / f"one-{i}" / "log.jsonl").read_text().splitlines()[-1] for i in (0, 1)]
    seconds = [json.loads(line)["seconds"] for line in logs]  # of the whole run
    assert found["arms"]["a"]["seconds"] == round(np.median(seconds))
    assert set(found["arms"]["mean"]) == {"models"}
    keys = {"models", "parameters", "steps", "seconds", "training"}
    assert set(found["arms"]["a"]) == set(found["arms"]["b"]) == keys
    small_cell, large_cell = found["cells"]
    assert (small_cell["size"], large_cell["size"], small_cell["n"]) == (32, 64, 4)
    for cell in (small_cell, large_cell):
        a, mean = cell["values"]["a"]["hole-l1"], cell["values"]["mean"]["hole-l1"]
        assert a[0] == pytest.approx(np.mean(cell["seeds"]["a"]["hole-l1"]), rel=1e-4)
        assert a[1] < a[0] < a[2]
        difference = cell["differences"]["a minus mean"]["hole-l1"][0]
        assert difference == pytest.approx(a[0] - mean[0], abs=1e-5)
    first, second = found["claims"]
    assert first["difference"][0] == small_cell["differences"]["a minus mean"]["hole-l1"][0]
    growth = [c["differences"]["a minus b"]["hole-l1"][0] for c in (large_cell, small_cell)]
    assert second["difference"][0] == pytest.approx(growth[0] - growth[1], abs=1e-5)
    written = (tmp_path / "table4.md").read_text()
    assert first["verdict"] in written and small_cell["masks_sha256"][:12] in written
    monkeypatch.setattr(reproduce, "train", None)  # what is trained is not trained again
    again = reproduce.reproduce("table4", tmp_path, seeds=2, progress=False)
    assert again["cells"] == found["cells"]


@pytest.mark.slow
def test_a_quick_one_with_one_seed_decides_nothing_about_training(small, tmp_path, capsys):
    quick = ["reproduce", "table4", "--seeds", "1", "--steps", "2", "--n", "3"]
    with pytest.raises(SystemExit) as end:
        cli.main([*quick, "--folder", str(tmp_path)])
    assert end.value.code == 0
    assert "undecided" in capsys.readouterr().out
    found = json.loads((tmp_path / "table4.json").read_text())
    assert {c["verdict"] for c in found["claims"]} == {"undecided"}
    assert {c["n"] for c in found["claims"]} == {3} and found["arms"]["a"]["steps"] == 2
    assert found["command"] == " ".join(["lama-ref", *quick])
    assert (tmp_path / "one-2-0").is_dir() and not (tmp_path / "one-0").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(name="table5"), "choose from table1"),
        (dict(seeds=0), "at least 1, not 0 and None"),
        (dict(steps=0), "at least 1, not 3 and 0"),
        (dict(n=1), "hole-l1 of 1 pictures would mean nothing"),
    ],
)
def test_refusals(given, said, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "train", lambda *a, **k: pytest.fail("too late"))
    with pytest.raises(ValueError, match=said):
        reproduce.reproduce(**({"name": "table2", "folder": tmp_path} | given))


# --- pictures -----------------------------------------------------------------------------------
def test_periodic_scenes_repeat_and_tilted_ones_do_not():
    rng = np.random.default_rng(3)
    for _ in range(5):
        one = held_out.scene("periodic", rng)
        assert one.ground.family != "plain" and not one.things
        m = np.array(one.ground.matrix).reshape(2, 2)
        period = 2 if one.ground.family == "brick" else 1  # rows are shifted: by 1/2, 1/3 or none
        steps = [6, 6] if period == 2 else [1, 1]
        moved = replace(
            one, ground=replace(one.ground, offset=tuple(np.add(one.ground.offset, steps).tolist()))
        )
        np.testing.assert_allclose(one.render(64)[0], moved.render(64)[0], atol=2e-4)
        assert np.linalg.det(m) != 0
    same = [held_out.scene(f"perspective:{s}", np.random.default_rng(7)) for s in (0, 1)]
    assert same[0].ground.matrix == same[1].ground.matrix
    assert np.hypot(*same[1].ground.tilt) == pytest.approx(1) and same[0].ground.tilt == (0, 0)


@pytest.mark.parametrize("kind", ["perspective", "perspective:2", "perspective:x", "periodic:1"])
def test_kinds_of_scenes_that_are_not(kind):
    with pytest.raises(ValueError, match="perspective:S"):
        held_out.Pictures(kind, 32, 2)
