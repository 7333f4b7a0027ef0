# Everything a person or CI runs. `make` alone lists the targets.
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
export IMAGES

.DEFAULT_GOAL := help
.PHONY: help run install test check format docs clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.demo ## the search page on sample pictures, or on IMAGES=/path/to/pictures (PORT=8000)
	@$(BIN)/python -m crossmatch demo --port $(PORT) $(if $(IMAGES),--images "$$IMAGES") || [ $$? -eq 130 ]

install: $(VENV)/.full ## the whole .venv: training (torch, gigabytes) and the developers' tools

test: $(VENV)/.full ## all tests
	@$(BIN)/pytest -n 2 --dist loadgroup

check: $(VENV)/.full ## format, lint, types, import rules, module lengths, generated docs
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/module_lengths.py
	@$(BIN)/python docs/generate_cli.py --check

format: $(VENV)/.full ## format the code
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

docs: $(VENV)/.full ## write the generated pages of docs/
	@$(BIN)/python docs/generate_cli.py

clean: ## remove the environment, the demo's work and every cache
	@rm -rf $(VENV) .crossmatch build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: pyproject.toml .ci/install
	@.ci/install $(VENV) demo,client "the base and the demo, no torch: about half a minute"
	@touch $@

$(VENV)/.full: pyproject.toml .ci/install
	@.ci/install $(VENV) demo,training,dev "everything, torch included: several gigabytes, some minutes"
	@touch $@ $(VENV)/.demo
