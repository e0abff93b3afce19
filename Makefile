# The commands that a newcomer and the build machine both run. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What `make port-mnasnet` ports: your own file, or a rehearsal of MODEL.
SOURCE ?=
MODEL ?= tf_mnasnet_100
OUT ?= checkpoints
REHEARSAL := $(OUT)/rehearsal/$(MODEL)

.PHONY: help install port-mnasnet test test-all lint types bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## make .venv with everything, pinned

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

port-mnasnet: $(INSTALLED) ## port SOURCE=file, or without it a rehearsal of MODEL
ifneq ($(SOURCE),)
	$(BIN)/porting port $(SOURCE) --out $(OUT)
else
	@test -f $(REHEARSAL)/rehearsal.json || $(BIN)/porting rehearse $(MODEL) --out $(REHEARSAL)
	@for source in $(REHEARSAL)/checkpoint $(REHEARSAL)/*.tflite; do \
		echo; $(BIN)/porting port $$source --out $(OUT) || exit $$?; done
endif

test: $(INSTALLED) ## the quick tests
	$(BIN)/python -m pytest

test-all: $(INSTALLED) ## every test, the slow ones included
	$(BIN)/python -m pytest -m ''

lint: $(INSTALLED) ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## static types
	$(BIN)/mypy

bench: $(INSTALLED) ## speed and memory, side by side with importing torch
	$(BIN)/python -m benchmarks.porting_time
	$(BIN)/python -m benchmarks.noise

clean: ## remove the environment and what was ported
	rm -rf $(VENV) $(OUT)/*.pth $(OUT)/*.json $(OUT)/rehearsal
