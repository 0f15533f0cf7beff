# `make demo` runs the whole method, `make test` checks everything; each makes .venv first and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Asked only when pip's own configuration knows no CPU build of PyTorch.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_PIN := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/cpu.lock)
STAMP := $(VENV)/.installed
CODE := envs actors distill train tests benchmarks

PYTEST := $(PY) -m pytest

.PHONY: help venv test test-fast test-slow test-nf4 test-gpu lint format demo pocket pocket-shop pocket-stateact pocket-shop-stateact bench lock scan clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(STAMP) ## .venv with everything a CPU machine needs (a few minutes once)

$(STAMP): requirements/cpu.lock pyproject.toml requirements/install.sh
	@PYTHON='$(PYTHON)' VENV='$(VENV)' TORCH_PIN='$(TORCH_PIN)' TORCH_CPU_INDEX='$(TORCH_CPU_INDEX)' \
		requirements/install.sh
	@touch $@

test: venv lint ## lint, types and every test that needs neither a GPU nor long minutes
	$(PYTEST) -m "not slow and not gpu"

test-fast: venv ## the tests that start neither Ray nor vLLM
	$(PYTEST) -m "not slow and not gpu and not ray and not vllm" -q

test-slow: venv test-nf4 ## the long tests alone
	$(PYTEST) -m "slow and not gpu" --timeout=3600

# Beside the environment and not in it, where every import of PEFT would take a second and a half longer and print a warning.
test-nf4: venv ## a base in 4 bits, with bitsandbytes
	$(PIP) install --quiet --no-deps --target $(VENV)/nf4 bitsandbytes==0.50.2
	PYTHONPATH=$(VENV)/nf4 $(PYTEST) tests/train/test_nf4.py

test-gpu: ## tests for an NVIDIA GPU, in an environment with the gpu extra (VENV=...)
	DS_ACCELERATOR=cuda $(PYTEST) -m gpu --timeout=1800

lint: venv ## ruff, formatting, mypy and the scan for secrets
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	@$(MAKE) --no-print-directory scan

scan: venv ## no credential in a tracked file
	git ls-files -z | xargs -0 $(VENV)/bin/detect-secrets-hook --no-verify --baseline .secrets.baseline

format: venv ## let ruff write
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

demo: venv ## the whole job on generated households, ending in the table
	$(VENV)/bin/offbook run distill/studies/demo.toml

pocket: venv ## train the shipped pocket model again, from nothing, and run the demo's table with it (75 minutes)
	$(PY) -m distill.pocket
	$(VENV)/bin/offbook run demo --set name=demo-pocket-again --set model.model=runs/pocket/model --set beside=[]

pocket-shop: venv ## train the shipped pocket shopper again, from nothing (45 minutes)
	$(PY) -m distill.pocket --env webshop --minutes 38

pocket-stateact: venv ## teach the shipped pocket model StateAct (18 minutes, then its table)
	$(PY) -m distill.pocket --agent stateact --minutes 18

pocket-shop-stateact: venv ## teach the shipped pocket shopper StateAct (18 minutes, then its table)
	$(PY) -m distill.pocket --env webshop --agent stateact --minutes 18

bench: venv ## every figure of the README
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(PY) "$$script"; done

# uv reads no pip configuration, so what pip is told is handed on here and never written down.
lock: ## resolve requirements/cpu.in again (needs uv: pip install uv)
	@links="$$($(PY) -m pip config get global.find-links 2>/dev/null || true)"; \
	extra="$$($(PY) -m pip config get global.extra-index-url 2>/dev/null || true)"; \
	arguments=(); \
	for place in $$links; do arguments+=(--find-links "$$place"); done; \
	for place in $$extra; do arguments+=(--extra-index-url "$$place"); done; \
	[ -n "$$links" ] || arguments+=(--extra-index-url "$(TORCH_CPU_INDEX)"); \
	uv pip compile --quiet --python-version 3.11 --index-strategy unsafe-best-match "$${arguments[@]}" \
		--overrides requirements/overrides.txt --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" requirements/cpu.in -o requirements/cpu.lock

clean: ## remove caches and the environment, keep runs/
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
