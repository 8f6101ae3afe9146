"""The commands ``lama-ref masks``, ``lama-ref evaluate`` and ``lama-ref reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from ..evaluation.cards import CardConfig
from ..evaluation.experiments import EXPERIMENTS
from ..pictures.sets import MaskSet

_DEFAULT_MASKS, _DEFAULT_CARD = MaskSet(), CardConfig()


def masks(
    action: Positional[Literal["make"]],
    output: Annotated[Path, arg(aliases=["-o"])],
    settings: tyro.conf.OmitArgPrefixes[MaskSet] = _DEFAULT_MASKS,
) -> int:
    """Make an evaluation set of pictures with fixed masks, and a manifest with its hash.

    Args:
        action: "make" writes a set.
        output: Folder to write, new or empty.
        settings: What to hide, and of which pictures.
    """
    from ..pictures.sets import make

    manifest = make(settings, output)
    shares = [entry["share"] for entry in manifest["pictures"].values()]
    share = sum(shares) / len(shares)
    print(f"wrote {len(shares)} pictures with masks to {output}, on average {share:.1%} hole")
    print(f"sha256 of the set: {manifest['sha256']}")
    return 0


def evaluate(
    config: tyro.conf.OmitArgPrefixes[CardConfig] = _DEFAULT_CARD,
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
) -> int:
    """Compare models on the same pictures and masks, with intervals.

    Args:
        config: Which models, on what, and how they are measured.
        output: Folder for card.json and card.md, or a .json file.
    """
    from ..evaluation import cards, report

    print(report.text(cards.evaluate(config, output)))
    if output is not None:
        print(f"wrote {output}")
    return 0


def reproduce(
    name: Positional[Literal[tuple(EXPERIMENTS)]],  # type: ignore
    folder: Path = Path("runs/reproduce"),
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
    seeds: int = 3,
    steps: int | None = None,
    n: int | None = None,
    photographs: str = "samples",
) -> int:
    """Repeat one of the paper's tables or figures in miniature, and judge its claims.

    Trains what is missing (an hour or two on a CPU core); training that is interrupted goes on.

    Args:
        name: Which table or figure; "limits" is strong perspective.
        folder: For the trained runs, which experiments share, and for results.
        output: .json file of the result, by default NAME.json in the folder; .md beside it.
        seeds: Trained networks of each kind.
        steps: Of training, instead of the declared ones: to see it work, not to decide.
        n: Pictures of each kind, likewise.
        photographs: Folder, for table1 and figure5; by default the few that come along.
    """
    from ..evaluation import report
    from ..evaluation import reproduce as experiments

    options = {"seeds": seeds, "steps": steps, "n": n, "photographs": photographs}
    output = output or folder / f"{name}.json"
    print(report.text(experiments.reproduce(name, folder, output, **options)))
    print(f"wrote {output}")
    return 0


def race(
    variants: Positional[str],
    folder: Path = Path("runs/race"),
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
    minutes: float = 5.0,
    seeds: int = 2,
    n: int = 50,
) -> int:
    """Train small generators that differ in the spectral layer alone, and rank them.

    For equal steps and for equal seconds; at the size trained on and at four times that. A race
    that is stopped goes on with the same command. Variants of yours come with --plugin FILE.py.

    Args:
        variants: Registered names, separated by commas; all are compared with the first.
        folder: For the trained runs.
        output: .json file of the result, by default race.json in the folder; .md beside it.
        minutes: For the training of all together, about.
        seeds: Trained networks of each variant; with one there is no verdict.
        n: Held-out pictures of each kind.
    """
    from ..evaluation import race as races
    from ..evaluation import report

    output = output or folder / "race.json"
    names, options = variants.split(","), {"minutes": minutes, "seeds": seeds, "n": n}
    print(report.text(races.race(names, folder, output, **options)))
    print(f"wrote {output}")
    return 0
