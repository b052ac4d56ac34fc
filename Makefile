# Two commands for a newcomer: `make sweep` and `make test`. Both set up .venv from the pinned versions first.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Where Python is told to keep nothing compiled, each process takes seconds longer to start: torch alone three.
unexport PYTHONDONTWRITEBYTECODE

# Python compiles what it loads for the first time: at once, or the first sweep would begin seconds later.
LOADED := import mlflow.pyfunc, mlflow.store.tracking.sqlalchemy_store, optuna, orchestrator.driver, ray, torch

# Where a process of tests dies, those behind it might be waited for without end (pytest-xdist with --dist loadfile).
PARALLEL := -n auto --dist loadfile --max-worker-restart 0

.PHONY: help install sweep ui test check check-deploy test-slow test-serving test-cluster test-deploy test-browser screenshots chaos bench bench-adaptive bench-cost bench-peers bench-quality bench-report bench-scale bench-serving bench-gpu bench-startup bench-ui lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: .venv/.installed ## Install what a sweep needs into .venv

# torch first, with what it needs on this machine; the rest is pinned to the last package, so nothing is left to resolve.
.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-compile --constraint requirements.txt "$$(grep '^torch==' requirements.txt)"
	$(PIP) install --quiet --no-compile --no-deps --requirement requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -c '$(LOADED)'
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(PIP) install --quiet --no-compile --no-deps --requirement requirements-dev.txt
	touch $@

sweep: .venv/.installed ## Run the demonstration sweep: 14 trials over cell type, hidden size and truncation length
	$(BIN)/bptt run demo
	$(BIN)/bptt report demo

ui: .venv/.installed ## Open the MLflow UI on what was run here
	$(BIN)/bptt ui

test: .venv/.installed-dev ## Run the tests (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest --ignore tests/deploy --maxprocesses 4 $(PARALLEL)

check: .venv/.installed-dev ## Lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-deploy: .venv/.installed-dev ## Render the manifests and look for what a cluster would refuse (seconds; needs kubectl)
	$(BIN)/python -m pytest tests/deploy -rs

test-slow: .venv/.installed-dev ## Run the tests that take minutes: killed drivers, clean environments, the memory tasks
	$(BIN)/python -m pytest -m slow --timeout 600 --maxprocesses 2 $(PARALLEL)

test-serving: .venv/.installed-dev ## Ask served models of all workloads over HTTP, in an environment of their own too (10 minutes)
	$(BIN)/python -m pytest -m serving tests/integration/test_serving.py

test-cluster: .venv/.installed-dev ## Run sweeps on several hosts in namespaces of this machine, every fault once (root, 15 minutes)
	$(BIN)/python -m pytest -m cluster tests/cluster -s

test-deploy: .venv/.installed-dev ## Build the images and run the manifests in containers (root, Debian's podman and buildah, 20 minutes)
	$(BIN)/python -m pytest -m deploy tests/deploy/containers -s

test-browser: .venv/.installed-dev ## Look at the report and the MLflow UI in a Chromium without a screen, which must be installed
	$(BIN)/python -m pytest -m browser tests/browser

screenshots: .venv/.installed-dev ## Take the README's pictures anew of what `make sweep` left behind (Chromium)
	$(BIN)/python -m tests.browser.screenshots

chaos: .venv/.installed-dev ## Let fifty faults happen to sweeps on three nodes; print what they did (root, half an hour)
	$(BIN)/python -m tests.cluster.chaos --faults 50 --seed 1

bench: .venv/.installed-dev ## Measure the cost of the machine round the training, and the training loop
	$(BIN)/python -m tests.benchmarks

bench-adaptive: .venv/.installed-dev ## Measure adaptive truncation beside fixed lengths: forty minutes, one core
	$(BIN)/python -m tests.benchmarks.adaptive

bench-cost: .venv/.installed-dev ## Predict memory and time of 50 settings, train them thrice, and compare (15 minutes)
	$(BIN)/python -m tests.benchmarks.cost

bench-peers: .venv/.installed-dev .venv-peers/.installed ## Compare whole sweeps with Ray Tune, Optuna alone and a bare loop (an hour)
	$(BIN)/python -m tests.benchmarks.peers

# An environment of their own, with the versions that the sweep itself has.
.venv-peers/.installed: tests/benchmarks/peers/requirements.txt requirements.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --disable-pip-version-check --quiet --requirement $<
	touch $@

bench-quality: .venv/.installed-dev ## Replay sweeps over recorded curves: time to the quality of TPE with Hyperband (minutes)
	$(BIN)/python -m tests.benchmarks.quality

bench-report: .venv/.installed-dev ## Build the HTML report of 500 trials of 100 evaluations, and measure it
	$(BIN)/python -m tests.benchmarks.report

bench-scale: .venv/.installed-dev ## Drive 10,000 simulated trials on 1,000 workers, kill the driver, resume (PostgreSQL's server, 10 minutes)
	$(BIN)/python -m tests.benchmarks.scale

bench-serving: .venv/.installed-dev ## Ask served models of all workloads over HTTP, beside a bare torch model (5 minutes)
	$(BIN)/python -m tests.benchmarks.serving

bench-gpu: .venv/.installed-dev ## Measure how much of the time a GPU computes in training, by cell, window and precision
	$(BIN)/python -m tests.benchmarks.gpu

bench-startup: .venv/.installed-dev ## Measure `bptt run` to its first step and from its last, and what workers' time goes into (10 minutes; py-spy)
	$(BIN)/python -m tests.benchmarks.startup
	$(BIN)/python -m tests.benchmarks.worker_time

bench-ui: .venv/.installed-dev ## Open the MLflow UI on 500 trials of 100 evaluations, and measure it (Chromium)
	$(BIN)/python -m tests.benchmarks.ui

lock: ## Pin the whole tree anew, from what pyproject.toml allows
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0 setuptools '.[cluster,series,speech,translation]'
	(echo '# The whole tree, pinned. `make lock` writes this file anew.'; .venv-lock/bin/pip freeze --all --exclude bptt --exclude pip | sed 's/+cpu$$//') > requirements.txt
	.venv-lock/bin/pip install --quiet '.[dev,dashboard,export]'
	(echo '# The whole tree, pinned. `make lock` writes this file anew.'; .venv-lock/bin/pip freeze --all --exclude bptt --exclude pip | sed 's/+cpu$$//' | grep -vxFf requirements.txt) > requirements-dev.txt
	rm -rf .venv-lock build

clean: ## Remove what was installed and built (not bptt-runs)
	rm -rf .venv .venv-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
