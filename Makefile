# make up      install what is missing, then serve: prints the address, Ctrl-C stops
# make test    install what is missing, then lint and every test
# make demo    a group of users meets the planted faults; a night mends them
# make bars    the heavy versions of what the tests check; figures go to docs/measurements.md
# make lint    ruff, mypy, import-linter

PYTHON := .venv/bin/python
ARGS ?=

.PHONY: up test lint demo bars install browser clean
.DEFAULT_GOAL := up

install:
	@requirements/install.sh

up: install
	@$(PYTHON) -m pawl.cli up $(ARGS)

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

# The browser tests drive Debian's chromium. As root it is installed; otherwise they say what
# they could not test.
browser:
	@command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	  || echo "No chromium and no right to install it: the browser tests will be skipped." >&2

test: install browser lint
	$(PYTHON) -m pytest $(ARGS)

demo: install
	@$(PYTHON) -m pawl.cli demo $(ARGS)

bars: install browser
	$(PYTHON) -m benchmarks.bars $(ARGS)

clean:
	rm -rf .venv build *.egg-info
