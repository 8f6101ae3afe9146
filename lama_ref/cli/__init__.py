"""The command line: ``lama-ref COMMAND`` or ``python -m lama_ref COMMAND``.

Exit codes: 0 done; 1 something could not be done, and a line on standard error says what;
2 the command line was not understood.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from ..evaluation.cards import CardConfig
from ..evaluation.experiments import EXPERIMENTS
from ..pictures.sets import MaskSet
from ..runs.pretext import PretextConfig
from ..runs.recipes import PRESETS
from .train import given, train_command

_DEFAULT_PRETEXT, _DEFAULT_MASKS, _DEFAULT_CARD = PretextConfig(), MaskSet(), CardConfig()


def inpaint(
    photo: Positional[Path],
    mask: Positional[Path],
    output: Annotated[Path, arg(aliases=["-o"])],
    weights: str = "mini-fourier",
    device: str = "auto",
    dilate: float = 0,
    strategy: Literal["whole", "crop", "refine", "auto"] = "whole",
    context: float | None = None,
    steps: int | None = None,
) -> int:
    """Fill the holes of a photograph, or of a folder of photographs.

    Known pixels are copied as they are: choose a lossless output format such as PNG to keep them.

    Args:
        photo: Picture file or folder.
        mask: White where the picture is to be filled. A file (for all pictures of a folder), or
            a folder with a mask NAME.* or NAME_mask.* for each picture NAME.*.
        output: Picture file to write, or folder for a folder.
        weights: Shipped weights by name, or the path of a weights file.
        device: auto, cpu, cuda or mps.
        dilate: Grow the holes by this many pixels first; helps where a mask is drawn tightly.
        strategy: For large pictures: whole (one pass), crop (around each hole; small memory),
            refine (slow), auto (whole where it fits into memory, else crop; says which).
        context: For crop and auto: what is cut reaches beyond a hole by this share of its size.
        steps: For refine: passes for each size of the picture.
    """
    from tqdm import tqdm

    from ..highres.strategies import named
    from ..inference import Inpainter
    from ..pictures.formats import inpaint_file
    from ..pictures.photographs import inpainting_jobs

    given = {name: x for name, x in (("context", context), ("steps", steps)) if x is not None}
    say = {"say": tqdm.write} if strategy == "auto" else {}
    way = named(strategy, **given, **say)
    jobs = list(inpainting_jobs(photo, mask, output))
    inpainter = Inpainter(weights, device=device, strategy=way)
    failed = 0
    for source, hole, target in tqdm(jobs, unit="picture", disable=len(jobs) == 1):
        try:
            inpaint_file(inpainter, source, hole, target, dilate)
        except (OSError, ValueError, TypeError, MemoryError) as error:
            if len(jobs) == 1:
                raise
            failed += 1
            tqdm.write(f"lama-ref: {source}: {error}", file=sys.stderr)
    print(f"wrote {len(jobs) - failed} of {len(jobs)} to {output}")
    return 1 if failed else 0


def demo(
    output: Annotated[Path, arg(aliases=["-o"])] = Path("demo.png"),
    weights: str = "mini-fourier",
    size: int = 256,
) -> int:
    """Inpaint sample photographs and write a picture of them side by side.

    Args:
        output: Picture file to write.
        weights: Shipped weights by name, or the path of a weights file.
        size: Height of the pictures in pixels.
    """
    from ..course.demo import demo_picture
    from ..inference import Inpainter
    from ..pictures.formats import check_name, save

    check_name(output)
    picture, lines = demo_picture(Inpainter(weights), size)
    save(picture, output)
    print(*lines, f"wrote {output}: with its holes, the result, the original", sep="\n")
    return 0


def pretext(
    folder: Positional[Path], config: tyro.conf.OmitArgPrefixes[PretextConfig] = _DEFAULT_PRETEXT
) -> int:
    """Train a feature network of the perceptual loss on procedural scenes.

    Args:
        folder: Where weights and model card go.
        config: Which network, for which pretext task, and for how long.
    """
    from ..runs.pretext import train as run

    path = run(config, folder)
    print(f"wrote {path}\n{json.loads(path.with_suffix('.json').read_text())['held_out']}")
    return 0


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

    With an output, an interrupted evaluation goes on where it was.

    Args:
        config: Which models, on what, and how they are measured.
        output: Folder for card.json and card.md, or a .json file.
    """
    from ..evaluation import cards, report

    print(report.table(cards.evaluate(config, output)))
    if output is not None:
        print(f"wrote {output}")
    return 0


