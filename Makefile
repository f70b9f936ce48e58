# Every target makes what it needs: a virtual environment in .venv, the package in it
# (editable) and the extras that the target uses. Needed beforehand: make, Python, pip's
# access to a package index.
#
#   make demo [DATA=recording]   the tour: simulated cohort, one recording, a figure
#   make test                    lint, tests, examples in the docstrings; COVERAGE=1: also
#                                which lines they reach, which takes a fifth longer
#   make test-slow               the same with the tests marked slow
#   make smoke                   some tests of each part, in about a minute
#   make dist-test               wheel and sdist, and the tests outside of the checkout
#   make lint / make format      check / mend the style
#   make doc                     the documentation, examples run, in doc/_build/html
#   make weights [WORK=folder]   train the bundled weights anew, into that folder
#   make benchmark               the speed figures, also as JSON in benchmark_results
#   make changelog VERSION=0.2   the fragments of changes.d, into CHANGES
#   make clean                   remove what the other targets made

PYTHON ?= python3
VENV ?= .venv
# Processes that run tests and examples; each computes with one thread.
JOBS ?= 2
PYTEST_ARGS ?=
COVERAGE ?=
# For example -D plot_gallery=0: the pages alone, no example is run.
SPHINX_ARGS ?=
DATA ?=
WORK ?= weights_work
TRAIN_ARGS ?=
RESULTS ?= benchmark_results
VERSION ?=
# Index with torch builds without CUDA. Where it does not answer, or is set to nothing,
# torch comes from the index that pip is configured for.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PY = $(VENV)/bin/python
PIP = $(PY) -m pip --disable-pip-version-check
SETUP = setup.cfg pyproject.toml constraints.txt mne_megfm/__init__.py
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST = $(ONE_THREAD) $(PY) -m pytest -n $(JOBS) --dist worksteal \
	$(if $(COVERAGE),--cov --cov-report=term) $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo smoke test test-slow dist-test lint format doc weights benchmark \
	changelog clean

help:
	@sed -n 's/^#   //p' Makefile

# Stamps: when the environment and each set of extras were last brought up to date.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Expected $(PYTHON) to be Python 3.11 or later with the venv module; got"; \
	  $(PYTHON) --version; \
	  echo "Give another one with PYTHON=..., or install python3-venv."; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-deps -c constraints.txt torch \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --retries 1 --timeout 15)
	@touch $@

$(VENV)/.base: $(SETUP) $(VENV)/.torch
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.%: $(SETUP) $(VENV)/.torch
	$(PIP) install --quiet -c constraints.txt -e '.[$*]'
	@touch $@

# For example extra-braindecode, to run the tests that go with that extra, too.
extra-%: $(VENV)/.%
	@:

demo: $(VENV)/.cli,interpret
	MNE_MEGFM_TEST_DATA="$${MNE_MEGFM_TEST_DATA:-../shared/data}" \
	  $(VENV)/bin/mne-megfm demo --overwrite $(if $(DATA),--data "$(DATA)")

lint: $(VENV)/.test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache

format: $(VENV)/.test
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# Tests that a newcomer runs first: they need no training and no real recordings.
SMOKE = test_extras test_sys_info inputs/test_left_out sensors/test_array \
	store/test_store models/test_masking evaluation/test_intervals

smoke: $(VENV)/.test
	$(ONE_THREAD) $(PY) -m pytest -q -n $(JOBS) $(SMOKE:%=tests/%.py)

test: lint
	$(PYTEST)

test-slow: lint
	$(PYTEST) -m "slow or not slow"

doc: $(VENV)/.doc
	JOBS=$(JOBS) $(ONE_THREAD) $(PY) -m sphinx -q -W --keep-going -b html $(SPHINX_ARGS) \
	  doc doc/_build/html
	@echo "Open doc/_build/html/index.html"

weights: $(VENV)/.base
	$(PY) tools/train_windows.py $(WORK) $(TRAIN_ARGS)

# Those of speed; the others are about claims, see doc/validation for their commands.
benchmark: $(VENV)/.braindecode
	set -e; for name in features pretraining store; do \
	  echo "== $$name"; OMP_NUM_THREADS=1 $(PY) benchmarks/bench_$$name.py \
	    --json $(RESULTS)/$$name.json; done
	@echo "Compare with another run: python tools/compare_benchmarks.py OLD $(RESULTS)"

# The tests come from the sdist and the package from the wheel, in a folder that is no
# part of the checkout.
dist-test: $(VENV)/.dev
	rm -rf dist
	$(PY) -m build
	$(PY) tools/check_dist.py dist $(PYTEST_ARGS)

changelog: $(VENV)/.dev
	$(PY) -m towncrier build --yes --version $(VERSION)

clean:
	rm -rf $(VENV) build dist *.egg-info benchmark_results demo_output .coverage .mypy_cache .pytest_cache .ruff_cache \
	  doc/_build doc/gallery doc/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
