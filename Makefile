# make demo      the main job on the embedded data; the report is runs/demo/report.html
# make test      lint, types, import rules and the fast tests
# make test-all  the same with the slow tests
# make soak      random kills of training and of every verb, and verbs in pairs; nothing may differ (a few minutes)
# make bench     step times in turns with a published and a bare loop, against the committed ratios (5 minutes)
# make docs      the documentation as HTML in docs/_build
# make pictures  the pictures of the README, from the runs of make demo
# make setup     the virtual environment for using taildiff; make demo, soak, bench, docs and pictures do it when need be
# make dev       the same with linters and test tools; make test and test-all do it when need be
#
# PYTHON and VENV choose another interpreter and place: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
PARALLEL ?= -n auto --dist worksteal
unexport PYTHONDONTWRITEBYTECODE  # the tests start many processes, and each would compile the package again
VENV = .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.taildiff-setup
DEV := $(VENV)/.taildiff-dev
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt

.PHONY: setup dev demo pictures lint test test-all soak bench docs clean

setup: $(SETUP)

dev: $(DEV)

$(SETUP): EXTRAS :=
$(DEV): EXTRAS := [test,lint]
$(SETUP) $(DEV): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "taildiff needs Python 3.11 or newer; try: make setup PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "no virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	$(PIP) --quiet -e '.$(EXTRAS)'
	@touch $(SETUP) $@

demo: $(SETUP)
	$(BIN)/taildiff demo

pictures: $(SETUP)
	$(BIN)/python docs/pictures.py

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

test-all: lint
	$(BIN)/python -m pytest $(PARALLEL) -m ''

soak: $(SETUP)
	$(BIN)/python benchmarks/soak.py --kills 60
	$(BIN)/python benchmarks/soak_verbs.py --kills 60 --pairs 22

bench: $(SETUP)
	$(BIN)/python benchmarks/bench.py

docs: $(SETUP)
	$(PIP) --quiet -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .ruff_cache .hypothesis
