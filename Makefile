# make demo   the whole pipeline on real text, from nothing to a decision
# make ui     its results in the Dagster UI
# make test   the tests
# make check  lint, types and tests, as CI runs them

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= studies/demo.yaml
PORT ?= 3000

.PHONY: demo ui test check lint types clean

demo: $(VENV)/.installed
	$(BIN)/regmix run --study $(STUDY)

ui: $(VENV)/.installed
	$(BIN)/regmix ui --study $(STUDY) --port $(PORT)

test: $(VENV)/.installed
	$(BIN)/pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/pyright

check: lint types test

# The exact set of constraints.txt. torch is by far the largest part; with pip pointed at a CPU build of it, the smaller one
# is taken.
$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "regmix-pipeline needs Python 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .regmix $(VENV)
