# The commands that a newcomer and the build machine both run. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORTING := $(BIN)/porting

# What `make port-mnasnet` ports. Without SOURCE: what lies in checkpoints/google, else Google's
# own files, downloaded there, else, offline, synthetic ones. MODEL and WEIGHTS choose.
SOURCE ?=
MODEL ?=
WEIGHTS ?=
OUT ?= checkpoints/ported
REPORTS ?= checkpoints/reports
RELEASES ?= checkpoints/releases
# Folders whose sources `make port-all` ports besides those of checkpoints/google.
FROM ?=

# What `make accuracy` counts right answers on, and of what: a published name, or a path. LABELS
# names a file of labels; WITH holds more options of `porting evaluate`.
DATA ?=
LABELS ?=
WITH ?=

# Tests that share a file share what it sets up: a process a core, a file at a time.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: help install port-mnasnet port-all parity release accuracy test test-tflite-runtime \
	test-others test-litert-torch test-wheel test-all test-thorough lint types docs faults diagnosis bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## make .venv with everything, pinned

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

port-mnasnet: $(INSTALLED) ## port MNASNet: SOURCE=file, or MODEL=name, or B1 and A1
	@$(PORTING) port $(if $(SOURCE),"$(SOURCE)",--obtain) $(if $(MODEL),--model "$(MODEL)") \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)") --out "$(OUT)"

port-all: $(INSTALLED) ## port all that is on disk, a process a core; FROM=folders for more
	@$(PORTING) port --all $(wildcard checkpoints/google) $(FROM) --out "$(OUT)"

parity: $(INSTALLED) ## compare all that was ported, tap by tap; reports in checkpoints/reports
	@$(PORTING) check "$(OUT)" --reports "$(REPORTS)" $(if $(SOURCE),--source "$(SOURCE)")

release: $(INSTALLED) ## make the folder to publish of all that was ported, in checkpoints/releases
	@$(PORTING) release "$(OUT)" --out "$(RELEASES)" $(if $(SOURCE),--source "$(SOURCE)")

accuracy: $(INSTALLED) ## reproduce a stated accuracy: DATA=images MODEL=published name or file
	@$(if $(and $(DATA),$(MODEL)),,echo "wanted: DATA=images MODEL=a published name, or a file"; exit 2)
	@$(PORTING) reproduce "$(DATA)" "$(MODEL)" --out "$(OUT)" --reports "$(REPORTS)" \
		$(if $(LABELS),--labels "$(LABELS)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(WITH)

test: $(INSTALLED) ## the quick tests, a process a core
	$(PYTEST)

test-tflite-runtime: ## the TFLite judge's tests with tflite-runtime (needs Python 3.11)
	python3.11 -m venv $(VENV)-tflite-runtime
	$(VENV)-tflite-runtime/bin/pip install --quiet --disable-pip-version-check \
		--requirement requirements-tflite-runtime.lock
	WITHOUT_LITERT=1 OMP_NUM_THREADS=1 $(VENV)-tflite-runtime/bin/python -m pytest \
		--numprocesses auto --dist worksteal parity_tests/porting/judges/test_litert.py \
		parity_tests/porting/test_port.py parity_tests/matrix

test-others: $(VENV)-others/.installed ## tests against the networks of timm and torchvision
	PORTING_OTHERS="$(abspath $(VENV)-others)" $(PYTEST) -m '' parity_tests/others

$(VENV)-others/.installed: $(INSTALLED) requirements-others.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(VENV)-others --requirement requirements-others.lock
	@touch $@

test-litert-torch: $(VENV)-litert-torch/.installed ## ports to TFLite and back (2 GB to install)
	PORTING_LITERT_TORCH="$(abspath $(VENV)-litert-torch)" $(BIN)/python -m pytest -m '' \
		parity_tests/litert_torch

$(VENV)-litert-torch/.installed: $(INSTALLED) requirements-litert-torch.lock
	$(PYTHON) -m venv $(VENV)-litert-torch
	$(VENV)-litert-torch/bin/pip install --quiet --disable-pip-version-check \
		--requirement requirements-litert-torch.lock
	@touch $@

test-wheel: $(INSTALLED) ## build the wheel, and use it in an environment without extras
	rm -rf dist $(VENV)-wheel
	$(BIN)/hatchling build --target wheel > /dev/null
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock dist/*.whl
	PORTING_WHEEL="$(abspath $(VENV)-wheel)" $(BIN)/python -m pytest -m '' parity_tests/wheel

test-all: $(INSTALLED) ## the slow tests too: all that CI runs
	$(PYTEST) -m 'not thorough'

test-thorough: $(INSTALLED) ## cases that a sample stands for in CI: an hour of them
	$(PYTEST) -m thorough

lint: $(INSTALLED) ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## static types
	$(BIN)/mypy

docs: $(INSTALLED) $(VENV)-docs/.installed ## the documentation as a site, in site/
	$(BIN)/python -m typer porting.cli utils docs --name porting --title Commands \
		--output docs/reference/commands.md > /dev/null
	$(VENV)-docs/bin/mkdocs build --strict --quiet

$(VENV)-docs/.installed: requirements-docs.lock
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check --requirement requirements-docs.lock
	@touch $@

faults: $(INSTALLED) ## plant six hundred faults, and see that each is found where it is
	OMP_NUM_THREADS=1 $(BIN)/python -m parity_tests.faults

diagnosis: $(INSTALLED) ## plant three hundred faults, and see that the diagnosis names each
	OMP_NUM_THREADS=1 $(BIN)/python -m parity_tests.faults.diagnosis --out benchmarks/DIAGNOSIS.md

bench: $(INSTALLED) $(VENV)-others/.installed ## speed and memory, side by side with others
	$(BIN)/python -m benchmarks.porting_time
	$(BIN)/python -m benchmarks.diff_time
	$(BIN)/python -m benchmarks.noise
	$(BIN)/python -m benchmarks.fine_tuning
	$(BIN)/python -m benchmarks.preprocessing_time
	$(BIN)/python -m benchmarks.evaluation_speed
	PORTING_OTHERS="$(abspath $(VENV)-others)" $(BIN)/python -m benchmarks.deploy_time

clean: ## remove the environment and what was ported
	rm -rf $(VENV) $(VENV)-tflite-runtime $(VENV)-others $(VENV)-docs $(VENV)-litert-torch \
		$(VENV)-wheel dist site $(OUT) $(REPORTS) $(RELEASES) checkpoints/synthetic
