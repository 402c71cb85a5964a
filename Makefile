# make demo: the whole way on rendered parts.  make test: everything that gates a change.  Needs git, make, Python >= 3.10.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := cpu,headless,train,export

.DEFAULT_GOAL := help
.PHONY: help install demo test quick slow lint format bench clean gi nodeset

help:            ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

install: $(VENV)/.run    ## the commands, in .venv

demo: $(VENV)/.run       ## render parts, train, export, run a line, show what came out (about 4 minutes)
	$(BIN)/sad-demo

test: $(VENV)/.dev       ## style, types, quick tests, then the slow ones
	$(MAKE) --no-print-directory lint quick slow

# Two at a time, a file each; what only computes with a thread each. What is slow and keeps time has the machine alone.
COMPUTES := tests/train tests/export tests/calibration
COMPUTES_LONG := $(COMPUTES) $(addprefix tests/system/test_,every_method.py whole_way.py readme.py wheel.py)
PAIRS := $(BIN)/python -m pytest -n 2 --dist loadfile
SLOW := -m 'slow and not gpu and not camera'

quick: $(VENV)/.dev      ## the tests that are done in some minutes
	OMP_NUM_THREADS=1 $(PAIRS) $(COMPUTES)
	$(PAIRS) $(addprefix --ignore=,$(COMPUTES))

slow: $(VENV)/.dev       ## the tests that train, build or wait
	OMP_NUM_THREADS=1 $(PAIRS) $(SLOW) $(COMPUTES_LONG)
	$(BIN)/python -m pytest $(SLOW) $(addprefix --ignore=,$(COMPUTES_LONG))

lint: $(VENV)/.dev       ## ruff and mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev     ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev      ## speed and memory, as a table (docs/benchmarks.md says how to read it)
	$(BIN)/python tests/bench/run.py

clean:           ## forget the environment and everything made
	rm -rf $(VENV) demo-out build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "sad needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "no venv module: install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(RUN)]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(RUN),dev]'
	@$(MAKE) --no-print-directory gi
	@touch $@

# Cameras of GStreamer and Aravis go through the system's PyGObject, which a virtual environment does not see.
GI := /usr/lib/python3/dist-packages/gi
gi:              ## lets .venv see the system's PyGObject, where it is of the same Python
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	if test -d $(GI) && ! test -e $$site/gi; then \
	  ln -s $(GI) $$site/gi; $(BIN)/python -W ignore -c 'import gi' 2> /dev/null || rm $$site/gi; fi

# OPC 40100-1's own file, for the tests of the OPC UA server; not ours to ship. A test without it says so and is skipped.
nodeset:         ## the OPC UA Machine Vision nodeset, for the tests, where npm is
	@if test -d .peers/node_modules/node-opcua-nodesets; then :; elif command -v npm > /dev/null; then \
	  npm install --silent --no-audit --no-fund --prefix .peers node-opcua-nodesets@2.185.0; \
	else echo "no npm: the tests with the OPC UA nodeset are skipped"; fi
