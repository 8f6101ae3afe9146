"""The race of variants: what it plans, that it goes on where it stopped, and what it says."""

import json

import pytest

from lama_ref.evaluation import race as races
from lama_ref.evaluation import report, reproduce
from lama_ref.runs.disk import read_config

ASKED = {"variants": ["ffc", "identity"], "minutes": 5.0, "seeds": 1}


def planned(folder, **changes):
    """A folder in which it is known how many steps fit."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = ASKED | {"steps": 2, "seconds": {"ffc": 0.3, "identity": 0.2}}
    plan |= {"equal_time": {"ffc": 2, "identity": 3}} | changes
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


@pytest.mark.slow
def test_a_race_ranks_and_goes_on(tmp_path, monkeypatch):
    folder, trained = planned(tmp_path / "race"), []
    train = reproduce.train

    def spy(config, path, **options):
        trained.append(path)
        return train(config, path, **options)

    monkeypatch.setattr(reproduce, "train", spy)
    options = {"minutes": 5.0, "seeds": 1, "n": 2, "progress": False}
    result = races.race(["ffc", "identity"], folder, **options)
    assert [path.name for path in trained] == ["ffc-2-0", "identity-2-0", "identity-3-0"]
    config = read_config(folder / "identity-3-0")
    assert config.spectral == "identity" and config.steps == 3 and config.weights.adversarial == 0
    shown = [row["hole-l1 scenes 64 px"][0] for row in result["ranking"]]
    assert shown == sorted(shown) and len(shown) == 2
    (cell,) = (c for c in result["cells"] if c["data"] == "scenes" and c["size"] == 64)
    best = result["ranking"][0]
    assert best["hole-l1 scenes 64 px"] == cell["values"][best["variant"]]["hole-l1"]
    claims = [claim["claim"] for claim in result["claims"]]
    assert "identity beats ffc (wide, 64 px)" in claims and len(claims) == 8
    assert {claim["verdict"] for claim in result["claims"]} == {"undecided"}  # one seed
    text = (folder / "race.md").read_text(encoding="utf-8")
    assert text.index("## Ranking") < text.index("## Verdicts") and "The paper" not in text
    assert text == report.text(json.loads((folder / "race.json").read_text())) + "\n"
    trained.clear()
    again = races.race(["ffc", "identity"], folder, **options)
    assert not trained and again == result


def test_equal_seconds_are_more_steps_for_the_quick(tmp_path, monkeypatch):
    monkeypatch.setattr(races, "_seconds", {"ffc": 0.3, "identity": 0.2}.get)
    plan = races._plan(["ffc", "identity"], tmp_path, 10, 2)
    assert plan["steps"] == 272  # of 300 s a seed: 0.3 + 0.2 for equal steps, 2 x 0.3 for more
    assert plan["equal_time"] == {"ffc": 272, "identity": 408}
    with pytest.raises(ValueError, match="are 13 steps for each of 2 variants.*take more minutes"):
        races._plan(["ffc", "identity"], tmp_path / "other", 0.5, 2)


@pytest.mark.parametrize(
    ("variants", "options", "error"),
    [
        (["ffc"], {}, "two variants or more"),
        (["ffc", "ffc"], {}, "each once"),
        (["ffc", "no-such"], {}, "no spectral variant 'no-such'"),
        (["ffc", "dct"], {"minutes": 0}, "above 0"),
        (["ffc", "dct"], {"seeds": 0}, "above 0"),
        (["ffc", "dct"], {}, "holds another race"),
    ],
)
def test_what_is_no_race_is_refused_before_anything_is_trained(tmp_path, variants, options, error):
    folder = planned(tmp_path / "race")
    with pytest.raises(ValueError, match=error):
        races.race(variants, folder, **options)
    assert [path.name for path in folder.iterdir()] == ["plan.json"]
