"""A JupyterLab server on a copy of the notebooks, and a real Chromium that looks at it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 240  # seconds that anything may take; on an idle machine nothing takes 30


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome; LAMA_REF_CHROMIUM names another one."""
    candidates = filter(None, [os.environ.get("LAMA_REF_CHROMIUM"), *BROWSERS])
    found = next(filter(None, map(shutil.which, candidates)), None)
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    return found or (str(mac) if mac.is_file() else None)


def leave_out(reason: str) -> None:
    """Skip, or fail where the browser test is required."""
    if os.environ.get("LAMA_REF_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason} (LAMA_REF_REQUIRE_BROWSER=1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    path = find_chromium()
    if path is None:
        leave_out("no Chromium or Chrome is installed (Debian: apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        leave_out("playwright is not installed: pip install 'lama-ref[browser]'")
    arguments = [
        "--no-sandbox",  # needed where the tests run as root, as in containers
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=arguments, timeout=1000 * PATIENCE
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory):
    """Address of a JupyterLab server that knows nothing of the user's settings."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(
        ROOT / "notebooks",
        home / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints", ".ruff_cache"),
    )
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    environment = {
        "OMP_NUM_THREADS": "1",  # leave a core to the browser
        **os.environ,  # with PYTHONPATH, from the conftest.py of the project
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=", "--ServerApp.password="),
        f"--ServerApp.root_dir={home / 'notebooks'}",
        "--LabApp.expose_app_in_browser=True",
    ]
    address, log = f"http://127.0.0.1:{port}", home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=home, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(f"{address}/api/status", server, log)
            yield address
        finally:
            server.terminate()  # on which it ends its kernels
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


class Notebook:
    """A notebook that is open in a page of JupyterLab."""

    def __init__(self, page, address: str, name: str):
        self.page = page
        page.goto(f"{address}/lab/tree/{name}?reset")
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()

    def run_all(self) -> list[dict]:
        """Run all cells; of each code cell its count, and its outputs that are errors.

        Clicking in the menu would race against the kernel's start, which this waits for.
        """
        return self.page.evaluate(
            """async () => {
              const panel = jupyterapp.shell.currentWidget;
              await panel.context.ready;
              await panel.sessionContext.ready;
              await panel.sessionContext.session.kernel.info;
              await jupyterapp.commands.execute('notebook:run-all-cells');
              const cells = panel.content.widgets.filter((c) => c.model.type === 'code');
              return cells.map((c) => ({
                count: c.model.executionCount,
                source: c.model.sharedModel.getSource(),
                errors: c.model.outputs.toJSON().filter((o) => o.output_type === 'error'),
              }));
            }"""
        )

    def python(self, code: str):
        """Run code in the notebook's kernel; what it prints, read as JSON."""
        text = self.page.evaluate(
            """async (code) => {
              const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              const future = kernel.requestExecute({ code, store_history: false });
              let text = '';
              future.onIOPub = (message) => {
                if (message.content.name === 'stdout') text += message.content.text;
                if (message.header.msg_type === 'error')
                  throw new Error(message.content.traceback.join('\\n'));
              };
              await future.done;
              return text;
            }""",
            code,
        )
        assert text, f"printed nothing: {code}"
        return json.loads(text)

    def scroll_to(self, source: str) -> None:
        """Bring the code cell that contains the text into view (others may not be rendered)."""
        found = self.page.evaluate(
            """async (source) => {
              const notebook = jupyterapp.shell.currentWidget.content;
              const index = notebook.widgets.findIndex((c) => c.model.type === 'code'
                && c.model.sharedModel.getSource().includes(source));
              if (index < 0) return false;
              notebook.activeCellIndex = index;
              await notebook.scrollToItem(index, 'start');
              return true;
            }""",
            source,
        )
        assert found, f"no cell contains {source!r}"


@pytest.fixture(scope="session")
def start_here(browser, lab):
    """Notebook 00, all of whose cells have run."""
    context = browser.new_context(viewport={"width": 1300, "height": 1000}, has_touch=True)
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    notebook = Notebook(page, lab, "00_start_here.ipynb")
    notebook.ran = notebook.run_all()
    yield notebook
    context.close()
