# Everything a newcomer needs: `make demo` and `make test` set up what is missing by themselves.
# PYTHON picks the interpreter the virtual environment is made with, 3.11 or newer.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# The checkout's path is part of the stamp: an environment does not survive being moved.
STAMP := $(VENV)/.installed-$(shell pwd | cksum | cut -d' ' -f1)
# The models of the Triton server need numpy 1, so they have an environment of their own.
TRITON_VENV := .venv-triton
TRITON_STAMP := $(TRITON_VENV)/$(notdir $(STAMP))
TRITON_REQUIREMENTS := deploy/triton/requirements.txt
# The S3 server of the tests needs an older python-dateutil than everything else.
S3_VENV := .venv-s3
S3_STAMP := $(S3_VENV)/$(notdir $(STAMP))
S3_REQUIREMENTS := tests/fakes/s3-requirements.txt

# Two spinning OpenMP threads beside another busy process cost 370 ms now and then.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test soak lint types gen gen-check format bench clean tracker triton s3

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

setup: $(STAMP) gen-check tracker ## Make .venv with everything in it, fetch the face tracker
	@echo "ready: $(VENV)/bin/parlante --help"

demo: setup ## Make out/demo.mp4 and out/demo.png
	@$(PY) -m parlante.cli.main demo --output-dir out

test: setup triton s3 ## Lint, types, tests
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m pytest

soak: setup ## Replace, kill and stop processes of a local fleet for 10 minutes, overload it, render all manifests
	$(PY) -m tests.perf.fleet_soak --minutes 10 --overload
	$(PY) -m tests.deploy.every_combination

lint: $(STAMP) ## Check style
	$(PY) -m ruff check
	$(PY) -m ruff format --check

format: $(STAMP) ## Put style right
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

types: $(STAMP) ## Check types
	$(PY) -m mypy

gen: $(STAMP) ## Generate the protocol code again
	$(PY) scripts/gen_protos.py

gen-check: $(STAMP)
	@rm -rf $(VENV)/gen && mkdir -p $(VENV)/gen && $(PY) scripts/gen_protos.py $(VENV)/gen
	@diff -rq --exclude=__pycache__ --exclude=__init__.py $(VENV)/gen/parlante/v1 parlante/v1 \
		|| { echo "parlante/v1 is not what protos/ gives: run make gen" >&2; exit 1; }

tracker: $(STAMP)
	@$(PY) scripts/fetch_tracker.py

# The wheel of the server is for Linux on x86-64 and Python up to 3.12; tests of it are skipped elsewhere.
triton: ## Make .venv-triton, the Triton server and its models' packages
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
		echo "the Triton server's wheel is for Linux on x86-64; frames are decoded in process"; \
	elif ! "$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then \
		echo "the Triton server needs Python 3.11 or 3.12: make triton PYTHON=python3.11"; \
	else $(MAKE) --no-print-directory $(TRITON_STAMP); fi

$(TRITON_STAMP): $(TRITON_REQUIREMENTS) pyproject.toml
	@$(TRITON_VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(TRITON_VENV)
	@echo "installing the Triton server into $(TRITON_VENV)"
	$(TRITON_VENV)/bin/python -m pip install --quiet --no-deps --requirement $(TRITON_REQUIREMENTS)
	$(TRITON_VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(TRITON_VENV)/.installed-* && touch $@

s3: $(S3_STAMP) ## Make .venv-s3, the S3 server that the tests use

$(S3_STAMP): $(S3_REQUIREMENTS)
	@$(S3_VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(S3_VENV)
	@echo "installing the tests' S3 server into $(S3_VENV)"
	$(S3_VENV)/bin/python -m pip install --quiet --no-deps --requirement $(S3_REQUIREMENTS)
	@rm -f $(S3_VENV)/.installed-* && touch $@

bench: setup ## Measure speed, delay and memory
	@$(PY) -m parlante.cli.main bench

clean: ## Remove what was made: environment, caches, output
	rm -rf $(VENV) $(TRITON_VENV) $(S3_VENV) out build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last, so an interrupted set-up is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "there is no $(PYTHON); on Debian: apt-get install -y python3 python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; name one: make setup PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments; on Debian: apt-get install -y python3-venv" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "installing packages into $(VENV): this takes some minutes the first time"
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(PY) -m pip check
	@rm -f $(VENV)/.installed-* && touch $@
