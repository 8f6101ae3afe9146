"""The project's promises: one dependency list, fixed layout, a lean import, readable notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    *("notebooks", "lama_ref", "data", "tests", "environment.yml", "README.md"),  # the project
    *("pyproject.toml", "constraints.txt", "conftest.py", "Makefile", ".ci", ".github"),  # tools
    *(".gitignore", ".gitattributes", "LICENSE", "CONTRIBUTING.md"),
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("[0-9][0-9]_*.ipynb"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> list[Requirement]:
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for group in (project["dependencies"], *extras) for line in group]


def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def tracked_files() -> list[Path]:
    """Files known to git; the calling test is skipped where there is no checkout."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    # core.quotepath=off leaves non-ASCII names as they are
    command = ["git", "-c", "core.quotepath=off", "-C", str(ROOT), "ls-files", "-z"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if result.returncode or not result.stdout:
        pytest.skip(f"{ROOT.name} is not a git checkout with files in it")
    return [ROOT / name for name in result.stdout.split("\0") if name]


# --- dependencies -----------------------------------------------------------------------------


def test_environment_points_at_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == pyproject()["project"]["name"]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert {re.split("[=<>]", entry)[0] for entry in conda} == {"python", "pip"}, (
        "dependencies are listed in pyproject.toml only"
    )
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "-c constraints.txt" in pip
    (editable,) = [line for line in pip if line.startswith("-e")]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", editable)
    assert extras is not None, editable
    assert set(extras[1].split(",")) <= set(pyproject()["project"]["optional-dependencies"])


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_dependency_has_a_tested_version_in_its_range(requirement):
    if requirement.marker is not None and not requirement.marker.evaluate():
        pytest.skip(f"not needed here: {requirement.marker}")
    pin = constraints().get(canonicalize_name(requirement.name))
    assert pin is not None, f"constraints.txt lacks {requirement.name}"
    (version,) = [spec.version for spec in pin.specifier]
    assert requirement.specifier.contains(version, prereleases=True), f"{pin} is not {requirement}"


def test_constraints_are_exact_and_portable():
    pins = constraints()
    assert str(pins["torch"]) == "torch==2.13.0"
    assert str(pins["torchvision"]) == "torchvision==0.28.0"
    for pin in pins.values():
        assert pin.url is None and pin.marker is None and not pin.extras, str(pin)
        (spec,) = pin.specifier
        assert spec.operator == "==" and Version(spec.version).local is None, str(pin)


# --- layout -----------------------------------------------------------------------------------


def test_top_level_holds_only_what_belongs_there():
    entries = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert entries <= TOP_LEVEL, f"move or remove: {sorted(entries - TOP_LEVEL)}"


def test_no_path_of_somebodys_machine():
    homes = re.compile(r"(?<![\w.])/(?:home|root|Users)/\w|[A-Za-z]:\\+Users\\+\w")
    found = []
    for path in tracked_files():
        data = path.read_bytes() if path.is_file() else b""
        if path == Path(__file__).resolve() or b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if match := homes.search(line):
                found.append(f"{name_of(path)}:{number}: {match[0]}")
    assert not found, "\n".join(found)


def test_import_is_quick_silent_and_lean():
    program = """if True:
        import json, sys, time
        import torch
        before, start = set(sys.modules), time.perf_counter()
        import lama_ref
        seconds = time.perf_counter() - start
        roots = {name.split(".")[0] for name in set(sys.modules) - before}
        print(json.dumps([seconds, sorted(roots)]))
    """
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1, f"import prints: {result.stdout}"
    seconds, roots = json.loads(result.stdout)
    heavy = {"cv2", "skimage", "matplotlib", "torchvision", "lpips", "IPython", "PIL", "scipy"}
    assert "lama_ref" in roots
    assert not heavy & set(roots), f"to be imported where used: {sorted(heavy & set(roots))}"
    assert seconds < 1, f"import lama_ref takes {seconds:.2f} s beyond torch"


def test_threads_that_wait_sleep():
    """Without make as well: torch's OpenMP reads this when it is loaded."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    program = """if True:
        import os, sys
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name == "torch":
                    print(os.environ.get("OMP_WAIT_POLICY"))
        sys.meta_path.insert(0, Watch())
        import lama_ref, torch
    """
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        result = subprocess.run(
            [sys.executable, "-c", program], env=environment | given, capture_output=True, text=True
        )
        assert result.stdout.strip() == expected, result.stderr
    first_import = re.compile(r"^(?:import|from) (torch|lama_ref)\b", re.MULTILINE)
    for path in (*NOTEBOOKS, *SOLUTIONS):
        code = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        first = first_import.search("\n".join(code))
        assert first is not None and first[1] == "lama_ref", f"{name_of(path)} imports torch first"


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", text, re.MULTILINE))
    assert targets >= {"setup", "lab", "demo", "test", "test-browser", "check", "notebooks"}
    documented = set(re.findall(r"^([a-z][\w-]*):[^\n=]* ## \w", text, re.MULTILINE))
    assert documented == targets, f"no ## text: {sorted(targets - documented)}"
    phony = re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE)
    assert phony is not None and set(phony[1].split()) == targets

    if shutil.which("make") is None:
        pytest.skip("make is not installed; its help was not run")
    result = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert set(re.findall(r"^  make ([\w-]+) ", result.stdout, re.MULTILINE)) == targets


# --- notebooks --------------------------------------------------------------------------------


def test_every_notebook_has_its_solutions():
    assert NOTEBOOKS, "no notebooks found"
    assert [path.name for path in SOLUTIONS] == [path.name for path in NOTEBOOKS]


def test_no_notebook_escapes_these_tests():
    files = {
        path
        for path in (ROOT / "notebooks").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    }
    assert files == {*NOTEBOOKS, *SOLUTIONS}, "name notebooks NN_title.ipynb"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=name_of)
def test_notebook_is_small_and_narrow(path):
    assert path.stat().st_size <= 400_000, f"{path.stat().st_size} bytes: smaller figures?"
    notebook = nbformat.read(path, as_version=4)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        lines = cell.source.splitlines()
        assert len(lines) <= 40, f"cell {index} has {len(lines)} lines, at most 40 are allowed"
        wide = [line for line in lines if len(line) > 79]
        assert not wide, f"cell {index}, over 79 columns: {wide[0]}"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=name_of)
def test_notebook_is_stored_as_executed_top_to_bottom(path):
    """If this fails after work on a notebook: `make notebooks`."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code), "no outputs are stored"
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            assert output.output_type != "error", f"cell [{number}] shows an error"
            assert output.get("name") != "stderr", f"cell [{number}] shows a warning: {output.text}"


# --- what every notebook promises ---------------------------------------------------------------

HEADER = re.compile(
    r"^\*Reading (?P<reading>\d+) min · computing (?P<computing>\d+) min · "
    r"exercises (?P<exercises>\d+) min \(★ (?P<starred>\d+) min\) · "
    r"Difficulty [●○]{3} · Needs: .+ · Paper: .+\*$",
    re.MULTILINE,
)
CARD = re.compile(r"^### Exercise (\d+\.\d+)( ★)?  [●○]{3} \((\d+) min[^)]*\)$", re.MULTILINE)
FOLDS = {"source_hidden": "hide-input", "outputs_hidden": "hide-output"}  # JupyterLab and the book
TAGS = {*FOLDS.values(), "nbval-check-output", "nbval-ignore-output", "nbval-skip"}


def markdown(path: Path) -> list[str]:
    """Cells of text; of a Markdown file, all of it as one."""
    if path.suffix != ".ipynb":
        return [path.read_text(encoding="utf-8")]
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def open_code(path: Path) -> list[str]:
    """The lines, not blank, of the cells that are not folded: the main path."""
    cells = nbformat.read(path, as_version=4).cells
    code = [c for c in cells if c.cell_type == "code" and not hidden(c, "source_hidden")]
    return [line for cell in code for line in cell.source.splitlines() if line.strip()]


def hidden(cell: nbformat.NotebookNode, what: str) -> bool:
    return cell.metadata.get("jupyter", {}).get(what, False)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_header_tells_the_time(path):
    first, *_ = texts = markdown(path)
    said = HEADER.search(first)
    assert said is not None, f"the first cell has no line like {HEADER.pattern}"
    words = sum(len(text.split()) for text in texts)
    minutes = words / 200 + len(open_code(path)) / 20
    assert int(said["reading"]) % 5 == 0 and abs(int(said["reading"]) - minutes) <= 10, (
        f"{words} words and {len(open_code(path))} open lines of code take {minutes:.0f} min"
    )
    titles = re.findall(r"^### Exercise .*$", "\n".join(texts), re.MULTILINE)
    cards = [CARD.search(title) for title in titles]
    odd = [title for title, card in zip(titles, cards) if card is None]
    assert cards and not odd, f"not like '### Exercise 2.1 ★  ●○○ (10 min)': {odd}"
    times = [(int(card[3]), card[2] is not None) for card in cards if card is not None]
    assert int(said["exercises"]) == sum(time for time, _ in times)
    assert int(said["starred"]) == sum(time for time, star in times if star) > 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_main_path_is_short(path):
    lines = open_code(path)
    assert len(lines) <= 350, f"{len(lines)} open lines of code: fold figures and proofs"
    asserts = [line for line in lines if re.match(r"\s*assert\b", line)]
    assert len(asserts) <= 45, f"{len(asserts)} open asserts: fold proofs"
    cells = len(nbformat.read(path, as_version=4).cells)
    assert cells <= 64, f"{cells} cells"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=name_of)
