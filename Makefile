# Needs Python 3.11 or later with its venv module, and nothing else. `make` alone tells what there is.

PYTHON ?= python3
PYTEST_ARGS ?= -n 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PACKAGE := litgo_pipelines

# Without byte code every process pays again for compiling what it imports.
export PYTHONDONTWRITEBYTECODE :=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo up test lint bench constraints clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv and install the project there

demo: $(INSTALLED) ## Show the whole project at work
	$(BIN)/litgo demo

up: $(INSTALLED) ## Start Dagster, MLflow, the matching service and the collector of metrics (Ctrl-C stops them)
	$(BIN)/litgo up

test: $(INSTALLED) ## Run the tests (PYTEST_ARGS="-k allocation")
	$(BIN)/pytest $(PYTEST_ARGS)

lint: $(INSTALLED) ## Check style, types, who imports whom, alert rules and dashboards
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PACKAGE)
	$(BIN)/lint-imports
	$(BIN)/litgo metrics lint
	$(BIN)/litgo dashboards build --check

bench: $(INSTALLED) ## Measure speed and write bench.json
	$(BIN)/python -m litgo_pipelines_tests.bench --output bench.json

constraints: ## Write constraints.txt anew: the newest versions that pyproject.toml allows
	@$(call require-python)
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(PYTHON) -m venv "$$scratch/venv" && \
	"$$scratch/venv/bin/pip" install '.[dev]' && \
	"$$scratch/venv/bin/pip" freeze --exclude litgo-pipelines | sed -E 's/\+[A-Za-z0-9.]+$$//' > "$$scratch/constraints.txt" && \
	cp "$$scratch/constraints.txt" constraints.txt

clean: ## Remove .venv, the data in .litgo, and all that was generated in this folder
	@if [ -x $(BIN)/litgo ]; then LITGO_HOME="$(CURDIR)/.litgo" $(BIN)/litgo db stop; fi
	rm -rf .litgo $(VENV) build bench.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find $(PACKAGE) litgo_pipelines_tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(call require-python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	@touch $@

define require-python
	command -v $(PYTHON) > /dev/null || { echo "make: $(PYTHON) is missing: install Python 3.11 or later, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old: say make PYTHON=/path/to/python3.11 (or later)" >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "make: $(PYTHON) lacks its venv module: install it (package python3-venv)" >&2; exit 1; }
endef
