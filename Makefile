# Only Python 3.11+ and make are assumed; everything else comes into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo test check bench chaos-producers chaos-detector chaos-sinks fuzz-frames compare-reference connect-answers lock clean
.DEFAULT_GOAL := help

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/'

setup: $(STAMP)  ## make .venv with the command liqcascade in it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "liqcascade needs Python 3.11 or newer; $(PYTHON) is older. Name another one: make setup PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "compiling the detector, once: about a minute"
	@$(BIN)/python -m processors.warm_up
	@touch $(STAMP)

demo: setup  ## the whole flow on this machine: SECONDS=60 to end by itself, FRAMES=folder to play captured frames
	@$(BIN)/liqcascade demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(FRAMES),--frames $(FRAMES)) $(ARGS)

test: setup  ## every test, on real servers
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup  ## one benchmark: NAME=latency (JSON is the last line)
	@$(BIN)/python -m benchmarks $(NAME)

chaos-producers: setup  ## every fault at every simulated exchange, against the real producers: SEED=7 (JSON is the last line)
	@$(BIN)/python -m tests.simulation.chaos_producers $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-detector: setup  ## workers killed, frozen, joined and robbed of their state in the middle of cascades: SEED=7 (JSON is the last line)
	@$(BIN)/python -m tests.simulation.chaos_detector $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-sinks: setup  ## stores, workers and broker killed, filled up and cut off while records land: SEED=7 COUNT=1000000 (JSON is the last line)
	@$(BIN)/python -m tests.simulation.chaos_sinks $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))

fuzz-frames: setup  ## damaged frames of every exchange: COUNT=1000000 each, SEED=7 (JSON is the last line)
	@$(BIN)/python -m tests.simulation.fuzz_frames --count $(or $(COUNT),1000000) --seed $(or $(SEED),7)

compare-reference: setup  ## the detector beside the plain reference, over a random log: COUNT=1000000 SEED=7 (JSON is the last line)
	@$(BIN)/python -m tests.simulation.compare_reference --count $(or $(COUNT),1000000) --seed $(or $(SEED),7)

connect-answers: setup  ## ask the real Kafka Connect again what its REST interface answers
	@$(BIN)/python -m tests.sinks.real_connect

lock: setup  ## rewrite the lock files from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --group dev --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --group peers --output-file benchmarks/_peers/requirements.lock

clean:  ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
