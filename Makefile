# make check   linters, types, layers, generated files: seconds
# make unit    the fast tests: no Docker, no cluster
# make test    check and all tests, on a real Docker Engine and Kubernetes; sets up what is missing (root on Debian 12)
# make demo    the example on the Docker Engine alone, and what its port answers (as root on Debian the Engine is installed, too)
# make bench   the benchmarks, one after the other (they want kubectl to compare with)
# make clean   removes what make made here; `tests/cluster/down` ends the cluster

PYTHON ?= python3
BIN    := .venv/bin
PYTEST := $(BIN)/pytest

.PHONY: setup check unit test demo bench clean cluster

setup: .venv/installed
.venv/installed: pyproject.toml .ci/venv
	.ci/venv .venv "$(PYTHON)" --editable '.[dev]'
	@touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m devloop.config.schema --check
	$(BIN)/python -m devloop.report.schema --check
	@! grep -rnEw 'TO[D]O|FIX[M]E|XX[X]' --exclude-dir=__pycache__ devloop tests examples docs *.md || { echo "left over: do it, or open an issue"; exit 1; }

unit: setup
	$(PYTEST) -m "not cluster" tests/unit tests/loop

cluster:
	@test -n "$$DEVLOOP_TEST_KUBECONFIG" || tests/cluster/up

test: check cluster
	$(PYTEST) --durations=15

demo:
	tests/cluster/engine
	.ci/venv build/demo "$(PYTHON)" .
	build/demo/bin/python examples/demo.py

bench: setup cluster
	@for benchmark in bench/*.py; do \
	  KUBECONFIG=$${DEVLOOP_TEST_KUBECONFIG:-$$(tests/cluster/up)} $(BIN)/python $$benchmark || exit 1; \
	done

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
