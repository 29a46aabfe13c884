# Two commands do everything on a machine with only Python and make:
#   make run    a virtual environment, perfmon in it, a collector that watches this machine
#   make test   lint, types and every test
PYTHON ?= python3
VENV ?= .venv
PORT ?= 9000
HTTP_PORT ?= 9001
BIN := $(VENV)/bin

.PHONY: run test lint clean

run: $(VENV)/installed
	$(BIN)/twistd --nodaemon --pidfile= perfmon --port $(PORT) --http-port $(HTTP_PORT) $(ARGS)

test: lint
	$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python setup.py pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(BIN)/python setup.py pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist perfmon.egg-info twisted/plugins/dropin.cache