def reproduce(
    name: Positional[Literal[tuple(EXPERIMENTS)]],  # type: ignore
    folder: Path = Path("runs/reproduce"),
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
    seeds: int = 3,
    budget: float | None = None,
    photographs: str = "samples",
) -> int:
    """Repeat one of the paper's tables or figures in miniature, and judge its claims.

    Trains what is missing (an hour or two on a CPU core); what is interrupted goes on.

    Args:
        name: Which table or figure; "limits" is strong perspective.
        folder: For the trained runs, which experiments share, and for results.
        output: .json file of the result, by default NAME.json in the folder; .md beside it.
        seeds: Trained networks of each kind.
        budget: Minutes to spend: shipped weights where they can stand in, else fewer seeds, steps
            and pictures. To see it work; seldom enough to decide anything.
        photographs: Folder, for table1 and figure5; by default the few that come along.
    """
    from ..evaluation import reproduce as experiments

    options = {"seeds": seeds, "budget": budget, "photographs": photographs}
    output = output or folder / f"{name}.json"
    print(experiments.text(experiments.reproduce(name, folder, output, **options)))
    print(f"wrote {output}")
    return 0


def doctor(
    what: Positional[Literal["installation", "data"]] = "installation",
    folder: Positional[Path | None] = None,
    size: int = 256,
    masks: str = "train-wide",
    n: int | None = None,
) -> int:
    """Check the installation, or with "data FOLDER" a data set before training on it.

    Args:
        what: "installation" (versions, FFT of each device, shipped weights) or "data".
        folder: Of photographs, for "data".
        size: Side of the crops that training is to take, in pixels.
        masks: Preset of the masks that it is to draw.
        n: Read only this many files, drawn at random.
    """
    from .. import runtime
    from ..pictures.survey import survey

    if (folder is None) == (what == "data"):
        raise ValueError("expected: lama-ref doctor, or: lama-ref doctor data FOLDER")
    if folder is not None:
        found = survey(folder, size, masks, n)
        print(found)
        return 1 if found.to_do() else 0
    lines = runtime.doctor()
    for name, fine, detail in lines:
        print(f"{'OK  ' if fine else 'FAIL'}  {name:24}  {detail}")
    return 0 if all(fine for _, fine, _ in lines) else 1


def weights(
    action: Positional[Literal["list", "fetch", "verify", "card"]] = "list",
    name: Positional[str | None] = None,
    url: str | None = None,
) -> int:
    """List the weights that ship and those that can be fetched; fetch, verify, describe them.

    Args:
        action: "list", "fetch NAME", "verify [NAME]" or "card NAME".
        name: Of weights, as listed.
        url: Fetch from this address instead, such as a mirror or file:///path/of/file.
    """
    from . import shelf

    return shelf.run(action, name, url)


_COMMANDS = (inpaint, demo, pretext, masks, evaluate, reproduce, weights, doctor)

_FORESEEN = (OSError, ValueError, TypeError, ImportError, FloatingPointError, MemoryError)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    commands: dict = {command.__name__: command for command in _COMMANDS}
    chosen: dict = {"preset": "mini", "defaults": PRESETS["mini"]}
    warnings.showwarning = _show_warning
    try:
        if arguments[:1] == ["train"]:
            arguments, chosen = given(arguments)
        commands["train"] = train_command(**chosen)
        code = tyro.extras.subcommand_cli_from_dict(
            commands, prog="lama-ref", description=__doc__, args=arguments
        )
    except _FORESEEN as error:
        print(f"lama-ref: {_message(error)}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt as stopped:
        print(f"lama-ref: {stopped or 'interrupted'}", file=sys.stderr)
        code = 130
    sys.exit(code)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"lama-ref: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
