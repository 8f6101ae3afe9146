"""The commands ``lama-ref train``, with a preset's or a run's defaults, and ``pretext``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from ..runs.pretext import PretextConfig
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
    from ..runs.pretext import train as run

    path = run(config, folder)
    print(f"wrote {path}\n{json.loads(path.with_suffix('.json').read_text())['held_out']}")
    return 0


def train_command(preset: str, defaults: TrainConfig):
    """The command ``train`` with the settings of a preset, or of a run, as its defaults."""

    def train(
        folder: Positional[Path],
        config: tyro.conf.OmitArgPrefixes[TrainConfig] = defaults,
        preset: Literal[tuple(PRESETS)] = preset,  # type: ignore
        resume: Literal["auto", "never"] = "auto",
    ) -> int:
        """Train a generator, or continue the run in a folder.

        Several processes: torchrun --nproc_per_node 2 -m lama_ref train FOLDER.

        Args:
            folder: Where all of the run goes. The run that is there continues.
            config: What to train, on what, and for how long. By default as the run in the folder,
                or as the preset says.
            preset: Settings to begin with; all others can be given beside it.
            resume: "auto" continues a run that is there, "never" refuses to.
        """
        from ..runs.loop import train as run

        path = run(config, folder, resume=resume)
        if os.environ.get("RANK", "0") == "0":
            print(f"wrote {path}")
        return 0

    return train


def given(arguments: list[str]) -> tuple[list[str], dict]:
    """Arguments of ``train`` as tyro wants them (all --data together), and ``train_command``'s."""
    from ..runs.disk import read_config

    parser = argparse.ArgumentParser(prog="lama-ref train", add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    parser.add_argument("--data", action="extend", nargs="+", default=[])
    known, rest = parser.parse_known_args(arguments)
    data = ["--data", *known.data] if known.data else []
    preset = known.preset or "mini"
    pairs = zip(rest, rest[1:])  # the folder is what is no option, and no option's value
    places = [Path(b) for a, b in pairs if not a.startswith("--") and not b.startswith("-")]
    defaults = PRESETS.get(preset, TrainConfig())
    if known.preset is None and places and (places[0] / "config.json").is_file():
        defaults = read_config(places[0])
    chosen = {"preset": preset if preset in PRESETS else "mini", "defaults": defaults}
    return [*rest, "--preset", preset, *data], chosen
