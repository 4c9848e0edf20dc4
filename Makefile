# make demo    set up and run the example
# make test    everything that must hold; the last line is pytest's
# make test-clusters  a real Slurm, then a real Grid Engine (Debian, as root)
# make test-clients   published programs, on the emulation of their scheduler
# make test-faults  kill, stop, fill the disk: again, and what needs root
# make check   format, lint, types, import contract
# make docs    build/docs/index.html
# make bench   the figures of the README, measured here
# make bench-all  these, the curves, the scheduling, the peers: ten minutes
# make clean   remove what make made
#
# Paths are relative on purpose: the tree may stand in a directory with a blank
# in its name.  Programs are run as modules, for the same reason.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready

# A virtual environment that was copied or moved belongs to another tree.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
STALE := stale
endif

.PHONY: setup test test-faults test-emulation test-clusters test-clients check format lint types contract docs docs-quiet demo bench bench-all bench-scale bench-schedule \
        bench-peers clean stale

setup: $(STAMP)

$(STAMP): setup.cfg $(STALE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is older than Python 3.10. Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@rm -f $(STAMP)
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[test,docs]'
	@# A path instead of setuptools' finder, which costs each start of Python 10 ms: an
	@# installed package has no such thing, and figures measured here shall not have it.
	@for file in $(VENV)/lib/python*/site-packages/__editable__.*.pth; do \
	  [ ! -f "$$file" ] || printf '%s\n' "$$PWD" > "$$file"; done
	@# pip copies bin/ here, with a first line that breaks where a path has a blank.
	@for script in bin/*; do \
	  printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' "$$PWD/$(PY)" "$$PWD/$$script" > "$(VENV)/$$script"; done
	@printf '%s\n' '$(CURDIR)' > $(STAMP)

stale: ;

test: check docs-quiet
	$(PY) -m pytest -n 2 --dist loadfile -m 'not root and not clusters and not emulation' --cov --cov-report=term

test-faults: $(STAMP)
	$(PY) -m pytest -n 2 --dist loadfile -m 'faults or root'

test-emulation: $(STAMP)
	$(PY) -m pytest -n 2 --dist loadgroup -m emulation

test-clusters: $(STAMP)
	@PYTHON="$$PWD/$(PY)" bash tests/clusters/run

# Each client gets an environment of its own under tests/clients/.venvs, once.
test-clients: $(STAMP)
	@$(PY) tests/clients/run.py --write

check: format lint types contract

format: $(STAMP)
	$(PY) -m ruff format --check --quiet .

lint: $(STAMP)
	$(PY) -m ruff check --quiet .

types: $(STAMP)
	$(PY) -m mypy --strict cluster

contract: $(STAMP)
	$(PY) -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())'

docs docs-quiet: $(STAMP)
	$(PY) -m sphinx -W --keep-going -q -b html docs build/docs

demo: $(STAMP)
	@PATH="$$PWD/$(VENV)/bin:$$PATH" $(PY) examples/demo.py

bench: $(STAMP)
	@$(PY) benchmarks/local.py

# Each peer gets an environment of its own under benchmarks/.venvs, once.
bench-all: bench bench-schedule bench-scale bench-peers

bench-schedule: $(STAMP)
	@$(PY) benchmarks/schedule.py

bench-scale: $(STAMP) benchmarks/.venvs/plot/.ready
	@mkdir -p build
	@$(PY) benchmarks/scale.py --json build/scale.json
	@benchmarks/.venvs/plot/bin/python benchmarks/plot.py build/scale.json docs/scale.svg

bench-peers: $(STAMP)
	@mkdir -p build
	@$(PY) benchmarks/peers/run.py --json build/peers.json

benchmarks/.venvs/plot/.ready: benchmarks/requirements.txt
	@$(PYTHON) -m venv --clear benchmarks/.venvs/plot
	@benchmarks/.venvs/plot/bin/python -m pip install -qq --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf $(VENV) benchmarks/.venvs build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find cluster tests docs examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
