# Every target sets the environment up first, and only when the dependency list has changed.
# Works with GNU make 3.81 (macOS) and, under a Unix shell such as Git Bash, on Windows.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
PY := $(BIN)/python
STAMP := .venv/.stamp-installed

# On Linux, PyPI's torch brings several GB of CUDA; `make lab CPU=1` takes the CPU build.
ifdef CPU
INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
endif
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check $(INDEX) -c constraints.txt

# Threads that wait should sleep: beside another busy program, spinning ones take ten times as long.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup lab demo test test-browser check format notebooks clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo "  Variables: PYTHON=python3.12 (interpreter), CPU=1 (CPU build of torch on Linux)"

setup: $(STAMP) ## Create .venv and install lama_ref (by itself only when the dependencies change)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(v < (3, 11, 5) and \
	'Python %d.%d.%d found, but the versions in constraints.txt need 3.11.5 or newer: make setup PYTHON=python3.12' % v[:3])"
	$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e ".[course,dev]"
	@touch $@

lab: $(STAMP) ## Open the course in JupyterLab
	$(PY) -m jupyterlab notebooks/00_start_here.ipynb

demo: $(STAMP) ## Inpaint sample photographs with the shipped weights, without a browser: demo.png
	$(PY) -m lama_ref demo

test: $(STAMP) ## Run the unit tests and every notebook
	$(PY) -m pytest

test-browser: $(STAMP) ## Drive JupyterLab in a real Chromium (which must be installed)
	$(PY) -m pytest tests/browser

check: $(STAMP) ## Check format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m pyright

format: $(STAMP) ## Mend format and what lint can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

notebooks: $(STAMP) ## Re-execute all notebooks in place (some of them: ONLY="00 01")
	$(PY) tests/tools/run_notebooks.py $(ONLY)

clean: ## Remove caches, builds and demo.png (rm -rf .venv for a fresh start)
	rm -rf build dist demo.png .pytest_cache .ruff_cache .hypothesis *.egg-info
	find lama_ref tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +
