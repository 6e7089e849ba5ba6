# The whole interface of the repository. Every target installs what it needs into .venv first.
VENV := .venv
VENV4 := .venv-tl4
PYTHON ?= python3
PY := $(VENV)/bin/python
RUN := runs/quick
# One test process per core, each with one thread: they would wait for each other's otherwise.
PYTEST := -m pytest -q -n logical --dist worksteal
# What a model is read and written by; the rest does not depend on the version of TransformerLens.
TESTS4 := tests/models tests/test_snapshots.py tests/test_fourier.py tests/test_logits.py tests/test_neurons.py \
	tests/test_progress.py tests/test_attention.py tests/test_trajectories.py tests/runs/test_run.py tests/interventions \
	tests/papers/test_circuit.py

.PHONY: run test check lint floors types pytest test-transformer-lens-4 bench docs fmt clean

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
	$(VENV)/bin/basedpyright --pythonpath $(PY) --level error

pytest: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(PY) $(PYTEST)

test-transformer-lens-4: $(VENV4)/.installed
	OMP_NUM_THREADS=1 $(VENV4)/bin/python $(PYTEST) $(TESTS4)

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

$(VENV4)/.installed: pyproject.toml constraints.txt
	test -x $(VENV4)/bin/python || $(PYTHON) -m venv $(VENV4)
	grep -v '^transformer-lens==' constraints.txt > $(VENV4)/constraints.txt
	$(VENV4)/bin/python -m pip install --quiet --constraint $(VENV4)/constraints.txt torch
	$(VENV4)/bin/python -m pip install --quiet --constraint $(VENV4)/constraints.txt "transformer-lens==4.3.0" --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV4) build dist site
