"""From scores to what a reader wants: intervals, ratios, differences; and records as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from .measure import METRICS
from .metrics import Score, holm, interval

ARROWS = {"low": "↓", "high": "↑", "zero": "→ 0"}


def short(value: float, digits: int = 6) -> float:
    """A number with so many digits, for files."""
    return float(f"{value:.{digits}g}")


# --------------------------------------------------------------------------- of one place
def summary(scores: dict[str, dict[str, Score]], rivals: list[str]) -> dict[str, Any]:
    """Values, ratios to the best rival, and differences, each as [value, low, high].

    Low and high are None where resampling would take hours. The ratio's interval takes the best
    rival of each resample anew.

    Args:
        scores: by model and metric.
    """

    def ratio(own: Any, *others: Any) -> Any:
        return own / np.maximum(np.minimum.reduce(others), 1e-12)

    metrics = list(next(iter(scores.values())))
    best = {m: min((scores[rival][m].value for rival in rivals), default=0) for m in metrics}
    divided = [m for m in metrics if METRICS[m].ratio and best[m] > 0]
    rounded = np.vectorize(short, otypes=[float])
    return {
        "values": {
            a: {m: _triple(np.positive, of[m]) for m in metrics} for a, of in scores.items()
        },
        "ratios": {
            a: {m: _triple(ratio, of[m], *(scores[rival][m] for rival in rivals)) for m in divided}
            for a, of in scores.items()
        },
        "differences": {
            f"{a} minus {b}": {m: _triple(np.subtract, scores[a][m], scores[b][m]) for m in metrics}
            for a, b in combinations(scores, 2)
        },
        "more": {
            a: {f"{m} {k}": rounded(v).tolist() for m in metrics for k, v in of[m].more.items()}
            for a, of in scores.items()
        },
    }


def _triple(function: Callable[..., Any], *scores: Score) -> list[float | None]:
    """A function of scores, and its interval over their draws if there are any."""
    value, draws = function(*(score.value for score in scores)), [s.draws for s in scores]
    drawn = not any(draw is None for draw in draws)
    low, high = interval(function(*draws)) if drawn else (None, None)
    return [None if v is None else short(v, 5) for v in (value, low, high)]


# --------------------------------------------------------------------------- Markdown
def text(record: dict[str, Any]) -> str:
    """A card, or the result of an experiment, as Markdown; nothing but the record is needed."""
    blocks = _experiment(record) if "experiment" in record else _card(record)
    variants = [[name, metric["variant"]] for name, metric in record["metrics"].items()]
    return "\n\n".join([*blocks, "## Metrics", markdown(["metric", "variant"], variants)])


def _card(card: dict[str, Any]) -> Iterator[str]:
    """Every number with n, hashes, size, variant and interval; models to the right."""
    yield f"# Evaluation on {card['pictures']}"
    yield (
        f"Results are {card['results']}; masks hide {card['hole_share'][0]:.0%} to "
        f"{card['hole_share'][1]:.0%}; seed {card['seed']}; lama_ref {card['lama_ref']}. Brackets: "
        f"intervals ({card['intervals']})."
    )
    rows = [[label, ", ".join(model.values())] for label, model in card["models"].items()]
    yield markdown(["model", "file and its SHA-256, or implementation"], rows)
    labels, rivals = list(card["models"]), card["rivals"]
    digests = [model.get("sha256", "")[:8] for model in card["models"].values()]
    head = [f"{label} ({digest})" if digest else label for label, digest in zip(labels, digests)]
    ratio = f"ratio to {'the better of ' * (len(rivals) > 1)}{' and '.join(rivals)}"
    others = [f"minus {label}" for label in labels[1:]]

    def block(head: list[str], columns: list[dict[str, list]]) -> str:
        rows = [
            [shown, *(number(column[name]) for column in columns)]
            for name, shown in _with_arrows(card).items()
            if name in columns[0]
        ]
        return markdown(head, rows)

    for cell in card["cells"]:
        yield f"## Masks {cell['masks']}, {cell['size']} px"
        yield f"{_counted(cell, 'mean hole share {:.1%}')}."
        yield block(["value", *head], [cell["values"][label] for label in labels])
        if rivals:
            yield block([ratio, *labels], [cell["ratios"][label] for label in labels])
        if others:
            columns = [cell["differences"][f"{labels[0]} {other}"] for other in others]
            yield block([f"difference: {labels[0]}", *others], columns)


def _experiment(result: dict[str, Any]) -> Iterator[str]:
    """Verdicts, what was compared, and the values behind them, arms downward."""
    yield f"# {result['title']}"
    yield f"`{result['command']}`"
    if result["cited"]:
        yield f"**The paper:** {result['cited']}."
    yield f"**Here:** {result['remarks']} Brackets are 95 % intervals over pictures and seeds."
    if ranking := result.get("ranking"):
        yield "## Ranking"
        rows = [[number(v) if isinstance(v, list) else f"{v}" for v in r.values()] for r in ranking]
        yield markdown(list(ranking[0]), rows)
    yield "## Verdicts"
    rows = [
        [c["claim"], c["metric"], number(c["difference"]), f"{c['n']}, {c['seeds']}",
         in_words(c, c["verdict"]), in_words(c, left), c["would_decide"]]
        for c, left in zip(result["claims"], after_holm(result["claims"]))
    ]  # fmt: skip
    head = ["claim", "metric", "difference", "n, seeds", "verdict", "after Holm"]
    yield markdown([*head, "what would decide"], rows)
    yield "A verdict is on one claim at 95 %; after Holm's correction the table as a whole is."
    yield "## What was compared"
    rows = []
    for arm, about in result["arms"].items():
        parameters = f"{about['parameters']:,}" if "parameters" in about else ""
        spent = [str(about.get(key, "")) for key in ("steps", "seconds")]
        networks = [(m.get("sha256") or m["implementation"])[:24] for m in about["models"]]
        rows.append([arm, parameters, *spent, ", ".join(networks)])
    yield markdown(["arm", "parameters", "steps", "seconds a run", "networks"], rows)
    for cell in result["cells"]:
        yield f"## {cell['data']}, {cell['masks']} masks, {cell['size']} px"
        yield f"{_counted(cell, 'holes {:.0%}')}; in round brackets each seed."
        rows = []
        for arm in result["arms"]:
            rows.append([arm])
            for metric in result["metrics"]:
                each = ", ".join(f"{value:.4g}" for value in cell["seeds"][arm][metric])
                shown = number(cell["values"][arm][metric])
                rows[-1].append(f"{shown} ({each})" if "," in each else shown)
        yield markdown(["arm", *_with_arrows(result).values()], rows)


def after_holm(claims: list[dict[str, Any]]) -> list[str]:
    """The verdicts that are left when the claims of a table are judged together."""
    corrected = holm(np.array([claim["p"] for claim in claims]))
    return [c["verdict"] if p < 0.05 else "undecided" for c, p in zip(claims, corrected)]


def in_words(claim: dict[str, Any], verdict: str) -> str:
    """A verdict for a table: the paper has no L1, so there only its sign can come out the same."""
    in_l1 = verdict == "reproduced" and claim["metric"] == "hole-l1"
    return "same sign, in L1" if in_l1 else verdict


def _with_arrows(record: dict[str, Any]) -> dict[str, str]:
    """Of each metric, what stands in a table."""
    return {name: f"{name} {ARROWS[about['best']]}" for name, about in record["metrics"].items()}


def _counted(cell: dict[str, Any], share: str) -> str:
    """How many pictures, how much of them is hole, and which ones they are."""
    masks, pictures = (cell[f"{what}_sha256"][:12] for what in ("masks", "pictures"))
    return (
        f"n = {cell['n']}; {share.format(cell['hole_share'])}; "
        f"SHA-256 of the masks {masks}, of the pictures {pictures}"
    )


def number(triple: list[float | None]) -> str:
    """A value with its interval, if there is one."""
    value, low, high = triple
    if value is None:
        return ""
    digits = 4 if abs(value) < 1 else 3 if abs(value) < 10 else 2
    text = f"{value:.{digits}f}"
    return text if low is None else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
