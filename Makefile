# Everything the project is set up, tested and rebuilt with. `make` alone lists the targets.
# Another Python: make lab PYTHON=python3.12. JupyterLab's own options: make lab LAB_FLAGS="--no-browser --port=9000".
# Other walks: make fuzz SEEDS="4 5".
PYTHON ?= python3
VENV ?= .venv
COLAB_VENV ?= .venv-colab
LAB_FLAGS ?=
SEEDS ?= 1 2 3
NBVAL = --nbval-lax --nbval-cell-timeout=300 notebooks
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help lab test lint units test-notebooks test-colab test-wheel fuzz notebooks picture kit bench clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: $(VENV)/lab.stamp  ## Set up .venv and open the first notebook in JupyterLab
	$(VENV)/bin/jupyter lab $(LAB_FLAGS) notebooks/00_start_here.ipynb

test: lint units test-notebooks test-colab test-wheel  ## Everything that CI runs, from nothing

lint: $(VENV)/test.stamp  ## Format and lint, code and notebooks
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

units: $(VENV)/test.stamp  ## Unit tests, on both cores
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 -m "not wheel"

test-notebooks: $(VENV)/test.stamp  ## Run every notebook, top to bottom
	$(VENV)/bin/python -m pytest -q $(NBVAL)

test-colab: $(COLAB_VENV)/test.stamp  ## Run every notebook again under Colab's versions
	$(COLAB_VENV)/bin/python -m pytest -q $(NBVAL)

test-wheel: $(VENV)/test.stamp  ## Build the wheel and use it outside the repository
	$(VENV)/bin/python -m pytest -q -m wheel

fuzz: $(VENV)/test.stamp  ## Long walks through every view, by keyboard in JupyterLab and in Python
	$(VENV)/bin/python -m pytest -q tests/widgets
	for seed in $(SEEDS); do \
		LMLAB_REQUIRE_BROWSER=1 LMLAB_MOVES=200 LMLAB_SEED=$$seed $(VENV)/bin/python -m pytest -q -n 2 -k walk tests/browser \
			|| exit 1; \
	done

notebooks: $(VENV)/test.stamp  ## Execute every notebook in place, with outputs, without widget state
	$(VENV)/bin/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb
	$(VENV)/bin/ruff format notebooks

picture: $(VENV)/test.stamp  ## Draw the README's picture again
	PYTHONPATH=. $(VENV)/bin/python docs/overview.py

kit:  ## Bundle lmlab/widgets/kit.js again from its source (needs Node)
	cd lmlab/widgets/kit && npm install --no-fund --no-audit --no-package-lock && npm run build

bench: $(VENV)/test.stamp  ## Measure lmlab beside transformers, and how fast views answer
	$(VENV)/bin/python -m benchmarks

clean:  ## Remove the virtual environments, builds and caches
	rm -rf $(VENV) $(COLAB_VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# A stamp says that an environment is complete, so that a second run goes straight to work.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/lab.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP_INSTALL) -c constraints.txt -e ".[lab]"
	touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP_INSTALL) -c constraints.txt -e ".[lab,test]"
	touch $@ $(VENV)/lab.stamp

$(COLAB_VENV)/test.stamp: pyproject.toml colab-constraints.txt
	$(PYTHON) -m venv $(COLAB_VENV)
	$(COLAB_VENV)/bin/python $(PIP_INSTALL) -c colab-constraints.txt -e . anywidget ipykernel ipywidgets nbval plotly pytest
	touch $@
