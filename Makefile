# `make` lists the targets. The environment is made by .ci/setup, from pinned requirements, and only when they have changed.
SHELL := /bin/sh
PYTHON := .venv/bin/python
TUNER := .venv/bin/tuner
SLOW := engine or postgres or browser or ray or slow
# Files are shared out among the workers; engines and clusters stay on one of them (tests/plugins/workers.py).
SHARED = -m pytest --maxprocesses 8 --dist loadfile --numprocesses
# Slow tests wait for servers, browsers and killed processes: one worker more than cores. Quick ones compute; none reads a log, and
# catching the logs of thousands of them takes seconds.
PYTEST = $(PYTHON) $(SHARED) auto
PYTEST_QUICK = $(PYTHON) $(SHARED) logical -q -p no:logging --hypothesis-profile quick -m "not ($(SLOW))"

LINT = $(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .
TYPES = $(PYTHON) -m mypy --strict tuner profiles service storage tests bench

# Without compiled files every process that a test starts compiles the whole tree again.
unexport PYTHONDONTWRITEBYTECODE

# A study's name is unique, so every demo gets its own; `make demo STUDY=mine` chooses one.
STUDY ?= demo-$(shell date -u +%Y%m%d-%H%M%S)
STORAGE ?= sqlite:///tuner.db
LOGDIR ?= tuner-profiles

COMPILE = pip compile --no-emit-index-url --python-version 3.12 --extra ui --extra postgres --extra otel

.DEFAULT_GOAL := help
.PHONY: help setup packages setup-runtime demo test test-fast durations lint type format docs pictures requirements clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make ./.venv: Python 3.12, pinned requirements, this project (fast when nothing changed)
	@.ci/setup dev

packages:
	@.ci/setup packages

setup-runtime:
	@.ci/setup runtime

demo: setup-runtime ## search the built-in tiny model's page sizes x chunk budgets x arms; ends with a recommendation
	$(TUNER) search --model tiny-qwen3 --study $(STUDY) --page-sizes 16,32,64,128 --chunk-budgets 128,256,512 \
		--arms default,page_aligned --workload demo --sampler grid --rounds 3-6 --profile finalists --storage $(STORAGE) --logdir $(LOGDIR)

# mypy needs a core for a minute: it runs beside byte-compiling and the tests, in what time they leave; what it said stands under theirs.
test: packages ## everything: lint, types, and all tests
	@$(LINT)
	@mkdir -p build; nice $(TYPES) >build/types.txt 2>&1 & types=$$!; \
	.ci/setup dev; $(PYTEST); tests=$$?; \
	wait $$types; wrong=$$?; echo "make type:"; cat build/types.txt; \
	if [ $$tests -ne 0 ]; then echo "make test: tests failed"; fi; \
	if [ $$wrong -ne 0 ]; then echo "make test: types are wrong"; fi; \
	[ $$tests -eq 0 ] && [ $$wrong -eq 0 ]

test-fast: setup ## the quick tests: no engine, database server, browser or cluster; one worker for each core
	$(PYTEST_QUICK)

durations: setup ## all tests with the slowest 30 and the wall time of each tier, for docs/testing.md
	$(PYTEST_QUICK) --durations 30
	$(PYTEST) -q --durations 30 -m "$(SLOW)"

lint: setup ## ruff: rules and format
	$(LINT)

type: setup ## mypy --strict
	$(TYPES)

format: setup ## fix what ruff can fix
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: setup ## the documents as a site in build/site; fails on a link that leads nowhere
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

pictures: setup ## draw README's pictures anew, from the newest finished study (or STUDY=mine)
	$(PYTHON) -m bench.readme_pictures --storage $(STORAGE) --logdir $(LOGDIR) $(if $(filter command,$(origin STUDY)),--study $(STUDY))

requirements: ## pin the newest versions that pyproject.toml allows
	uv=$$(.ci/setup uv) && \
	$$uv $(COMPILE) --upgrade --extra tpu pyproject.toml -o requirements.txt && \
	$$uv $(COMPILE) --upgrade -c requirements.txt pyproject.toml -o requirements-service.txt && \
	$$uv $(COMPILE) --upgrade --extra tpu --extra ray --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## remove caches and build outputs; .venv, databases and profiles stay
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.uv-bootstrap/*' -prune -exec rm -rf {} +
