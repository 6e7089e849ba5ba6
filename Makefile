# The whole interface of the repository. Every target installs what it needs into .venv first.
VENV := .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
RUN := runs/quick

.PHONY: run test check lint types floors pytest bench docs fmt clean

run: $(VENV)/.installed
	$(PY) -m grokinterp train quick --out $(RUN)
	$(PY) -m grokinterp report $(RUN)

test: check

check: lint floors types pytest

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

floors: $(VENV)/.installed-test
	$(VENV)/bin/lint-imports

types: $(VENV)/.installed-test
	$(VENV)/bin/basedpyright --level error

pytest: $(VENV)/.installed-test
	$(PY) -m pytest -q

bench: $(VENV)/.installed-test
	$(PY) -m benchmarks.bench

docs: $(VENV)/.installed-docs
	$(VENV)/bin/mkdocs build --strict

fmt: $(VENV)/.installed-test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# torch comes first and pinned: its name alone, or a range, would fetch the build with CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist site