def test_folds_and_marks(path):
    """Folded for JupyterLab (metadata) and the book (tag) alike; marks of nbval are tags."""
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        tags = set(cell.metadata.get("tags", []))
        assert tags <= TAGS, f"cell {index}: {sorted(tags - TAGS)} mean nothing here"
        for what, tag in FOLDS.items():
            assert hidden(cell, what) == (tag in tags), f"cell {index}: {what} and {tag} disagree"
        if cell.cell_type == "code":
            assert "NBVAL_" not in cell.source, f"cell {index}: a tag, not a comment"
            if "hide-input" in tags:
                assert cell.source.startswith("# "), f"cell {index}: say first what is folded"


# --- links ----------------------------------------------------------------------------------------

LINK = re.compile(r"""(?<!\\)\]\(<?([^)\s>]+)[^)]*\)|\b(?:href|src)=["']([^"']+)""")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]


def links(path: Path) -> list[str]:
    """Targets of all links and pictures in a document's text, not in its code or formulas."""
    plain = [
        re.sub(r"(?s)```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", t) for t in markdown(path)
    ]
    return [a or b for text in plain for a, b in LINK.findall(text)]


def anchors(path: Path) -> set[str]:
    """What a link may name after #: JupyterLab's form of a notebook's headings, else GitHub's."""
    text = "\n".join(markdown(path))
    named = set(re.findall(r"""\b(?:id|name)=["']([^"']+)""", text))
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    for title in re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        if path.suffix == ".ipynb":
            named.add(re.sub(r"[`*]", "", shown).replace(" ", "-"))
        else:
            named.add(re.sub(r"[^\w\- ]", "", shown).lower().replace(" ", "-"))
    return named


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS, *SOLUTIONS], ids=name_of)
def test_links_lead_somewhere(path):
    for link in links(path):
        if re.match(r"(https?|mailto):", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / unquote(file) if file else path
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert unquote(anchor) in anchors(target), f"{link}: no such heading"


def test_the_course_maps_say_what_the_notebooks_say():
    """In the README a row for each; in 00 one as well, with reading and exercises added up."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    map_of_00 = "\n".join(markdown(NOTEBOOKS[0]))
    for path in NOTEBOOKS:
        first = markdown(path)[0]
        title = re.search(r"^# (\d\d) · (.+)$", first, re.MULTILINE)
        said = HEADER.search(first)
        assert title is not None and said is not None
        row = (
            rf"\| \[{title[1]} {re.escape(title[2])}\]\(notebooks/{path.name}\) \| .+ \| "
            rf"{said['reading']} min \| {said['exercises']} min \(★ {said['starred']}\) \|"
        )
        assert re.search(row, readme), f"no row in the README like {row}"
        minutes = int(said["reading"]) + int(said["exercises"])
        named = "Start here" if path == NOTEBOOKS[0] else path.name
        row = rf"\| {title[1]} \| .*{re.escape(named)}.* \| .+ \| {minutes} \|"
        assert re.search(row, map_of_00), f"no row in 00 like {row}"


def test_the_readme_wins_in_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
