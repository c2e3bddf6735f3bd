# Everything starts here: `make run` for the server, `make test` for the tests. Both set up what they need in .venv, and
# set it up anew if it is incomplete, was moved, or belongs to another Python.

PYTHON ?= python3
ARGS ?=
RUNS ?= 10
SOAK ?= 600
MANY := CAMPAIGN_KILLS=50 CAMPAIGN_MIRROR_KILLS=50 CAMPAIGN_RACES=1000 CAMPAIGN_OUTAGES=10 CAMPAIGN_AWAY=10 CAMPAIGN_ROWS=1
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests also wait, so four processes use two cores.
PYTEST := $(BIN)/python -m pytest -n 4 --dist worksteal

# $(VENV)/ready names the Python and the place for which it was made; PYTHON counts if it was given with the command.
DESCRIBE := -c 'import os, sys; print(*sys.version_info[:2], os.path.realpath(sys.prefix))'
MADE_FOR := $(shell cat $(VENV)/ready 2>/dev/null)
IS_FOR := $(shell $(BIN)/python $(DESCRIBE) 2>/dev/null)
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) $(DESCRIBE) | cut -d ' ' -f 1,2),$(wordlist 1,2,$(MADE_FOR)))
IS_FOR :=
endif
endif
ifneq ($(MADE_FOR),$(or $(IS_FOR),nothing))
.PHONY: $(VENV)/ready
endif

.PHONY: run client test lint bench docs coverage campaign wheel bundle clean

run: $(VENV)/ready
	@exec $(BIN)/python server.py $(ARGS)

client: $(VENV)/ready
	@exec $(BIN)/python client.py $(ARGS)

test: $(VENV)/ready-dev
	$(PYTEST) $(ARGS)

lint: $(VENV)/ready-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(VENV)/ready-dev
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/ready
	$(BIN)/python -m docs.reference

# The tests, with what they reach of the code in all processes that they start.
coverage: $(VENV)/ready-dev
	$(BIN)/python -m coverage erase
	$(PYTEST) --cov --cov-report= $(ARGS)
	-$(BIN)/python -m coverage combine --quiet --append # of processes that ended after the tests, if any
	$(BIN)/python -m coverage report --skip-covered

# Long runs, for a night: strangers for SOAK seconds, 50 times as many examples of each property, the tests of faults
# with many kills, outages and races of several servers, and again and again.
campaign: $(VENV)/ready-dev
	$(BIN)/python -m tests.campaign.soak --seconds $(SOAK)
	$(PYTEST) --hypothesis-profile thorough $(ARGS)
	$(MANY) $(PYTEST) tests/faults tests/bench $(ARGS)
	for run in $$(seq $(RUNS)); do echo "run $$run of $(RUNS)"; $(PYTEST) tests/faults $(ARGS) || exit 1; done

# dist/: the package, for a machine with a network, and one archive with all packages, for one without.
wheel: $(VENV)/ready-dev
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

bundle: $(VENV)/ready-dev
	$(BIN)/python -m package.bundle dist

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Partyline needs Python 3.11 or newer; say which: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet -r requirements.txt
	@$(BIN)/python $(DESCRIBE) > $@

# Not ready while this is under way, so that it begins anew if it does not come to its end.
$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	@mv $(VENV)/ready $(VENV)/half-ready
	$(PIP) install --quiet -r requirements-dev.txt
	@mv $(VENV)/half-ready $(VENV)/ready && touch $(VENV)/ready $@
