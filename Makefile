# Everything runs in .venv, which each target makes when it is missing. Windows has no make: README.md gives the commands.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Two multi-threaded torch processes on two cores slow each other down twenty-fold: one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

help:         ## print this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

lab: $(READY) ## open the course in JupyterLab; make lab ARGS="--no-browser --port 8899"
	$(BIN)/medlearn lab $(ARGS)

test: $(READY) ## run everything that must hold
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=90 $(ARGS)

notebooks: $(READY) ## build notebooks/ from book/chapters/; make notebooks ARGS=00
	$(ONE_THREAD) $(BIN)/python book/build.py $(ARGS)

bench: $(READY) ## compare with other libraries; let nothing else run meanwhile
	for script in $(filter-out %/same_budget.py %/gpu.py, $(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

lint: $(READY) ## ruff (notebooks too) and the import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lab,test]"
	touch $(READY)

.PHONY: help lab test notebooks bench lint
