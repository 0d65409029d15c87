# make demo and make test need only Python 3.11 or later, make and git: each sets up .venv first.
PYTHON ?= python3
# TORCH=own keeps a pair of torch and torchvision that .venv already holds (docs/data.md, CPU-only).
TORCH ?= pinned
PATH := $(CURDIR)/.venv/bin:$(PATH)
export PATH
OWN_TORCH = awk '/^[a-z]/ {skip = /^(torch==|torchvision==|triton==|nvidia-|cuda-)/} !skip'
# make replicate: JOBS=4 or auto; make replicate and make replicate-cluster: TARGETS="mnist svhn-0", without it everything.
JOBS ?= auto
TARGETS ?=
DATASETS ?=
FILE ?=
REQUIREMENTS = $(if $(filter own,$(TORCH)),.venv/requirements.txt,requirements.lock)

.PHONY: setup demo replicate replicate-cluster test verify bundle unbundle figures lint lock readme bench
.DEFAULT_GOAL := demo

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(OWN_TORCH) requirements.lock > .venv/requirements.txt
	.venv/bin/python -m pip install --no-deps --require-hashes -r $(REQUIREMENTS)
	.venv/bin/python -m pip install --no-deps --no-build-isolation --editable .
	.venv/bin/python -m experiments.running.surroundings  # an archive has no git
	touch $@

# Ray, for more than one machine (docs/cluster.md); the tests need it too.
.venv/installed-cluster: requirements-cluster.lock .venv/installed
	.venv/bin/python -m pip install --no-deps --require-hashes -r requirements-cluster.lock
	touch $@

# The method on scikit-learn's digits, one seed, figures included; then what it found, in words.
demo: setup
	python -m experiments.replicate demo
	@python -m experiments.show_demo

# All cells, or those of TARGETS, side by side on this machine.
replicate: setup
	python -m experiments.replicate --jobs $(JOBS) $(TARGETS)

# Files of tests side by side, one for each core; the floor is on the lines of defuse/ that run in the tests' own process.
test: setup .venv/installed-cluster
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=25 --cov=defuse --cov-report=term --cov-fail-under=90

# The bytes of all outputs and of DVC's cache against dvc.lock; VERIFY=--all wants the artifacts too.
verify: setup
	python -m experiments.verify $(VERIFY)

# One archive with networks, model cards and DVC's run cache for each recorded data set; DATASETS="mnist" selects.
bundle: setup
	python -m experiments.bundle $(DATASETS)

# Check such an archive and put it back, so that dvc repro trains nothing: make unbundle FILE=defuse_mnist.tar
unbundle: setup
	@python -m experiments.unbundle "$(FILE)"

# Cells side by side on Ray: make replicate-cluster CLUSTER="--workers 4" TARGETS=mnist (docs/cluster.md).
replicate-cluster: setup .venv/installed-cluster
	python -m experiments.replicate_on_cluster $(CLUSTER) $(TARGETS)

# Every figure and the bug atlas again, only from results/; needs no artifact and no training.
figures: setup
	dvc repro --single-item code
	dvc repro --single-item --force figures atlas front_page

# Speed on this machine, as ratios; BENCH="search memory" runs those sections, --help lists them.
bench: setup
	python -m benchmarks $(BENCH)

lint: setup
	ruff check
	ruff format --check
	mypy

# The generated parts of README, of the report and its tables, and of docs/gpu.md, from results/.
readme: setup
	python -m experiments.readme

# Refresh the pinned requirements after an edit of pyproject.toml; UPGRADE=--upgrade takes newer releases.
# requirements-cluster.lock holds what the extra adds, and nothing that requirements.lock pins already.
COMPILE = uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra dev \
	--no-annotate --no-header --quiet $(UPGRADE)
ADDED = awk 'NR == FNR {pinned[$$1]; next} /^[a-zA-Z]/ {skip = $$1 in pinned} !skip'
lock: setup
	$(COMPILE) --output-file requirements.lock pyproject.toml
	cat requirements.lock requirements-cluster.lock > .venv/requirements-cluster.txt
	$(COMPILE) --extra cluster --constraint requirements.lock --output-file .venv/requirements-cluster.txt pyproject.toml
	$(ADDED) requirements.lock .venv/requirements-cluster.txt > requirements-cluster.lock
