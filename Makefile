# make demo, make test: each works alone on a fresh machine with Python 3.11+, gcc and make.
PYTHON ?= python3
CORES ?= $(shell nproc)
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test fast lint lock clean

demo: $(READY)           ## every stage of the paper at demo scale, results/report.html at the end
	snakemake --cores $(CORES) --show-failed-logs

test: $(READY)           ## all tests, slow ones included
	pytest

fast: $(READY)           ## tests of a few seconds each
	pytest -m "not slow"

lint: $(READY)           ## style of Python and Snakemake files
	ruff check . && ruff format --check . && snakefmt --check Snakefile workflow

lock: $(READY)           ## write the pinned versions of the present environment
	python envs/lock.py > envs/requirements.lock

clean:                   ## remove results, keep the environment and downloads
	rm -rf results

$(READY): envs/requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "egi needs Python 3.11 or newer")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --requirement envs/requirements.lock
	python -m pip install --quiet --no-deps --editable .
	touch $@
