# Everything installs itself from requirements.lock; needs make and python3 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Folder with the public data sets that full-size runs measure on.
export DATASETS ?= ../shared/data

.PHONY: run test shows check bench install lock clean

run: install
	$(BIN)/hawksnest demo

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

test: install
	$(BIN)/python -m pytest -m "not full" -n auto

shows: install
	$(BIN)/python -m pytest -m full -s

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks

# Rewrites requirements.lock from pyproject.toml (needs uv).
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --no-emit-find-links --extra dev -q -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
