# Every target works on a bare Debian machine: what is missing is installed first (scripts/bootstrap.sh).
SHELL := /bin/bash
VENV ?= .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.sublet-installed

.PHONY: quickstart quickstart-clean test conformance soak jitter check fix bench generate venv

venv: $(STAMP)

$(STAMP): pyproject.toml hatch_build.py scripts/make_schemas.py scripts/bootstrap.sh
	@scripts/bootstrap.sh python $(VENV)
	@touch $(STAMP)

quickstart: ## a tenant cluster on this machine
	@scripts/quickstart.sh

quickstart-clean: ## removes everything quickstart made
	@scripts/quickstart-clean.sh

test: venv ## every test; installs what it needs
	@scripts/bootstrap.sh test $(VENV)
	@scripts/test.sh $(VENV)

check: venv ## types, style, import contracts
	@scripts/bootstrap.sh check $(VENV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

fix: venv
	@scripts/bootstrap.sh check $(VENV)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: venv ## tables of what design.md promises; JSON in bench/results
	$(PYTHON) -m bench

soak: venv ## crash and load tests with their full counts
	@scripts/bootstrap.sh test $(VENV)
	$(PYTHON) scripts/soak.py

jitter: venv ## the tests once more with tasks that come late: what rests on a lucky order shows
	@scripts/bootstrap.sh test $(VENV)
	PYTHONPATH=tests $(PYTHON) -m pytest -q -n 2 --dist loadfile --ignore tests/e2e -m "not containers" -p jitter $(PYTEST_ARGS)

conformance: venv ## passed/total by area of the upstream suite's names
	@scripts/bootstrap.sh test $(VENV)
	$(PYTHON) tests/conformance/report.py

generate: venv ## schema data from Kubernetes' definitions
	$(PYTHON) scripts/make_schemas.py
