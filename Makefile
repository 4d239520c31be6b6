# Set up and run Phù Sa. Needs Python 3.11+, git and make; says what else is missing.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lock bench clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## Make .venv with everything; console script .venv/bin/phusa

$(STAMP): requirements.lock pyproject.toml
	./.ci/system run
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install  ## One season on the SIMULATED delta, into data/demo; open index.html there
	$(BIN)/phusa demo --out data/demo

test: install check  ## Every check and every test; sets up PostGIS where it may
	./.ci/system test
	$(BIN)/pytest -n 2 --dist loadfile

check: install  ## Lint, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: install  ## Resolve all packages anew into requirements.lock
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra postgis --extra s3 --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade -o requirements.lock

bench: install  ## Figures: each file of benchmarks/ prints ratios measured in one run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'stackstac>=0.5'
	for file in benchmarks/*.py; do $(BIN)/python $$file; done

clean:  ## Remove what install and demo made
	rm -rf .venv data/demo
