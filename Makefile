# `make` prints what there is. Everything happens in .venv, which the first target that needs it makes.

PYTHON ?=
export PYTHON
ARGS ?=
SEEDS ?= 1000
SEED ?= 0
PROFILE ?= short
DB ?= sqlite
RESULT ?=
MINUTES ?= 10
HOURS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format-check types imports generated bench simulate mutants histories chaos soak generate proto format \
	pictures snapshots clean runtime dev services

help: ## show this
	@echo 'make TARGET [PYTHON=python3.12]'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1	\2/p' Makefile | expand -t 16

demo: runtime ## run a real workflow across a manager and two agents; needs only Python
	@.venv/bin/caroni demo $(ARGS)

test: dev services ## all tests, on SQLite and on PostgreSQL; ARGS go to pytest
	@scripts/test $(ARGS)

check: lint format-check types imports generated ## everything a machine can judge without running the tests

lint: dev ## ... style and likely mistakes
	@.venv/bin/python -m ruff check .

format-check: dev ## ... layout
	@.venv/bin/python -m ruff format --check .

types: dev ## ... types, strictly
	@.venv/bin/python -m mypy

imports: dev ## ... who may import what
	@.venv/bin/lint-imports --no-logo

generated: dev ## ... generated files are current
	@scripts/generated check

bench: dev services ## measure; one JSON object a line
	@.venv/bin/python -m benchmarks $(ARGS)

simulate: dev ## play SEEDS=1000 seeded histories from SEED=0 on, PROFILE=short or long; figures to RESULT
	@.venv/bin/python -m tests.simulator $(SEED) $(SEEDS) --profile $(PROFILE) --result "$(RESULT)"

mutants: dev ## leave out one guard at a time and see that the simulator notices; figures to RESULT
	@.venv/bin/python -m tests.simulator.mutants --result "$(RESULT)"

histories: dev services ## play SEEDS=1000 histories from SEED=0 on nodes with databases (DB=sqlite or postgresql)
	@env CARONI_TEST_DB=$(DB) .venv/bin/python -m tests.simulator.histories $(SEED) $(SEEDS) --result "$(RESULT)"

chaos: dev services ## real daemons, MINUTES=10 of the faults of SEED=0; RESULT=FILE keeps the figures
	@.venv/bin/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED) --result "$(RESULT)" $(ARGS)

soak: dev services ## the same for HOURS=1 with rare faults: memory, descriptors, queues and outboxes stay flat
	@.venv/bin/python -m tests.chaos.soak --hours $(HOURS) --seed $(SEED) --result "$(RESULT)" $(ARGS)

generate: dev ## write what is generated: Protobuf code, the configuration's reference
	@scripts/generated write

proto: generate

pictures: dev ## draw the console's pictures in docs/img anew
	@.venv/bin/python -m scripts.pictures

snapshots: dev ## write the texts of the console's screens anew; look at the difference
	@env CARONI_SNAPSHOTS=write .venv/bin/python -m pytest -q tests/tui/test_pictures.py
	@git --no-pager diff --stat -- tests/tui/pictures

format: dev ## lay the code out, and mend what ruff can mend
	@.venv/bin/python -m ruff check --fix --quiet . || true
	@.venv/bin/python -m ruff format .

clean: ## remove .venv, caches and build products
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@scripts/setup runtime

dev:
	@scripts/setup dev

services:
	@scripts/services
