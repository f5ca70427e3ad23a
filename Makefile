# clipkit for developers. All commands run in .venv, which the first of them makes; see `make help`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Where bytecode is not kept, each of the many processes that the tests start compiles torch anew: 5 s.
export PYTHONDONTWRITEBYTECODE :=
# What the tests use beside a plain installation.
EXTRAS := heif,pandas,learn,xmp,terminal,web,mcp,text,server,langchain,llama-index

.PHONY: help check test demo clean

help:
	@echo "make check   lint, formatting and types"
	@echo "make test    the tests; ARGS is handed to pytest: make test ARGS='-k query -x'"
	@echo "make demo    draw a gallery, index and search it with the bundled model, and open the page"
	@echo "make clean   remove the environment and all caches"

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Three processes for two cores, as a test often waits, for a browser or a process that it started; one thread in
# each: threads that share a core wait for each other.
# Files in the order of tests/conftest.py: by default, those with few tests come last, the longest among them.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

demo: $(READY)
	$(BIN)/clipkit demo
	$(BIN)/clipkit ui --name demo

# The stamp is set last and taken away first, so an installation that was interrupted starts anew.
# pip compiles nothing: Python does that for what is imported, a small part of all that torch brings.
$(READY): pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time, this takes minutes and 6 GB: torch brings CUDA."
	@test -e $@ || rm -rf $(VENV)
	@rm -f $@
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq --no-compile --constraint constraints.txt pip
	@$(BIN)/pip install -qq --no-compile --constraint constraints.txt \
		--group dev --editable ".[$(EXTRAS)]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
