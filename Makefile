# Two commands do everything: `make demo` and `make test`. Both set up first.
PYTHON ?= $(shell for version in 3.11 3.12 3.13; do python$$version -c "" 2>/dev/null && echo python$$version && break; done)
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TESTS := $(VENV)/.ready-tests

.DEFAULT_GOAL := help
.PHONY: help setup demo ui report test test-fast lint docs bench bench-corpus bench-scoring bench-detectors bench-baselines bench-policy bench-scale bench-loop bench-decisions clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY_TESTS) ## make the virtual environment with everything that the tests need

# What the demo needs is less than what the tests need, and is there sooner. Modules are compiled when they are imported
# first: many never are.
define install
	@$(PYTHON) -c "$(SUPPORTED)" 2>/dev/null || { echo "Python 3.11 to 3.13 is needed: install it, or say make PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes, once"
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '$(1)'
	@touch $(READY)
endef

$(READY): constraints.txt pyproject.toml
	$(call install,.)

$(READY_TESTS): constraints.txt pyproject.toml
	$(call install,.[test])
	@touch $@

demo: $(READY) ## run three iterations of the loop on real text, and three baseline arms
	$(BIN)/curate run

ui: $(READY) ## open the Dagster web UI with its daemon, on this machine only
	$(BIN)/curate ui

report: $(READY) ## print the results table and the path of the HTML report
	$(BIN)/curate report

# A worker a core, each with whole files (tests/conftest.py).
PYTEST := $(BIN)/pytest --numprocesses auto --dist loadscope --no-loadscope-reorder --durations 12

test: $(READY_TESTS) lint ## check the code and run every test
	$(PYTEST)

test-fast: $(READY_TESTS) ## run the tests that take seconds
	$(PYTEST) -m "not slow"

lint: $(READY_TESTS) ## format check, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY_TESTS) ## build the documentation into site/
	$(BIN)/mkdocs build --strict

# Peers have dependencies that conflict with ours and with each other: each lives in an environment of its own.
.venv-peers/%/.ready: benchmarks/peers-%.txt
	test -x .venv-peers/$*/bin/python || $(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

BENCHMARKS := corpus_pipeline quality_rules near_duplicates duplicates_scale annotators ingest pool_lookup
CORPUS_PEERS := $(patsubst %,.venv-peers/%/.ready,datatrove dolma nemo datajuicer fast)
# `make bench-corpus BENCH=--quick BENCH_OUT=FOLDER` runs each on little, and leaves the committed figures alone.
BENCH_OUT ?= benchmarks

bench: ## run the benchmarks of the corpus and of scoring on little, and write the table of the committed figures
	$(MAKE) bench-corpus bench-scoring BENCH=--quick BENCH_OUT=state/bench
	$(BIN)/python benchmarks/table.py --write

bench-corpus: $(READY) $(CORPUS_PEERS) ## measure the corpus tools and their peers
	mkdir -p $(BENCH_OUT)
	set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --out $(BENCH_OUT)/$$name.json $(BENCH); done

bench-scoring: $(READY) .venv-peers/detectors/.ready .venv-peers/onnx/.ready ## measure scoring speed and the cascade, with Detoxify and others
	mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/scoring.py --out $(BENCH_OUT)/scoring.json $(BENCH)

# DATA: the folder of published labelled sets, in their publishers' own files (see benchmarks/detectors.py).
DATA ?= ../shared/data
bench-detectors: $(READY) ## measure detectors and the ensemble on human labels (DATA=FOLDER)
	mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/detectors.py --data $(DATA) --out $(BENCH_OUT)/detectors.json $(BENCH)

bench-baselines bench-policy bench-loop bench-decisions: export PYTHONPATH := $(CURDIR)
bench-baselines: $(READY) .venv-peers/dsir/.ready ## measure every baseline on the synthetic pool, and DSIR with its package
	mkdir -p $(BENCH_OUT)
	$(BIN)/python benchmarks/baselines.py --out $(BENCH_OUT)/baselines.json $(BENCH)
	$(BIN)/python benchmarks/dsir.py --out $(BENCH_OUT)/dsir.json $(BENCH)

bench-policy: $(READY) ## measure training, and deciding at up to 10 million documents
	mkdir -p $(BENCH_OUT)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/policy_training.py --out $(BENCH_OUT)/policy_training.json $(BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/policy_training.py --speed --out $(BENCH_OUT)/policy_speed.json $(BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/policy_scale.py --out $(BENCH_OUT)/policy_scale.json $(BENCH)

# A million documents take ten minutes and 5 GB under state/bench; the tiled tables of ten million as much again.
SIZES ?= 10000 100000 1000000
bench-scale: $(READY_TESTS) ## measure every step as a corpus grows, and one and two workers of this machine and of Ray
	mkdir -p $(BENCH_OUT) state/bench
	$(BIN)/python benchmarks/scale.py --sizes $(SIZES) --keep state/bench/scale --out $(BENCH_OUT)/scale.json
	$(BIN)/python benchmarks/scale_tiled.py state/bench/scale/$(lastword $(SIZES)) --out $(BENCH_OUT)/scale_tiled.json
	$(BIN)/python benchmarks/draw_at_scale.py --out $(BENCH_OUT)/draw_at_scale.json
	$(BIN)/python benchmarks/prepare.py --engines --out $(BENCH_OUT)/engines.json

bench-loop: $(READY) ## measure the closed loop and priced queries against the closed form
	mkdir -p $(BENCH_OUT)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/closed_loop.py --out $(BENCH_OUT)/closed_loop.json $(BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/closed_loop.py --drift --out $(BENCH_OUT)/closed_loop_drift.json $(BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/queries.py --out $(BENCH_OUT)/queries.json $(BENCH)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/policy_training.py --terminal --out $(BENCH_OUT)/policy_terminal.json $(BENCH)

bench-decisions: $(READY) ## measure what every arm draws from real documents with human labels (DATA=FOLDER)
	mkdir -p $(BENCH_OUT)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/decision_quality.py --data $(DATA) --out $(BENCH_OUT)/decision_quality.json $(BENCH)

clean: ## remove the demo's state, not the downloads
	rm -rf state
