# Everything here sets up .venv in this checkout first, where that has not been done (setup.sh).

.PHONY: run sae test test-all lint docs gpu

# One idea through real training, without a key: a recorded session stands in for the model.
run:
	@./setup.sh run
	@.venv/bin/harness run ideas/hierarchy.json --max-runs 10

# What profiles with language models and SAEBench need.
sae:
	@./setup.sh sae

# What a change is held against, in some eight minutes on two cores.
test: PICKED = -m "not slow"
# With the slow ones: more cases, or more real parts, of the same claims.
test-all: PICKED =
test test-all:
	@./setup.sh dev
	@.venv/bin/python -c 'from harness.agents.listing import install; install("aider", print)'
	@# Compiled once here, not by each worker.
	@test -d tests/__pycache__ || .venv/bin/pytest --collect-only -q >/dev/null || true
	@# These send signals to the process that they run in, which xdist's own threads would take.
	@.venv/bin/pytest $(PICKED) tests/test_stop.py
	@# A file stays on one worker, which makes its campaigns, servers and browser once (how many workers, and which file
	@# comes first: tests/conftest.py).
	@.venv/bin/pytest $(PICKED) -n auto --dist loadfile --no-loadscope-reorder --ignore=tests/test_stop.py

lint:
	@./setup.sh dev
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo --no-cache

# The documentation as a site, in site/.
docs:
	@./setup.sh dev
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

# What a GPU does here, in less than four minutes, without set-up and network: bench/gpu.py says what it needs.
gpu:
	@$(or $(wildcard .venv/bin/python),python3) bench/gpu.py $(ARGS)
