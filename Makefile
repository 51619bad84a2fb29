# make demo | run | test | check | bench. Each sets up .venv first, and again when pyproject.toml has changed.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
APP := $(VENV)/.app-installed
DEV := $(VENV)/.dev-installed
TORCH := torch>=2.13,<2.14
# The first Python that is new enough; another can be named: make demo PYTHON=/path/to/python3
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$python >/dev/null 2>&1 && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	&& { echo $$python; break; }; done)

.PHONY: help demo run test lint check bench format clean

help:
	@echo "make demo    open the app with the demo workspace; works offline, needs no GPU"
	@echo "make run     open the app with your own workspace"
	@echo "make test    run all tests"
	@echo "make check   formatting, lint, types, import contracts, and all tests"
	@echo "make bench   measure speed and print a table"

demo: $(APP)
	@$(BIN)/adapter-playground --demo $(ARGS)

run: $(APP)
	@$(BIN)/adapter-playground $(ARGS)

test: $(DEV)
	@echo "Running all tests, those in a browser with Chromium or Chrome where there is one."
	$(BIN)/python -m pytest $(ARGS)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: $(DEV)
	$(BIN)/python benchmarks/run_all.py $(ARGS)

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found."; \
		echo "Install it, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The environment could not be created. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }

# torch first and by itself, so that a CPU build is taken where the machine offers one.
$(APP): pyproject.toml | $(VENV)
	@echo "Installing Adapter Playground into $(VENV); the first time takes some minutes, most of it for PyTorch"
	$(BIN)/python -m pip install --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

$(DEV): $(APP)
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[dev]"
	@touch $@
