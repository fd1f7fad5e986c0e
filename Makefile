# medlab: `make report` and `make test` need nothing but make and Python 3.11 to 3.13.
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null && $$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup report report-all test pictures lab lint lock clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | column -t -s '|' 2>/dev/null || grep '##' Makefile

setup: .venv/installed  ## install everything into .venv (done by the other targets)

.venv/installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 found; install one, or say make PYTHON=/path"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	{ echo "make: python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "installing the packages of requirements.lock into .venv (about 3 GB, some minutes, once)"
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

data/thorax/card.yaml: | .venv/installed
	@$(BIN)/medlab import synthetic:thorax thorax --patients 600 --seed 0

data/fmri/card.yaml data/pet/card.yaml: data/%/card.yaml: | .venv/installed
	@$(BIN)/medlab import synthetic:$* $*

data/gbsg2/card.yaml: | .venv/installed
	@$(BIN)/medlab import package:gbsg2 gbsg2

report: .venv/installed data/thorax/card.yaml  ## make the default run: reports/demo/index.html
	@$(BIN)/medlab run demo

DEMOS = $(notdir $(patsubst %/params.yaml,%,$(wildcard reports/demo*/params.yaml)))

report-all: .venv/installed  ## make every demo run, two at a time, the longest two first
	@$(MAKE) --no-print-directory --jobs 2 data/thorax/card.yaml data/fmri/card.yaml data/pet/card.yaml \
	data/gbsg2/card.yaml
	@printf '%s\n' demo-lesions demo $(filter-out demo-lesions demo,$(DEMOS)) | xargs -n 1 -P 2 $(BIN)/medlab run

test: .venv/installed  ## run all tests, the notebooks included
	@$(BIN)/ruff check .
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25

pictures: .venv/installed  ## take the pictures of the README anew from the pages of the demo runs (needs Chromium)
	@$(BIN)/python docs/pictures/make.py

lab: .venv/installed  ## open JupyterLab on the project; in a container as root: make lab ROOT=1
	@$(BIN)/medlab lab $(if $(ROOT),--allow-root) $(LAB)

lint: .venv/installed  ## check and sort the code, strip the notebooks
	@$(BIN)/ruff check --fix .
	@$(BIN)/nbstripout --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution" notebooks/*.ipynb

lock: .venv/installed  ## resolve pyproject.toml anew into requirements.lock (needs the uv package)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

clean:  ## remove what runs wrote; keep params.yaml, working copies, datasets and the ledger of test openings
	@find reports -mindepth 1 ! -name params.yaml ! -name README.md ! -path "*/.openings/*" ! -path "reports/*/copies/*" \
	-type f -delete
	@find reports -mindepth 1 -type d -empty -delete
