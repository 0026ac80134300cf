# Everything a person does with a checkout. `make` alone lists the verbs.
#
# The virtual environment is .venv; stamp files in it remember which lock file it was filled from, so that a second
# run neither installs nor needs a network. Every install is checked against the hashes of a lock file.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The contract suite waits for timeouts and start-ups more than it computes: more workers than processors. Each worker
# has servers of its own; a file stays on one worker, so that they start once.
WORKERS ?= 2
CONTRACT_WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest

# Options of `make run`: FULL=1, BOOTSTRAP=host:port, DATABASE=url, ON=apache, and ARGS for anything else.
RUN_OPTIONS := $(if $(FULL),--full) $(if $(BOOTSTRAP),--bootstrap $(BOOTSTRAP)) \
	$(if $(DATABASE),--database "$(DATABASE)") $(if $(ON),--on $(ON)) $(ARGS)

.PHONY: help run test test-compat test-long lint format bench docs lock clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'
	@echo '  options of run:    FULL=1  BOOTSTRAP=host:port  DATABASE=url  ON=apache'

run: $(VENV)/$(if $(filter apache,$(ON)),apache,run).stamp ## bill real purchases exactly once, under kills, and reconcile them
	@$(BIN)/tallystick demo billing $(RUN_OPTIONS)

test: lint ## lint, unit tests, contract tests on our broker and Apache Kafka, end-to-end tests
	@$(PYTEST) -n $(WORKERS) tests/unit tests/fuzz tests/simulation
	@$(PYTEST) -n $(CONTRACT_WORKERS) --dist loadfile --no-loadscope-reorder -m "not long" tests/contract tests/e2e

test-compat: $(VENV)/compat.stamp ## clients that are not ours (Java, Go, Node.js, Python) through our broker
	@$(PYTEST) -n $(WORKERS) --dist loadfile tests/compat

test-long: $(VENV)/dev.stamp ## all purchases on both stacks; verify for an hour on both brokers; fuzzing; 20,000 simulated runs
	@$(PYTEST) -n $(WORKERS) -m long tests/contract
	@TALLYSTICK_SIMULATION_SEEDS=20000 $(PYTEST) --timeout=7200 tests/simulation/test_simulation.py
	@TALLYSTICK_FUZZ_ROUNDS=100000 $(PYTEST) --timeout=3600 -n $(WORKERS) --dist loadfile tests/fuzz
	@TALLYSTICK_EFFECT_SCHEDULES=1000 $(PYTEST) --timeout=3600 -n $(WORKERS) tests/simulation tests/contract/test_effect_schedules.py
	@$(BIN)/tallystick demo billing --full
	@$(BIN)/tallystick demo billing --full --on apache
	@$(BIN)/tallystick verify --workload pass-through --duration 1h --folder build/verify-embedded
	@$(BIN)/tallystick verify --workload pass-through --duration 1h --on apache --folder build/verify-apache \
		--faults kill-worker,kill-at,freeze-worker,zombie,rebalance-storm,cut-network,block-network,delay-network,lose-answer,late-end

lint: $(VENV)/dev.stamp ## formatting, ruff, mypy --strict, the import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --cache-dir .import_linter_cache

format: $(VENV)/dev.stamp ## rewrite the code in its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/compat.stamp build/quix/stamp ## the measurements behind the numbers in the documents
	@set -e; for script in bench/*.py; do echo "== $$script"; $(BIN)/python -m bench.$$(basename "$$script" .py) $(ARGS); done

docs: $(VENV)/dev.stamp ## check that the documents match the code
	@$(PYTEST) tests/unit/test_architecture.py tests/unit/test_rules_document.py tests/unit/test_rules_matrix.py tests/unit/test_documents.py

lock: ## renew the lock files from pyproject.toml
	@set -e; python=$$(tools/find-python); "$$python" -m venv build/lock; build/lock/bin/pip install --quiet 'uv>=0.9'; \
	compile="build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' pyproject.toml"; \
	run="--extra all --group build"; apache="$$run --extra servers"; dev="$$apache --extra registry --group test --group lint"; \
	compat="$$dev --group compat"; \
	eval $$compile $(if $(UPGRADE),--upgrade) $$dev --output-file requirements/dev.lock; \
	eval $$compile $(if $(UPGRADE),--upgrade) --constraint requirements/dev.lock $$compat --output-file requirements/compat.lock; \
	eval $$compile $(if $(UPGRADE),--upgrade) --constraint requirements/dev.lock $$apache --output-file requirements/apache.lock; \
	eval $$compile $(if $(UPGRADE),--upgrade) --constraint requirements/dev.lock $$run --output-file requirements/run.lock; \
	eval $${compile% pyproject.toml} $(if $(UPGRADE),--upgrade) --group quix --output-file requirements/quix.lock

clean: ## remove the environment and everything that tools made
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@set -e; python=$$(tools/find-python); echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV)

# Quix Streams, which the benchmarks compare with, wants another confluent-kafka than ours.
build/quix/stamp: requirements/quix.lock
	@echo "Installing requirements/quix.lock"
	@set -e; python=$$(tools/find-python); "$$python" -m venv build/quix
	@build/quix/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements/quix.lock
	@touch $@

# The project itself is installed editable, with the build back end of the lock file: no network, no isolation.
$(VENV)/%.stamp: requirements/%.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing requirements/$*.lock"
	@$(PIP) install --require-hashes --requirement requirements/$*.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@
