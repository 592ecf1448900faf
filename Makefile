# A fresh machine needs python3 (3.10 or newer), python3-venv and make; every target sets up the rest.
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n 2
CPU_TESTS ?= tests/functional tests/distributions tests/dna tests/metrics --ignore=tests/metrics/test_surroundings.py \
	tests/build/test_dnas.py \
	tests/extractors/test_network.py tests/extractors/test_options.py tests/extractors/test_preprocess.py
VERSIONS_ARGS ?= floors --python python3.10
FUZZ_CASES ?= 140
BENCH_ARGS ?=
EXPERIMENT_ARGS ?=
EXAMPLE_ARGS ?= --small

BIN := $(VENV)/bin
MALLOC := MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_MMAP_THRESHOLD_=4000000000
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test test-cpus replay fuzz faults check-versions lint audit format docs bench experiments examples clean

demo: $(VENV)/.installed
	$(BIN)/vdna-metrics demo

test: $(VENV)/.installed-test
	@# One thread a worker; and glibc keeps freed activations, which is several times as fast as asking for them again. Of
	@# its two thresholds one alone would switch off how it adapts the other, and map and fault each activation anew.
	OMP_NUM_THREADS=1 $(MALLOC) $(BIN)/python -m pytest $(PYTEST_ARGS)

# What is computed, in the last bits of other CPUs: kernels of torch, oneDNN, MKL and OpenBLAS without AVX-512, then
# without AVX; CPUS names one of both.
CPUS ?= avx2 default
on_avx2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell
on_default := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 OPENBLAS_CORETYPE=Nehalem
test-cpus: $(VENV)/.installed-test replay
	@set -e; $(foreach cpu,$(CPUS),echo "== $(cpu)"; \
		$(on_$(cpu)) OMP_NUM_THREADS=1 $(MALLOC) \
		$(BIN)/python -m pytest -q --no-header -m 'not slow' $(PYTEST_ARGS) $(CPU_TESTS);)

# A leaderboard that is checked in, computed again on both CPUs; a number that differs by more than 0.001 is an error.
replay: replay-avx2 replay-default
replay-%: $(VENV)/.installed
	$(on_$*) OMP_NUM_THREADS=1 $(BIN)/vdna-metrics leaderboard --replay examples/leaderboard/report/leaderboard.json

# About 10 000 cases, which are others with another FUZZ_SEED; the table at the end counts what came of them.
fuzz: $(VENV)/.installed-test
	FUZZ_CASES=$(FUZZ_CASES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/fuzz

# Every cell of faults x commands, of which `make test` runs some, and a table of what came of them. Linux alone.
faults: $(VENV)/.installed-test
	FAULTS=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/faults

# Slow, and it downloads: the oldest versions of all dependencies, or the newest (VERSIONS_ARGS).
check-versions: $(VENV)/.installed-test
	$(BIN)/python scripts/check_versions.py $(VERSIONS_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive vdna_metrics
	@# The documentation site reads neither; it would show ">>>" as a quotation and the roles as they are.
	@! grep -rnE '^ +Example:$$|:(func|class|meth|attr|mod):`' --include=*.py vdna_metrics \
		|| { echo 'write "Examples:", and plain backticks or [`name`][full.path] for :func:`name`'; exit 1; }

# Known faults of what is installed here; asks PyPI, so it is not a part of CI.
audit: $(VENV)/.installed-test
	$(PIP_INSTALL) --quiet pip-audit
	$(BIN)/pip-audit --local --skip-editable --progress-spinner off

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs
	$(BIN)/python scripts/write_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-test
	@set -e; for script in $(wildcard benchmarks/[!_]*.py); do \
		echo "== $$script $(BENCH_ARGS)"; $(BIN)/python $$script $(BENCH_ARGS); done

experiments: $(VENV)/.installed-test
	@set -e; for script in $(wildcard benchmarks/experiments/[!_]*.py); do \
		echo "== $$script $(EXPERIMENT_ARGS)"; $(BIN)/python $$script $(EXPERIMENT_ARGS); done

examples: $(VENV)/.installed
	@set -e; for script in $(wildcard examples/[!_]*.py); do \
		echo "== $$script $(EXAMPLE_ARGS)"; $(BIN)/python $$script $(EXAMPLE_ARGS); done

clean:
	rm -rf $(VENV) .versions site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# pip, not python: without python3-venv, `python3 -m venv` fails but leaves a python behind.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/pip
	$(PIP_INSTALL) -e '.[test,parity,training]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/pip
	$(PIP_INSTALL) -e '.[docs]'
	touch $@ $(VENV)/.installed
