# The two commands of the README are `make run` and `make test`; both need Python 3.11 and nothing else.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: run test lint load clean

run: .venv/runtime  ## set-up, demo data, one pass, one answer
	$(BIN)/msgmetrics tour

test: .venv/dev  ## set-up, every test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

load: .venv/dev  ## the endpoint under load, beside DuckDB in process; needs a published warehouse
	$(BIN)/python benchmarks/load.py --home $${MSGMETRICS_HOME:-var}

# uv installs in seconds what pip takes a minute for; where it cannot reach the packages as pip is
# set up to, pip does it.
.venv/runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e . \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: .venv/runtime
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]' \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:  ## the environment and all that the product wrote
	rm -rf .venv var
