"""From measured numbers to what a reader wants: intervals, ratios, differences, a table."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import Metric, Values, bootstrap_counts, interval

ARROWS = {"low": "↓", "high": "↑", "zero": "→ 0"}


def summary(
    results: dict[str, dict], metrics: dict[str, Metric], rivals: list[str]
) -> dict[str, Any]:
    """Values, ratios to the best rival, and differences, each as [value, low, high].

    Low and high are None where resampling would take hours. The ratio's interval takes the best
    rival of each resample anew.
    """
    points, draws = values_and_draws(results, metrics)
    values: dict[str, dict] = {label: {} for label in results}
    ratios: dict[str, dict] = {label: {} for label in results}
    differences: dict[str, dict] = {f"{a} minus {b}": {} for a, b in combinations(results, 2)}
    for name, metric in metrics.items():
        point, draw = points[name], draws[name]
        for label in results:
            values[label][name] = _triple(point[label], draw.get(label))
        best = min((point[rival] for rival in rivals), default=0.0)
        if metric.ratio and best > 0:
            bests = np.min([draw[r] for r in rivals], 0) if all(r in draw for r in rivals) else None
            for label in results:
                drawn = None if bests is None else draw[label] / np.maximum(bests, 1e-12)
                ratios[label][name] = _triple(point[label] / best, drawn)
        for a, b in combinations(results, 2):
            drawn = draw[a] - draw[b] if a in draw and b in draw else None
            differences[f"{a} minus {b}"][name] = _triple(point[a] - point[b], drawn)
    more = {
        label: {
            f"{name} {what}": one[what]
            for name, one in result.get("sets", {}).items()
            for what in ("levels", "standard_error")
            if what in one
        }
        for label, result in results.items()
    }
    return {"values": values, "ratios": ratios, "differences": differences, "more": more}


def values_and_draws(
    results: dict[str, dict], metrics: dict[str, Metric]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Values]]]:
    """Of each metric and model, the value and its bootstrap draws (if there are any)."""
    points: dict[str, dict[str, float]] = {name: {} for name in metrics}
    draws: dict[str, dict[str, Values]] = {name: {} for name in metrics}
    counts: NDArray | None = None
    for label, result in results.items():
        for name in metrics:
            if name in result["values"]:
                one = np.array(result["values"][name])
                counts = bootstrap_counts(len(one)) if counts is None else counts
                points[name][label], draws[name][label] = one.mean(), counts @ one / len(one)
            else:
                points[name][label] = result["sets"][name]["value"]
                if result["sets"][name]["draws"]:
                    draws[name][label] = np.array(result["sets"][name]["draws"])
    return points, draws


def _triple(value: float, draws: NDArray | None) -> list[float | None]:
    low, high = interval(draws) if draws is not None else (None, None)
    return [None if v is None else float(f"{v:.5g}") for v in (value, low, high)]


def table(card: dict[str, Any]) -> str:
    """A card as Markdown; every number with n, hashes, size, variant and interval."""
    lines = [
        f"# Evaluation on {card['pictures']}",
        f"Results are {card['results']}; masks hide {card['hole_share'][0]:.0%} to "
        f"{card['hole_share'][1]:.0%}; seed {card['seed']}; lama_ref {card['lama_ref']}. Brackets: "
        f"intervals ({card['intervals']}).",
        markdown(
            ["model", "file and its SHA-256, or implementation"],
            [[m, ", ".join(i.values())] for m, i in card["models"].items()],
        ),
    ]
    labels, rivals = list(card["models"]), card["rivals"]
    for cell in card["cells"]:
        lines += [
            f"## Masks {cell['masks']}, {cell['size']} px",
            f"{counted(cell)}; mean hole share {cell['hole_share']:.1%}; SHA-256 of the masks "
            f"{cell['masks_sha256'][:12]}, of the pictures {cell['pictures_sha256'][:12]}.",
        ]
        digests = [i.get("sha256", "")[:8] for i in card["models"].values()]
        head = [f"{m} ({digest})" if digest else m for m, digest in zip(labels, digests)]
        lines.append(_block(card, ["value", *head], [cell["values"][m] for m in labels]))
        if rivals:
            title = f"ratio to {'the better of ' * (len(rivals) > 1)}{' and '.join(rivals)}"
            lines.append(_block(card, [title, *labels], [cell["ratios"][m] for m in labels]))
        pairs = [pair for pair in cell["differences"] if pair.startswith(f"{labels[0]} minus ")]
        if pairs:
            chosen = [cell["differences"][pair] for pair in pairs]
            others = [pair.removeprefix(f"{labels[0]} ") for pair in pairs]
            lines.append(_block(card, [f"difference: {labels[0]}", *others], chosen))
    variants = [[name, metric["variant"]] for name, metric in card["metrics"].items()]
    lines += ["## Metrics", markdown(["metric", "variant"], variants)]
    return "\n\n".join(lines)


def counted(cell: dict[str, Any]) -> str:
    """How many pictures, and how many of them are no sharper than smaller ones."""
    small = f" ({cell['enlarged']} enlarged from smaller photographs)" if "enlarged" in cell else ""
    return f"n = {cell['n']}{small}"


def _block(card: dict, head: list[str], columns: list[dict[str, list]]) -> str:
    """Metrics downward, models to the right."""
    rows = []
    for name, metric in card["metrics"].items():
        if name in columns[0]:
            rows.append([f"{name} {ARROWS[metric['best']]}", *(number(c[name]) for c in columns)])
    return markdown(head, rows)


def number(triple: list[float | None]) -> str:
    value, low, high = triple
    if value is None:
        return ""
    digits = 4 if abs(value) < 1 else 3 if abs(value) < 10 else 2
    text = f"{value:.{digits}f}"
    return text if low is None else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(record: dict[str, Any]) -> str:
    """A card, or the result of an experiment, as Markdown; nothing but the record is needed."""
    if "experiment" not in record:
        return table(record)
    arms, metrics = record["arms"], record["metrics"]
    what = [m + {"low": " ↓", "high": " ↑"}.get(v["best"], "") for m, v in metrics.items()]
    lines = [
        f"# {record['title']}",
        f"`{record['command']}`",
        f"**The paper:** {record['cited']}.",
        f"**Here:** {record['remarks']} Brackets are 95 % intervals over pictures and seeds.",
        "## Verdicts",
        markdown(
            ["claim", "metric", "difference", "n, seeds", "verdict", "what would decide"],
            [[c["claim"], c["metric"], number(c["difference"]),
              f"{c['n']}, {c['seeds']}", c["verdict"], c["would_decide"]]
             for c in record["claims"]],
        ),
        "## What was compared",
        markdown(
            ["arm", "parameters", "steps", "seconds a run", "networks"],
            [[arm, f"{a['parameters']:,}" if "parameters" in a else "", f"{a.get('steps', '')}",
              f"{a.get('seconds', '')}",
              ", ".join((m.get("sha256") or m["implementation"])[:24] for m in a["models"])]
             for arm, a in arms.items()],
        ),
    ]  # fmt: skip
    for cell in record["cells"]:
        rows = []
        for arm in arms:
            each = [", ".join(f"{v:.4g}" for v in cell["seeds"][arm][m]) for m in metrics]
            shown = [number(cell["values"][arm][m]) for m in metrics]
            rows.append([arm, *(f"{v} ({e})" if "," in e else v for v, e in zip(shown, each))])
        lines += [
            f"## {cell['data']}, {cell['masks']} masks, {cell['size']} px",
            f"{counted(cell)}; holes {cell['hole_share']:.0%}; SHA-256 of the masks "
            f"{cell['masks_sha256'][:12]}, of the pictures {cell['pictures_sha256'][:12]}; in "
            "round brackets each seed.",
            markdown(["arm", *what], rows),
        ]
    variants = [[name, metric["variant"]] for name, metric in metrics.items()]
    lines += ["## Metrics", markdown(["metric", "variant"], variants)]
    return "\n\n".join(lines)
