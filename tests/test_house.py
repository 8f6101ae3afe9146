"""The house: rooms, the one direction of imports between them, and what each may weigh.

The graph is drawn from the sources, not by importing: imports inside functions and under
``if TYPE_CHECKING`` count as well, as both tell what a reader of a file must know of.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lama_ref"


@dataclass(frozen=True)
class Room:
    """What a room may import besides itself, and its lines: at most, and what we aim at."""

    imports: tuple[str, ...]
    lines: int
    target: int
    lazily: tuple[tuple[str, str], ...] = ()
    """(file, room) that may be imported where it is needed, in a function or for types."""


# In the order of the house: imports point up this table. "method" is the files at the top but for
# the doors. Two of them are named apart: "inference", which the rooms that serve it must not
# import, and the door "runtime" (devices, seeds), which everybody may import.
ROOMS = {
    "method": Room(
        ("inference", "runtime"),
        2185,
        1800,
        (
            ("inference", "weights"),
            ("inference", "highres"),
            ("masks", "pictures"),
            ("generator", "spectral"),
        ),
    ),
    "spectral": Room(("method",), 1070, 700),
    "fast": Room(("method",), 650, 650),
    "weights": Room(("method", "runtime"), 1105, 1000),
    "pictures": Room(("method", "runtime", "weights"), 1490, 1450),
    "highres": Room(("method", "runtime"), 410, 360),
    "runs": Room(("method", "runtime", "weights", "pictures"), 995, 860),
    "evaluation": Room(
        (*("method", "inference", "runtime", "weights", "pictures", "highres", "runs"), "spectral"),
        2370,
        1900,
    ),
    "course": Room(("inference", "runtime"), 4200, 3700),  # and every room above
    "doors": Room(("inference", "runtime"), 720, 600),  # and every room
}
for last in ("course", "doors"):
    above = tuple(ROOMS)[: tuple(ROOMS).index(last)]
    ROOMS[last] = replace(ROOMS[last], imports=(*above, *ROOMS[last].imports))
FILE_LINES = 300
LONGER = {
    "masks": 340,
    "perceptual": 390,
    "generator": 350,
    "pictures.scenes": 310,
}  # until what they need not hold has gone
OUTSIDE_COURSE = 9_255  # we aim at 7,700, without spectral and fast


@dataclass(frozen=True)
class Import:
    """One file of the package imports another; both dotted, "" for the package itself."""

    source: str
    target: str
    lazy: bool


def modules(package: Path) -> dict[str, Path]:
    """Dotted names of all files, without the package's own: "weights.files", "weights", ""."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(package: Path) -> list[Import]:
    """All imports between files of a package, wherever in a file they stand."""
    files, found = modules(package), []
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_once = {id(node) for node in tree.body}
        folder = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        folder = [part for part in folder if part]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for target in _targets(node, folder, package.name, files):
                if target not in files:
                    raise ValueError(f"{path}, line {node.lineno}: no file for {target!r}")
                found.append(Import(name, target, id(node) not in at_once))
    return found


def _targets(
    node: ast.Import | ast.ImportFrom, folder: list[str], package: str, files: dict[str, Path]
) -> list[str]:
    """Which files one statement imports: submodules where the names are such."""
    if isinstance(node, ast.Import):
        ours = [a.name.split(".") for a in node.names]
        return [".".join(parts[1:]) for parts in ours if parts[0] == package]
    base = node.module.split(".") if node.module else []
    if node.level:
        base = folder[: len(folder) + 1 - node.level] + base
    elif base[:1] == [package]:
        base = base[1:]
    else:
        return []
    inside = [".".join([*base, alias.name]) for alias in node.names]
    return [name if name in files else ".".join(base) for name in inside]


def room(name: str) -> str:
    """The room of a file: that of its package, or at the top the method or a door."""
    first = name.split(".")[0]
    if first in ROOMS or first in ("inference", "runtime"):
        return first
    return "doors" if first in ("", "__main__", "cli") else "method"


