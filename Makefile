# `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := shared services/extractor services/loader deploy/local
PROJECTS := $(PARTS:%=%/pyproject.toml)
SOURCES := shared/src services/extractor/src services/loader/src deploy/local/src
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-all faults test-redshift soak unattended lint format types check bench simulate lock lock-check isolated clean
PYTEST_ARGS ?=
ARGS ?=
# So many processes share the tests, each with a local stack of its own; 0 runs them one after the other. Tests wait
# more than they compute: three share them unless it is said otherwise.
WORKERS ?=
SHARED = -n $(or $(WORKERS),$(1)) --dist worksteal

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv from the hashed lock, with the four parts editable

$(STAMP): requirements/dev.txt $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit("qupersync needs Python 3.11 or later, this is " + sys.version.split()[0] + ": set PYTHON=…") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing from requirements/dev.txt (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PARTS:%=--editable ./%)
	@touch $@

demo: $(STAMP) ## sync a table on an embedded stack, change it while it runs, compare row by row (ARGS=--keep)
	@$(BIN)/qupersync demo $(ARGS)

up: $(STAMP) ## local stack and services in the foreground, until Ctrl-C (ARGS=--stack-only)
	@$(BIN)/qupersync up $(ARGS)

test: $(STAMP) ## every test but benchmarks, the long faults and what needs Docker (WORKERS=3)
	@$(BIN)/python -m pytest $(call SHARED,3) -m "not benchmark and not docker and not long" $(PYTEST_ARGS)

test-all: $(STAMP) ## every test, benchmarks and Docker included where it answers
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# A real cluster: QUPERSYNC_TEST_REDSHIFT_DSN=redshift://user:password@host:5439/database in the environment. The user
# may create schemas; everything happens in a scratch schema of a random name, dropped at the end. Skipped without one.
test-redshift: $(STAMP) ## the source suite against the real Redshift of QUPERSYNC_TEST_REDSHIFT_DSN
	@$(BIN)/python -m pytest tests/conformance/source -k "redshift-cluster or real_cluster" $(PYTEST_ARGS)

soak: MINUTES ?= 10
soak: $(STAMP) ## random changes and kills on whole processes, then a row-by-row comparison (MINUTES=10, ARGS=--seed N)
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

unattended: MINUTES ?= 60
unattended: PIPELINES ?= 100
unattended: $(STAMP) ## many pipelines, few faults, nobody's hand; what grows is a failure (MINUTES=60 PIPELINES=100)
	@$(BIN)/python -m tests.soak --unattended --minutes $(MINUTES) --pipelines $(PIPELINES) $(ARGS)

faults: $(STAMP) ## every fault of the catalogue, injected for real; prints a report, writes build/faults.md (WORKERS=2)
	@$(BIN)/python -m pytest $(call SHARED,2) tests/faults $(PYTEST_ARGS)

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy $(SOURCES)

simulate: SCHEDULES ?= 20000
simulate: $(STAMP) ## many more hostile schedules of the protocol than `make test` plays (SCHEDULES=20000, SEED=N)
	@QUPERSYNC_SIMULATION_PROTOCOL=$(SCHEDULES) QUPERSYNC_SIMULATION_SCHEDULES=$(SCHEDULES) $(if $(SEED),QUPERSYNC_SIMULATION_SEED=$(SEED)) \
	  $(BIN)/python -m pytest --override-ini timeout=0 tests/properties $(PYTEST_ARGS)

bench: $(STAMP) ## measure; writes docs/benchmarks.md
	@$(BIN)/python -m pytest -m benchmark -s tests/benchmarks $(PYTEST_ARGS)

isolated: $(STAMP) ## each service installs and imports alone, with only its own dependencies
	@bash requirements/isolated

check: lint types lock-check isolated test ## what CI runs

lock-check: $(STAMP) ## fail when requirements/*.txt are stale
	@bash requirements/lock --check

lock: $(STAMP) ## renew requirements/*.txt from the pyproject files
	@bash requirements/lock

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
