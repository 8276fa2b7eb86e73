# The two commands of the README are `make run` and `make test`; both need Python 3.11 and nothing else.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: run test bench soak load bi-proof lint clean

run: .venv/runtime  ## set-up, demo data, one pass, one answer
	$(BIN)/msgmetrics tour

test: .venv/dev  ## set-up, every test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

bench: .venv/dev  ## one table of what everything costs beside what else one could write; HISTORY=10,50
	$(BIN)/python -m benchmarks --publications --history $(if $(HISTORY),$(HISTORY),1,10) $(BENCH)

soak: .venv/dev  ## builds killed at 60 statements, publications and loads at every kind of step, more records
	MSGMETRICS_TEST_KILLS=60 MSGMETRICS_TEST_SETS=400 $(BIN)/python -m pytest -q tests/test_a_killed_*.py \
		tests/loading/test_exactly_once.py tests/test_incremental_equals_full_refresh.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

load: .venv/dev  ## the endpoint under load, beside DuckDB in process; LOAD='--messages 10000000 --during-run'
	$(BIN)/python -m benchmarks.load --home $${MSGMETRICS_HOME:-var} $(LOAD)

bi-proof: .venv/dev .venv-bi/superset  ## Superset asks the published file through its API, before and after a publication
	$(BIN)/python -m bi

# Superset in an environment of its own, for none of its libraries is one of ours.
.venv-bi/superset: bi/constraints.txt .venv/runtime
	test -x .venv-bi/bin/python || $(PYTHON) -m venv .venv-bi
	$(BIN)/uv pip install --quiet --python .venv-bi/bin/python -c bi/constraints.txt -r bi/requirements.txt \
		|| .venv-bi/bin/python -m pip install --quiet -c bi/constraints.txt -r bi/requirements.txt
	touch $@

# uv installs in seconds what pip takes a minute for; where it cannot reach the packages as pip is
# set up to, pip does it. Compiled at once: else each process compiles some 3,000 modules where Python
# was told to write no bytecode, which is half of the time that a command takes to start.
.venv/runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e . \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: .venv/runtime
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:  ## the environment and all that the product wrote
	rm -rf .venv .venv-bi var