def circles(graph: list[Import]) -> list[list[str]]:
    """Files that import each other around a circle, each circle once."""
    after = defaultdict(set)
    for edge in graph:
        after[edge.source].add(edge.target)

    def reach(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for name in after[todo.pop()] - seen:
                seen.add(name)
                todo.append(name)
        return seen

    around = {name: reach(name) for name in list(after)}
    groups = {
        frozenset(other for other in around[name] if name in around.get(other, ()))
        for name in around
        if name in around[name]
    }
    return sorted(map(sorted, groups))


def against_the_order(graph: list[Import], rooms: dict[str, Room] = ROOMS) -> list[str]:
    """Imports that the table of rooms does not allow, as lines of text."""
    wrong = []
    for edge in graph:
        here, there = room(edge.source), room(edge.target)
        home = rooms["method" if here == "inference" else "doors" if here == "runtime" else here]
        allowed = ("method",) if here == "runtime" else home.imports
        if here == there or there in allowed or (here, there) == ("inference", "method"):
            continue
        if edge.lazy and (edge.source, there) in home.lazily:
            continue
        wrong.append(f"{edge.source or '__init__'} ({here}) imports {edge.target} ({there})")
    return wrong


def namesakes(package: Path) -> list[str]:
    """Files of one name in two places."""
    places = defaultdict(list)
    for name, path in modules(package).items():
        if not path.stem.startswith("__"):
            places[path.stem].append(name)
    return [" and ".join(names) for names in places.values() if len(names) > 1]


def lines(package: Path) -> dict[str, int]:
    """Lines of each room; the method's last file counts with the method, runtime as a door."""
    total = dict.fromkeys(ROOMS, 0)
    for name, path in modules(package).items():
        where = {"inference": "method", "runtime": "doors"}.get(room(name), room(name))
        total[where] += len(path.read_text(encoding="utf-8").splitlines())
    return total


# --- this house -------------------------------------------------------------------------------


def test_no_circle():
    assert not circles(imports(PACKAGE))


def test_imports_point_one_way():
    wrong = against_the_order(imports(PACKAGE))
    assert not wrong, "\n".join(wrong)


def test_one_name_one_file():
    assert not namesakes(PACKAGE)


@pytest.mark.parametrize("name", ROOMS)
def test_room_keeps_to_its_lines(name):
    found, limit = lines(PACKAGE)[name], ROOMS[name].lines
    assert found <= limit, f"{found} lines in {name}, at most {limit} are allowed"


def test_files_and_house_stay_small():
    sizes = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in modules(PACKAGE).items()
    }
    long = {name: size for name, size in sizes.items() if size > LONGER.get(name, FILE_LINES)}
    assert not long, f"over {FILE_LINES} lines: {long}"
    rooms = lines(PACKAGE)
    total = sum(rooms[name] for name in ROOMS if name not in ("course", "spectral", "fast"))
    assert total <= OUTSIDE_COURSE, f"{total} lines outside course/"


def test_every_room_says_what_lives_there():
    for name in ROOMS:
        if (PACKAGE / name).is_dir():
            tree = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))
            text = ast.get_docstring(tree) or ""
            assert "mport" in text, f"{name}/__init__.py does not say what it may import"
            assert len(tree.body) == 1, f"{name}/__init__.py is an address, not a place for code"


# --- that these tests can fail ----------------------------------------------------------------


@pytest.fixture
def house(tmp_path):
    def build(**files: str) -> Path:
        for name, text in {"__init__": "", **files}.items():
            path = tmp_path / "lama_ref" / f"{name.replace('_in_', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for folder in path.relative_to(tmp_path / "lama_ref").parents:
                (tmp_path / "lama_ref" / folder / "__init__.py").touch()
        return tmp_path / "lama_ref"

    return build


LAZY = "def f():\n    from {} import x\n"
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {} import x\n"


@pytest.mark.parametrize("form", ["from {} import x\n", LAZY, TYPES])
def test_a_circle_is_found_wherever_the_import_stands(house, form):
    package = house(
        ffc="x = 1", generator=form.format(".losses"), losses=form.format("lama_ref.generator")
    )
    assert circles(imports(package)) == [["generator", "losses"]]
    (package / "losses.py").write_text("from .ffc import x")
    assert not circles(imports(package))


def test_a_circle_through_the_package_is_one(house):
    package = house(ffc="import lama_ref", __init__=TYPES.format(".ffc"))
    assert circles(imports(package)) == [["", "ffc"]]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("training", "from .runs.recipes import x", "training (method) imports runs.recipes"),
        ("training", LAZY.format(".runs.recipes"), "training (method) imports runs.recipes"),
        ("inference", "from .weights import names", "inference (inference) imports weights.names"),
        ("inference", LAZY.format(".weights.names"), None),
        ("inference", "from . import ffc", None),
        ("runtime", LAZY.format(".weights.names"), "runtime (runtime) imports weights.names"),
        ("runtime", LAZY.format(".ffc"), None),
        ("weights_in_files", "from ..runs import recipes", "imports runs.recipes (runs)"),
        ("weights_in_files", TYPES.format("..inference"), "imports inference (inference)"),
        ("highres_in_refine", "from ..inference import x", "imports inference (inference)"),
        ("runs_in_loop", "from ..weights.names import x\nfrom .recipes import x", None),
        ("runs_in_loop", LAZY.format("lama_ref.cli"), "runs.loop (runs) imports cli (doors)"),
        ("evaluation_in_cards", "from ..course import x", "evaluation.cards (evaluation) imports"),
        ("course_in_checks_in_a", "from ...runs.recipes import x", None),
    ],
)
def test_an_import_against_the_order_is_found(house, name, text, fault):
    package = house(
        **dict.fromkeys(("ffc", "inference", "runtime", "cli_in___init__", "course_in_x"), "x = 1"),
        **dict.fromkeys(("weights_in_names", "runs_in_recipes"), "x = 1"),
    )
    path = package / f"{name.replace('_in_', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    wrong = against_the_order(imports(package))
    assert len(wrong) == (fault is not None), wrong
    assert fault is None or fault in wrong[0]


def test_an_import_of_what_is_not_there_is_an_error(house):
    with pytest.raises(ValueError, match="ffc.py, line 1: no file for 'data.weights'"):
        imports(house(ffc="from lama_ref.data.weights import save"))


def test_namesakes_and_lines_are_counted(house):
    package = house(ffc="1\n2\n", runs_in_files="1\n", weights_in_files="1\n2\n3\n", cli_in_a="1\n")
    assert namesakes(package) == ["runs.files and weights.files"]
    count = lines(package)
    assert (count["method"], count["weights"], count["runs"], count["doors"]) == (2, 3, 1, 1)
