# Everything a newcomer types. `make` alone lists it. The environment is made from requirements.lock when it is missing.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN ?= runs/demo
REAL_RUN ?= runs/demo-real
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo demo-real test check format test-cluster test-gpu bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "solotune needs Python 3.11 or newer with the venv module (Debian: python3-venv)"; exit 2; }
	@echo "installing into $(VENV) (once, a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## the whole road on the bundled sample: CPU, no network, a few minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash jobs/demo.sh $(RUN)

demo-real: $(READY) ## the same with SmolLM2-135M, which is downloaded once (93 MB): about 25 minutes on two cores
	@$(BIN)/python -m jobs.fetch smollm2
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash jobs/demo.sh $(REAL_RUN) configs/smollm2.yaml \
		"My card was stolen. How do I block it?" "I forgot my passcode. Can you send it to me?" \
		"How long does a transfer to another bank take?" "How do I close my account?"

test: $(READY) ## the default tests, the demo scaled down among them
	@$(BIN)/python -m pytest -q

check: $(READY) ## lint, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## put the format right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test-cluster: $(READY) ## tests that start several Ray nodes or use the full-size real inputs
	@$(BIN)/python -m pytest -q -m cluster

test-gpu: $(READY) ## tests that need a CUDA card
	@$(BIN)/python -m pytest -q -m gpu

bench: $(READY) ## peers side by side (see bench/README.md)
	@$(BIN)/python -m bench.curation

clean: ## remove the environment and caches; run folders stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
