# Two commands do everything on a fresh Linux machine: make demo, make test.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
TORCH = torch==2.13.0+cpu

.PHONY: install demo test check lock clean

install: $(VENV)/.installed

# torch's CPU build comes from a local wheel where pip is told of one, else from PyTorch's own index.
$(VENV)/.installed: requirements-cpu.lock pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-deps "$(TORCH)" 2>/dev/null || \
	  $(BIN)/pip install -q --no-deps --index-url https://download.pytorch.org/whl/cpu "$(TORCH)"
	$(BIN)/pip install -q --no-deps -r requirements-cpu.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	touch $@

demo: install
	$(BIN)/tamis run dart_math --out runs/demo
	$(BIN)/tamis show runs/demo --rows 3

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/interrogate -q tests

test: check
	$(BIN)/python -m pytest

lock:
	$(BIN)/pip freeze --all --exclude pip --exclude torch --exclude-editable > requirements-cpu.lock

clean:
	rm -rf $(VENV) runs build dist *.egg-info
