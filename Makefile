# make demo and make test need only Python 3.11 or later, make and git: each sets up .venv first.
PYTHON ?= python3
# TORCH=own keeps a pair of torch and torchvision that .venv already holds (docs/data.md, CPU-only).
TORCH ?= pinned
PATH := $(CURDIR)/.venv/bin:$(PATH)
export PATH
OWN_TORCH = awk '/^[a-z]/ {skip = /^(torch==|torchvision==|triton==|nvidia-|cuda-)/} !skip'
# make replicate: JOBS=4 or auto, TARGETS="mnist svhn-0"; no target is everything.
JOBS ?= auto
TARGETS ?=
REQUIREMENTS = $(if $(filter own,$(TORCH)),.venv/requirements.txt,requirements.lock)

.PHONY: setup demo replicate test figures lint lock readme
.DEFAULT_GOAL := demo

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(OWN_TORCH) requirements.lock > .venv/requirements.txt
	.venv/bin/python -m pip install --no-deps --require-hashes -r $(REQUIREMENTS)
	.venv/bin/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

# The whole pipeline on scikit-learn's digits, figures included.
demo: setup
	dvc repro figures@digits
	@echo; echo "Figures: results/digits/figures/   tables: results/digits/tables/   main numbers:"
	@python -m json.tool results/digits/metrics.json

# All cells, or those of TARGETS, side by side on this machine.
replicate: setup
	python -m experiments.replicate --jobs $(JOBS) $(TARGETS)

test: setup
	python -m pytest

# Every figure again from results/ alone; needs no artifact and no training.
figures: setup
	dvc repro --single-item --force figures

lint: setup
	ruff check

# README's result tables from results/.
readme: setup
	python -m experiments.readme

# Refresh the pinned requirements after an edit of pyproject.toml; UPGRADE=--upgrade takes newer releases.
lock: setup
	uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra dev \
		--no-annotate --no-header --quiet $(UPGRADE) --output-file requirements.lock pyproject.toml
