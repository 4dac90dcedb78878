# make run       set up what is missing, then start the proxy   ARGS="--mode reverse:http://HOST"
# make test      the whole test suite                           TESTS=tests.model  JOBS=4
# make timing    the tests that measure milliseconds, alone
# make test-hostile  those in which peers attack, break off, lie or are not there
# make leaks     200,000 requests of all kinds, and whether anything stays behind of them
# make fuzz      inputs that nobody would send, for a minute each    ARGS="--seconds 600 http2-server"
# make coverage  the test suite, and which lines it did not reach
# make lint      ruff and mypy
# make docs      the manual and the API reference
# make bench     the benchmarks                                 ARGS=--smoke
# make clean     remove whatever the other targets made
#
# Nothing but python3 with its venv module is needed beforehand.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ARGS ?=
TESTS ?= tests

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The parts of the repository that hold Python.
SOURCES := interceptor twisted scripts bench docs tests setup.py

# What a hostile or a broken peer does: attacks, faults, floods, fuzzing and request smuggling.
HOSTILE := tests.fuzz tests.smuggling $(subst /,.,$(basename $(filter-out tests/fuzz/%,$(wildcard \
	$(foreach word,attack fault flood fuzz hostile smuggling,tests/*/test_*$(word)*.py)))))

.PHONY: run test test-hostile timing leaks fuzz lint coverage docs bench clean
.DELETE_ON_ERROR:

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/pyvenv.cfg setup.cfg setup.py pyproject.toml
	$(PIP) install -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/pyvenv.cfg setup.cfg setup.py pyproject.toml
	$(PIP) install -e '.[dev]'
	touch $@ $(VENV)/.installed

run: $(VENV)/.installed
	@exec $(BIN)/interceptor run $(ARGS)

# What measures milliseconds runs last and alone; everything else shares the processors.
test: $(VENV)/.installed-dev
ifeq ($(TESTS),tests)
	@status=0; \
	$(BIN)/trial -j$(JOBS) tests || status=1; \
	$(BIN)/trial tests.functional.timing || status=1; \
	exit $$status
else
	$(BIN)/trial -j$(JOBS) $(TESTS)
endif

test-hostile: $(VENV)/.installed-dev
	$(BIN)/trial -j$(JOBS) $(HOSTILE)

timing: $(VENV)/.installed-dev
	$(BIN)/trial tests.functional.timing

leaks: $(VENV)/.installed-dev
	$(BIN)/python -m bench.leaks $(ARGS)

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(VENV)/.installed-dev
	@status=0; \
	$(BIN)/ruff check $(SOURCES) || status=1; \
	$(BIN)/ruff format --check $(SOURCES) || status=1; \
	$(BIN)/mypy || status=1; \
	exit $$status

coverage: $(VENV)/.installed-dev
	rm -f .coverage .coverage.*
	-$(BIN)/coverage run --rcfile=setup.cfg -m twisted.trial -j$(JOBS) $(TESTS)
	$(BIN)/coverage combine -q --rcfile=setup.cfg
	$(BIN)/coverage report --rcfile=setup.cfg

# A fault in the manual's text or in a docstring's markup fails; a link that leads nowhere in the
# API reference does not, because names of the standard library are not known there.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@mkdir -p docs/_build
	$(BIN)/pydoctor --config=setup.cfg -q >docs/_build/api.log 2>&1 || \
	{ grep -v 'Cannot find link target' docs/_build/api.log; exit 1; }
	@echo "the manual is docs/_build/html/index.html, the API reference docs/_build/api/index.html"

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .coverage* .mypy_cache .ruff_cache .hypothesis
	rm -rf docs/_build docs/generated bench/results twisted/plugins/dropin.cache
	find $(SOURCES) -name __pycache__ -type d -exec rm -rf {} +
