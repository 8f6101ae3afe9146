# Every target first installs what it needs and lacks: the first time, and when the list has changed.
# Works with GNU make 3.81 (macOS) and, under a Unix shell such as Git Bash, on Windows.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
PY := $(BIN)/python
COURSE := .venv/.stamp-course
TEST := .venv/.stamp-test
CHECK := .venv/.stamp-check
BROWSER := .venv/.stamp-browser

# On Linux, PyPI's torch brings several GB of CUDA; `make lab CPU=1` takes the CPU build.
ifdef CPU
INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
endif
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check $(INDEX) -c constraints.txt

# Threads that wait should sleep: beside another busy program, spinning ones take ten times as long.
export OMP_WAIT_POLICY ?= PASSIVE

# In a container one is often root, as whom Jupyter starts only when told so.
ALLOW_ROOT := $(if $(filter 0,$(shell id -u 2>/dev/null)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help setup lab demo test test-browser check format notebooks clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo "  Variables: PYTHON=python3.12 (interpreter), CPU=1 (CPU build of torch on Linux)"

setup: $(COURSE) $(TEST) $(CHECK) $(BROWSER) ## Install in .venv what all targets need, at once

$(COURSE): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(v < (3, 11, 5) and \
	'Python %d.%d.%d found, but the versions in constraints.txt need 3.11.5 or newer: make setup PYTHON=python3.12' % v[:3])"
	$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e ".[course]"
	@touch $@

$(TEST) $(CHECK) $(BROWSER): .venv/.stamp-%: $(COURSE)
	$(PIP_INSTALL) -e ".[$*]"
	@touch $@

lab: $(COURSE) ## Open the course in JupyterLab
	$(PY) -m jupyterlab $(ALLOW_ROOT) notebooks/00_start_here.ipynb

demo: $(COURSE) ## Inpaint sample photographs with the shipped weights, without a browser: demo.png
	$(PY) -m lama_ref demo

test: $(TEST) ## Run the unit tests and every notebook
	$(PY) -m pytest

test-browser: $(TEST) $(BROWSER) ## Drive JupyterLab in a real Chromium (which must be installed)
	$(PY) -m pytest tests/browser

check: $(CHECK) ## Check format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m pyright

format: $(CHECK) ## Mend format and what lint can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

notebooks: $(COURSE) ## Re-execute all notebooks in place (some of them: ONLY="00 01")
	$(PY) tests/tools/run_notebooks.py $(ONLY)

clean: ## Remove caches, builds and demo.png (rm -rf .venv for a fresh start)
	rm -rf build dist demo.png .pytest_cache .ruff_cache .hypothesis *.egg-info
	find lama_ref tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +
