# The whole development loop. `make` is what is run first and often; `make test` is everything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080

.DEFAULT_GOAL := check
.PHONY: check format test serve bench chaos roads sdk clean setup programs

# Installed again whenever what is needed has changed.
$(VENV)/.ready: pyproject.toml
	@echo "Setting up $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=23.2"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[fast,redis,nats,dev,bench]"
	@touch $@

setup: $(VENV)/.ready

## check: format, lint, types, import rules and the quick tests, in about a minute
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -m "not slow and not browser" -n 2

## format: write what `check` asks for
format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## test: everything, the tests in a real Chromium included
test: setup programs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -m "not alone" -n 4 --dist worksteal
	$(BIN)/pytest -m alone

# What some tests need besides Python: as root on Debian it is installed; elsewhere the tests that need
# it say that they were skipped, and why.
WANTED := chromium nginx haproxy caddy redis-server nats-server strace curl openssl nodejs npm
programs:
	@missing=""; for program in $(WANTED); do \
	  command -v $${program%js} >/dev/null || test -x /usr/sbin/$$program || missing="$$missing $$program"; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing from Debian:$$missing …"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq $$missing >/dev/null; \
	  else \
	    echo "Not installed, and only root can do it:$$missing. The tests that need them will be skipped."; \
	  fi; \
	fi

## serve: the server and this machine's own figures on it; Ctrl-C ends both
serve: setup
	@$(BIN)/python examples/serve.py --port $(PORT)

## bench: what Tidings costs beside bare loops in C and the servers one would take instead, in ten minutes
bench: setup
	$(BIN)/python bench/run.py

## chaos: every fault on all transports for five minutes, and a verdict; LOG=sqlite, redis, nats, workers … or memory, SEED=… repeats a run
CHAOS_SECONDS ?= 300
LOG ?= memory
chaos: setup
	$(BIN)/python tests/exactness/run.py --log $(LOG) --seconds $(CHAOS_SECONDS) $(if $(SEED),--seed $(SEED))

## roads: real and hostile proxies for ten minutes, and a table; SEED=… repeats a run
ROADS_SECONDS ?= 600
roads: setup
	$(BIN)/python tests/roads/run.py --seconds $(ROADS_SECONDS) $(if $(SEED),--seed $(SEED))

## sdk: the browser SDK's checks and tests, and its one file, src/tidings/web/tidings.js
sdk:
	cd sdk && npm ci && npm run check && npm test && npm run build

clean:
	rm -rf $(VENV) build dist bench/build bench/peers/node/node_modules sdk/node_modules sdk/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
