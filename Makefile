# Two commands do everything on a machine with only Python and make:
#   make run    a virtual environment, perfmon in it, a collector that watches this machine
#   make test   lint, types and every test
# And one does what takes longer:
#   make test-faults    hundreds of random faults; SEED=7 plays those of a run that has failed once more
# The pictures of the page in docs/ are taken by one, with Chromium installed:
#   make screenshots
PYTHON ?= python3
VENV ?= .venv
PORT ?= 9000
HTTP_PORT ?= 9001
BIN := $(VENV)/bin

.PHONY: run test test-faults screenshots lint clean

run: $(VENV)/installed
	$(BIN)/twistd --nodaemon --pidfile= perfmon --port $(PORT) --http-port $(HTTP_PORT) $(ARGS)

# As many at once as there are CPUs: most tests wait for processes of theirs for most of the time.
test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(TESTS)

test-faults: $(VENV)/installed-test
	$(BIN)/python -m pytest tests/integration/faults
	$(BIN)/python -m tests.integration.faults $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED))

screenshots: $(VENV)/installed-test
	$(BIN)/python -m tests.browser.screenshots

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python setup.py pyproject.toml package-lock.json
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(BIN)/python setup.py pyproject.toml package-lock.json
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist perfmon.egg-info twisted/plugins/dropin.cache
