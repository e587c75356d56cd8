# Everything installs itself from requirements.lock; needs make and python3 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Folder with the public data sets that full-size runs measure on.
export DATASETS ?= ../shared/data

# Clients that were not written here, each in an environment of its own.
CLIENTS := .clients
CLIENT_NAMES := awscli capo javascript preview s3

.PHONY: run test shows check bench install clients lock clean

run: install
	$(BIN)/hawksnest demo

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clients: $(CLIENTS)/.installed

$(CLIENTS)/.installed: $(wildcard tests/clients/requirements-*.txt) tests/clients/package-lock.json
	for name in $(CLIENT_NAMES); do \
	  test -x $(CLIENTS)/$$name/bin/python || $(PYTHON) -m venv $(CLIENTS)/$$name || exit 1; \
	  $(CLIENTS)/$$name/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    -r tests/clients/requirements-$$name.txt || exit 1; \
	done
	cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)/javascript
	PATH="$(CURDIR)/$(CLIENTS)/javascript/bin:$$PATH" npm ci --prefix $(CLIENTS)/javascript --no-audit --no-fund --silent
	touch $@

test: install clients
	$(BIN)/python -m pytest -m "not full" -n auto

shows: install clients
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
	for name in $(CLIENT_NAMES); do uv pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links -q \
	  -o tests/clients/requirements-$$name.txt tests/clients/requirements-$$name.in || exit 1; done

clean:
	rm -rf $(VENV) $(CLIENTS) .pytest_cache .mypy_cache .ruff_cache .hypothesis
