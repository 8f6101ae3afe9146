"""Re-execute the course's notebooks in place, in course order, solutions last.

    python tests/tools/run_notebooks.py [START_OF_NAME ...]

A notebook is written only when all of its cells ran; what changes from run to run without meaning
(time stamps, widget state, the Python version) is left out. Exits 1 if a cell failed or wrote to
stderr.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[2]
CELL_TIMEOUT = 600  # seconds
CHECKED = "nbval-check-output"  # outputs that are compared, and so stay as they are
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


def find(names: list[str]) -> list[Path]:
    """Notebooks in course order, those whose file name starts with one of `names` if any."""
    paths = [
        path
        for folder in ("notebooks", "notebooks/solutions")
        for path in sorted((ROOT / folder).glob("*.ipynb"))
        if not names or path.name.startswith(tuple(names))
    ]
    if not paths:
        sys.exit(f"no notebook's name starts with: {' '.join(names)}" if names else "no notebooks")
    return paths


def clean(notebook: nbformat.NotebookNode) -> None:
    """Remove what is volatile or shows only in a live session."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if WIDGET_VIEW not in out.get("data", {})]
            folded = cell.metadata.get("jupyter", {}).get("outputs_hidden")
            if cell.outputs and folded and CHECKED not in cell.metadata.get("tags", ()):
                # of a folded output JupyterLab shows the first line, which should give nothing away
                first = nbformat.v4.new_output("display_data", {"text/plain": "The answer:"})
                cell.outputs.insert(0, first)


def warnings_in(notebook: nbformat.NotebookNode) -> list[str]:
    """Texts that cells wrote to stderr; a committed notebook shows none."""
    return [
        out.text.strip()
        for cell in notebook.cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if out.output_type == "stream" and out.name == "stderr"
    ]


def run(path: Path) -> bool:
    """Execute one notebook and write it back; False if something is wrong with it."""
    start = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
        store_widget_state=True,  # what `interact` draws is kept there, and `clean` drops it
        extra_arguments=["--log-level=40"],  # no warning about unencrypted local sockets
    )
    name = path.relative_to(ROOT).as_posix()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"FAIL  {name}\n{error}", flush=True)
        return False
    clean(notebook)
    nbformat.validate(notebook)
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        nbformat.write(notebook, file)
    os.replace(temporary, path)

    complaints = warnings_in(notebook)
    verdict = "WARN" if complaints else "ok"
    seconds, size = time.perf_counter() - start, path.stat().st_size / 1000
    print(f"{verdict:5s} {name}  {seconds:.0f} s, {size:.0f} kB", flush=True)
    for text in complaints:
        print(f"      stderr: {text}", flush=True)
    return not complaints


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import conftest  # noqa: F401  the same environment for kernels as in the tests

    results = [run(path) for path in find(sys.argv[1:])]
    print(f"{sum(results)} of {len(results)} notebooks are good")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
