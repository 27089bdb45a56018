# Every target sets up what it needs in .venv; `make run` and `make test` work as the first command.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)/data/dagster_home
export GX_ANALYTICS_ENABLED := false
# Threads of the tree learner sleep instead of spinning while they wait for a busy core.
export OMP_WAIT_POLICY := passive
# The libraries come uncompiled; unless their bytecode is kept, each process compiles thousands of modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run ui web test tests lint style types bench

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(DAGSTER_HOME) && cp dagster.yaml $@

# numba keeps compiled functions beside their own file and does not see that one they call has changed.
$(VENV)/kernels: $(wildcard engine/*/*.py) | $(VENV)/ready
	@find engine -name '*.nb[ic]' -delete
	@touch $@

setup: $(VENV)/ready $(VENV)/kernels $(DAGSTER_HOME)/dagster.yaml ## Create .venv with the pinned packages

run: setup ## From raw candles to target weights, then a summary
	@$(BIN)/python -m engine_jobs.run

ui: setup ## Training console and asset graph in the browser, on loopback
	@$(BIN)/python -m console.together $(if $(CONSOLE_PORT),--port $(CONSOLE_PORT)) $(if $(DAGSTER_PORT),--dagster-port $(DAGSTER_PORT))

# Only who changes the page needs Node: what is built is part of the package.
web: ## Check, test and build the page anew (needs Node)
	@command -v npm >/dev/null || { echo "make web needs Node 20 or newer with npm: https://nodejs.org" >&2; exit 1; }
	@cd console/web && npm ci && npm run check && npm test && npm run build

lint: style types ## Style, types, import rule, definitions

style: setup
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --no-cache --check .
	@$(BIN)/lint-imports
	@$(BIN)/dagster definitions validate -w workspace.yaml --log-level warning

types: setup
	@$(BIN)/mypy

tests: export OMP_NUM_THREADS := 1
tests: setup
	@$(BIN)/python -m pytest -n 2 --dist worksteal

# Each check takes one core, types for more than a minute: done beside the tests, the other does not wait for it.
test: setup ## Every check and test
	@$(MAKE) --no-print-directory --jobs 2 tests style types

bench: setup ## What the README's figures are measured with
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	@for name in $$(grep -l __main__ benchmarks/*.py | grep -v '_peers\?\.py' | xargs -n1 basename | sed s/.py$$//); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || echo "-- $$name did not run to its end"; done
