# `make reproduce` and `make test` need nothing but Python 3.10 or newer: they create .venv, install the package there, and run.
# A second run finds the environment installed; a change of pyproject.toml installs again.

PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
RUNS ?= runs
REPORT ?= reports/index.html
PYTEST_ARGS ?=
MACHINES ?=
MUTANTS ?=
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help reproduce rehearsal test test-quick test-portable test-min test-launchers mutants gpu lint format type docs tables site wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

reproduce: $(VENV)/.installed ## Train the embedded experiment into RUNS and write REPORT; QUICK=1: less of it
	$(BIN)/gcp-reproduce --runs-dir $(RUNS) --report $(REPORT) $(if $(QUICK),--quick)

test: $(VENV)/.installed-dev ## Run all tests in two processes; PYTEST_ARGS="tests/linalg -x" selects, "-n0" takes one
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-quick: $(VENV)/.installed-dev ## Run the tests that are not marked slow
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(PYTEST_ARGS)

test-portable: $(VENV)/.installed-dev ## Run the numerical tests as other CPUs compute; MACHINES="sse avx2" selects
	$(BIN)/python scripts/portable_tests.py $(MACHINES) -- $(SIDE_BY_SIDE) $(PYTEST_ARGS)

rehearsal: $(VENV)/.installed ## Train Table 2 on generated images through kills, a full disk and a requeue; minutes
	$(BIN)/python -m scripts.rehearsal

test-launchers: $(VENV)/.installed-dev ## Run jobs by submitit, SLURM, Ray, Optuna and a W&B agent (minutes; SLURM: apt install slurm-wlm munge)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[slurm,ray,optuna]'
	$(BIN)/python -m pytest -n 0 -m launcher tests/launch $(PYTEST_ARGS)

mutants: $(VENV)/.installed-dev ## List the changes of linalg and metalayers that no test sees (hours); MUTANTS="--every 20 --only linalg/p*" selects
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'coverage>=7.6'
	$(BIN)/python -m scripts.mutants $(MUTANTS)

test-min: $(OLDEST)/.installed ## Run the tests with the oldest versions that pyproject.toml allows
	$(OLDEST)/bin/python -m pytest $(PYTEST_ARGS)

gpu: $(VENV)/.installed-dev ## Run the GPU tests, measure speeds and train in mixed precision, in eight minutes, into reports/gpu; PEER=CLONE
	$(BIN)/python -m scripts.gpu $(if $(PEER),--peer $(PEER))

lint: $(VENV)/.installed-dev ## Check style, formatting and the generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/make_docs.py --check

format: $(VENV)/.installed-dev ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/.installed-dev ## Check types
	$(BIN)/mypy

docs: $(VENV)/.installed ## Write the generated parts of README.md and docs/layers
	$(BIN)/python scripts/make_docs.py

tables: $(VENV)/.installed ## Write REPORT (default: reports/index.html) from the runs in RUNS (default: runs)
	$(BIN)/gcp-tables $(RUNS) --output $(REPORT)

site: $(VENV)/.installed-dev ## Build the documentation as a site into site/, tutorials run
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

wheel: $(VENV)/.installed ## Build the wheel into dist/
	rm -rf build # setuptools would take modules that are gone from there
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove the environment, builds and caches; runs and reports stay
	rm -rf $(VENV) $(OLDEST) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml
	$(call install,.[dev])
	@touch $(VENV)/.installed $@

$(OLDEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	@touch $@

define install
@command -v $(PYTHON) > /dev/null || { echo "Python 3.10 or newer is needed; there is no $(PYTHON) on the PATH: install it, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; $(PYTHON) is $$($(PYTHON) --version): name another one: make PYTHON=python3.12" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make virtual environments; the modules venv and ensurepip are missing: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
@echo "Installing into $(VENV); the first time PyTorch is downloaded, which takes minutes and several GB."
$(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '$(1)'
endef
