"""The command line: ``lama-ref COMMAND`` or ``python -m lama_ref COMMAND``.

``--plugin FILE.py``, with any command, first runs a file of yours, which registers variants of the
global branch.

Exit codes: 0 done; 1 something could not be done, and a line on standard error says what;
2 the command line was not understood.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import warnings
from pathlib import Path

import tyro

from .doctor import doctor
from .evaluate import evaluate, masks, race, reproduce
from .inpaint import demo, inpaint
from .shelf import weights
from .train import pretext, train_command

_COMMANDS = (inpaint, demo, pretext, masks, evaluate, reproduce, race, weights, doctor)

_FORESEEN = (OSError, ValueError, TypeError, ImportError, FloatingPointError, MemoryError)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict = {command.__name__: command for command in _COMMANDS}
    warnings.showwarning = _show_warning
    try:
        arguments = _with_plugins(arguments)
        settings = arguments[1:] if arguments[:1] == ["train"] else []
        commands["train"], settings = train_command(settings)
        arguments = ["train", *settings] if arguments[:1] == ["train"] else arguments
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


def _with_plugins(arguments: list[str]) -> list[str]:
    """Runs the files named by --plugin, which register variants; the other arguments.

    Raises:
        FileNotFoundError: no such file.
    """
    parser = argparse.ArgumentParser("lama-ref", add_help=False, allow_abbrev=False)
    parser.add_argument("--plugin", action="append", default=[])
    given, rest = parser.parse_known_args(arguments)
    for file in given.plugin:
        if not Path(file).is_file():
            raise FileNotFoundError(f"no plugin at {file}: a Python file that registers variants")
        runpy.run_path(file, run_name=Path(file).stem)
    return rest


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"lama-ref: warning: {message}", file=sys.stderr)
