"""The commands ``lama-ref train``, with a preset's or a run's defaults, and ``pretext``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from ..course.pretext import PretextConfig
from ..runs.recipes import PRESETS, TrainConfig

_DEFAULT_PRETEXT = PretextConfig()


def pretext(
    folder: Positional[Path], config: tyro.conf.OmitArgPrefixes[PretextConfig] = _DEFAULT_PRETEXT
) -> int:
    """Train a feature network of the perceptual loss on procedural scenes.

    Args:
        folder: Where weights and model card go.
        config: Which network, for which pretext task, and for how long.
    """
    from ..course.pretext import train as run

    path = run(config, folder)
    print(f"wrote {path}\n{json.loads(path.with_suffix('.json').read_text())['held_out']}")
    return 0


def train_command(arguments: list[str]) -> tuple[Callable, list[str]]:
    """The command ``train``, and its arguments as tyro takes them: all --data together.

    Defaults are those of the preset or, where none is named, of the run in the folder.
    """
    from ..runs.disk import read_config

    parser = argparse.ArgumentParser("lama-ref train", add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--data", action="extend", nargs="+", default=[])
    given, rest = parser.parse_known_args(arguments)
    defaults = PRESETS[given.preset or "mini"]
    if given.preset is None and arguments and Path(arguments[0], "config.json").is_file():
        defaults = read_config(Path(arguments[0]))

    def train(
        folder: Positional[Path],
        config: tyro.conf.OmitArgPrefixes[TrainConfig] = defaults,
        preset: Literal[tuple(PRESETS)] = given.preset or "mini",  # type: ignore
    ) -> int:
        """Train a generator, or continue the run in a folder.

        Several processes: torchrun --nproc_per_node 2 -m lama_ref train FOLDER.

        Args:
            folder: Where all of the run goes; stands first. The run that is there continues.
            config: What to train, on what, and for how long.
            preset: Settings to begin with; all others can be given beside it. Without one, those
                of the run that is there.
        """
        from ..runs.loop import train as run

        path = run(config, folder)
        if os.environ.get("RANK", "0") == "0":
            print(f"wrote {path}")
        return 0

    return train, [*rest, "--data", *given.data] if given.data else rest
