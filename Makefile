# make demo   the whole pipeline on real text, from nothing to a decision
# make ui     its results in the Dagster UI
# make test   the tests
# make check  lint, types and tests, as CI runs them
# make test-kills   kills of the real command at twenty random moments, of a UI's run and of Ray's nodes, some minutes
# make test-slow    studies that change again and again, some minutes
# make test-pythons      the tests on every Python from 3.11 to 3.13 that is here
# make docs   the documentation as a site in site/; make docs-serve shows it at http://127.0.0.1:8000
# make reference   the generated pages of docs/, again
# make test-consumers     files exchanged with the trainers' own libraries, in two environments of their own
# make bench-throughput   speed of a proxy's training beside transformers and litgpt, in an environment of its own

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= studies/demo.yaml
PORT ?= 3000
BUILDER ?= docker
# To compile all that is installed takes a minute; what is imported is compiled then, and kept.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo ui test test-kills test-slow test-pythons test-consumers lock image recording gallery check lint types docs docs-serve reference bench-throughput clean

demo: $(VENV)/.installed
	$(BIN)/regmix run --study $(STUDY)

ui: $(VENV)/.installed
	$(BIN)/regmix ui --study $(STUDY) --port $(PORT)

test: $(VENV)/.installed-dev
	$(BIN)/pytest

test-kills: $(VENV)/.installed-dev
	$(BIN)/pytest -n 0 -s -m kills tests

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow tests

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/pyright

check: lint types test

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Each page is complete before it replaces the old one.
reference: $(VENV)/.installed-dev
	for page in study-file cli ledger; do \
		$(BIN)/python -m regmix_pipeline.reference $$page > docs/.$$page.md && mv docs/.$$page.md docs/$$page.md || exit 1; \
	done

# These libraries are large: on a busy machine their imports alone take minutes.
test-consumers: $(VENV)-consumers/.installed $(VENV)-bench/.installed
	$(VENV)-consumers/bin/python -m pytest -n 0 --timeout 1800 -m consumers \
		tests/regmix_pipeline/decisions/exports/consumers tests/regmix_pipeline/tokens/consumers \
		tests/regmix_pipeline/proxies/test_trackers.py
	$(VENV)-bench/bin/python -m pytest -n 0 --timeout 1800 -m consumers tests/end_to_end/consumers

# Bounds of these libraries exclude versions that the rest needs; they run with them.
$(VENV)-consumers/.installed: pyproject.toml constraints.txt
	test -x $(VENV)-consumers/bin/python || $(PYTHON) -m venv $(VENV)-consumers
	$(VENV)-consumers/bin/pip $(INSTALL) -e ".[dev,bench,consumers]"
	$(VENV)-consumers/bin/pip $(INSTALL) --no-deps \
		ai2-olmo-core cached-path mosaicml-streaming litgpt torchtitan megatron-energon multi-storage-client nemo-automodel mlflow
	touch $@

bench-throughput: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -W ignore benchmarks/proxy_throughput.py

# litgpt's bound on huggingface-hub excludes the version that the rest needs; it runs with it.
$(VENV)-bench/.installed: pyproject.toml constraints.txt
	test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip $(INSTALL) -e ".[dev,bench]"
	$(VENV)-bench/bin/pip $(INSTALL) --no-deps litgpt
	touch $@

# The exact set of constraints.txt. torch is by far the largest part; with pip pointed at a CPU build of it, the smaller one
# is taken. The demo needs the package and torch, no more.
$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "regmix-pipeline needs Python 3.11 to 3.13; set PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip $(INSTALL) -e ".[train]"
	touch $@

# What tests, checks and the documentation need besides, in the same environment.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip $(INSTALL) -e ".[dev,docs]"
	touch $@

# Every supported Python that is here: an environment each, by nox.
test-pythons: $(VENV)-nox/.installed
	$(VENV)-nox/bin/nox

# uv.lock again, from pyproject.toml and constraints.txt.
lock: $(VENV)-nox/.installed
	PATH="$(CURDIR)/$(VENV)-nox/bin:$$PATH" $(VENV)-nox/bin/nox -s lock

$(VENV)-nox/.installed: pyproject.toml constraints.txt
	test -x $(VENV)-nox/bin/python || $(PYTHON) -m venv $(VENV)-nox
	$(VENV)-nox/bin/pip $(INSTALL) nox uv
	touch $@

# The README's recording of the demo, and the gallery's pictures of its report; minutes, and Chromium.
recording: $(VENV)-pictures/.installed
	$(VENV)-pictures/bin/python benchmarks/recording.py

gallery: $(VENV)-pictures/.installed
	mkdir -p .regmix && rm -f .regmix/imported.yaml
	head -41 docs/notebooks/data/train_mixture_1m.csv > .regmix/mixtures.csv
	head -41 docs/notebooks/data/train_pile_loss_1m.csv > .regmix/losses.csv
	cd .regmix && ../$(VENV)-pictures/bin/regmix import-runs mixtures.csv losses.csv
	cd .regmix && ../$(VENV)-pictures/bin/regmix run --study imported.yaml --home imported
	$(VENV)-pictures/bin/python benchmarks/pictures.py .regmix/imported

$(VENV)-pictures/.installed: pyproject.toml constraints.txt
	test -x $(VENV)-pictures/bin/python || $(PYTHON) -m venv $(VENV)-pictures
	$(VENV)-pictures/bin/pip $(INSTALL) -e ".[train,pictures]"
	touch $@

# The container image; IMAGE_OPTIONS="--build-arg TORCH_INDEX=" makes the one for CUDA. BUILDER=podman or buildah needs no daemon.
image:
	$(BUILDER) build $(IMAGE_OPTIONS) -t regmix .

clean:
	rm -rf .regmix $(VENV) $(VENV)-bench $(VENV)-consumers $(VENV)-nox $(VENV)-pictures
