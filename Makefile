# make up      install what is missing, then serve: prints the address, Ctrl-C stops
# make check   install what is missing, then lint and every test that is quick: no engine, no browser
# make test    make check, then the tests that start vLLM, drive a browser or train, then make cluster
# make cluster the tests that need Ray or bitsandbytes, in an environment of their own (370 MB, build/ray)
# make demo    people correct what the model invents; a night later it knows better
# make bars    speed and endurance, each a command; the figures go to docs/measurements.md
# make lint    ruff, mypy, import-linter, licences of what is installed
# make docs    the documentation as a site, in build/docs

PYTHON := .venv/bin/python
# Where the environment forbids it, every child process would compile all of its modules anew.
export PYTHONDONTWRITEBYTECODE :=
# Three processes, since many tests wait; tests/conftest.py says which tests share one, and which
# come first.
PYTEST := $(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder
ARGS ?=
BARS ?= first_chat gateway adapter_speed scoring demo night real_data kills journal frozen overload half_open targets fuzz tools clients forget matching curation noise gate gate_crossed influence review schedule resume search mixture dashboard accessibility hostile_texts conversations interruptions replicas draining gateways soak training_speed promotion use_cases preferences

.PHONY: up test check cluster lint style demo docs bars install browser clean
.DEFAULT_GOAL := up

install:
	@requirements/install.sh

up: install
	@$(PYTHON) -m pawl.cli up $(ARGS)

lint: style
	$(PYTHON) -m mypy

style: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	.venv/bin/lint-imports
	$(PYTHON) requirements/licences.py

# Lint takes one core for 20 s in a fresh clone, so it runs beside the tests; what it finds stands at
# the end.
check: install
	@$(MAKE) --no-print-directory lint >.venv/lint.log 2>&1 & lint=$$!; \
	$(PYTEST) -m "not engine and not browser and not slow and not cluster and not extras" $(ARGS); tests=$$?; \
	wait $$lint; lint=$$?; cat .venv/lint.log; \
	exit $$((tests || lint))

# The browser tests drive Debian's chromium. As root it is installed; otherwise they say what
# they could not test.
browser:
	@command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	  || echo "No chromium and no right to install it: the browser tests will be skipped." >&2

test: check browser
	$(PYTEST) -m "(slow or engine or browser) and not cluster and not extras" $(ARGS)
	@$(MAKE) --no-print-directory cluster

# Ray and bitsandbytes beside what the project's own environment has, which stays as it is.
RAY := build/ray
cluster: install
	@$(RAY)/bin/python -m pip --version >/dev/null 2>&1 || { $(PYTHON) -m venv $(RAY) && \
	  $(PYTHON) -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > $$($(RAY)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/pawl.pth; }
	@$(RAY)/bin/python -m pip install --quiet --no-deps -r requirements/ray.txt -r requirements/qlora.txt
	@$(RAY)/bin/python requirements/licences.py
	PYTHONPATH=$(CURDIR) $(RAY)/bin/python -m pytest -m "cluster or extras" \
	  tests/serve/engine/test_nodes.py tests/evals/test_cluster.py tests/refine/test_cluster.py tests/refine/test_4bit.py $(ARGS)

demo: install
	@$(PYTHON) -m pawl.cli demo $(ARGS)

docs: install
	@$(PYTHON) docs/build.py

# A command that measured and fell short ends with code 3; any other but 0: nothing was measured.
bars: install browser
	@failed=0; for bar in $(BARS); do echo "$$bar ..."; $(PYTHON) -m benchmarks.$$bar \
	  || { echo "$$bar ended with code $$?"; failed=1; }; done; exit $$failed

clean:
	rm -rf .venv build *.egg-info
