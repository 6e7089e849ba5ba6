# The whole interface of the repository. Every target installs what it needs into .venv first.
VENV := .venv
VENV4 := .venv-tl4
PYTHON ?= python3
PY := $(VENV)/bin/python
RUN := runs/quick
# One test process per core, each with one thread: they would wait for each other's otherwise.
PYTEST := -m pytest -q -n logical --dist worksteal
# The CPU build of torch; https://download.pytorch.org/whl/cu130 and the like have the builds with CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# What a model is read and written by; the rest does not depend on the version of TransformerLens.
TESTS4 := tests/models tests/test_snapshots.py tests/test_fourier.py tests/test_logits.py tests/test_neurons.py \
	tests/test_progress.py tests/test_attention.py tests/test_trajectories.py tests/runs/test_run.py tests/interventions \
	tests/papers/test_circuit.py

.PHONY: run test check quick lint floors types pytest exhaustive fast test-transformer-lens-4 bench docs fmt clean

run: $(VENV)/.installed
	$(PY) -m grokinterp train quick --out $(RUN)
	$(PY) -m grokinterp report $(RUN)

test: check

check: lint floors types pytest

# All at once: the type checker takes as long as the fast tests.
quick: $(VENV)/.installed-test
	$(MAKE) --no-print-directory --jobs=4 --output-sync=target lint floors types fast

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

floors: $(VENV)/.installed-test
	$(VENV)/bin/lint-imports

types: $(VENV)/.installed-test
	$(VENV)/bin/basedpyright --pythonpath $(PY) --level error

pytest: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(PY) $(PYTEST) -m "not exhaustive"

# What `make test` leaves out; CI runs both.
exhaustive: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(PY) $(PYTEST) -m exhaustive tests

fast: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(PY) $(PYTEST) -m "not slow and not exhaustive" tests

test-transformer-lens-4: $(VENV4)/.installed
	OMP_NUM_THREADS=1 $(VENV4)/bin/python $(PYTEST) $(TESTS4)

bench: $(VENV)/.installed-test
	$(PY) -m benchmarks.bench

docs: $(VENV)/.installed-docs
	$(VENV)/bin/mkdocs build --strict

fmt: $(VENV)/.installed-test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Installs torch first, for the Python $(1) under the constraints $(2): from TORCH_INDEX if it answers within seconds (the
# alarm also ends a look-up of its name that hangs), else from the indexes that pip is configured with. Its dependencies
# come with the package: TORCH_INDEX may lack their pinned versions.
define install_torch
$(1) -c "import signal, urllib.request as u; signal.alarm(8); u.urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null \
		&& $(1) -m pip install --quiet --timeout 10 --retries 1 --no-deps --index-url $(TORCH_INDEX) --constraint $(2) torch \
		|| $(1) -m pip install --quiet --constraint $(2) torch
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(call install_torch,$(PY),constraints.txt)
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
	$(call install_torch,$(VENV4)/bin/python,$(VENV4)/constraints.txt)
	$(VENV4)/bin/python -m pip install --quiet --constraint $(VENV4)/constraints.txt "transformer-lens==4.3.0" --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV4) build dist site
