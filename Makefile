# Everything a person does with this repository. `make help` lists it.
# Needs Python 3.11 or newer and make; all else is fetched into .uv/ and .venv/, pinned by hash.

SHELL := /bin/sh
PY := .venv/bin/python
# Half of a run is waiting, hence one worker more than cores; and who is done takes over from who is not, or one of them
# would be left alone with all sabotages.
PYTEST := $(PY) -m pytest -n 3 --dist worksteal
COMPILE = $$(tools/uv.sh) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

# uv brings its own list of authorities; a machine behind a company's proxy has the right one.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
endif

.DEFAULT_GOAL := help
.PHONY: help setup compiled demo test check lint format docs prove bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.ready ## install everything into .venv/, from the hash locks

.venv/.ready: requirements.lock requirements-dev.lock pyproject.toml tools/uv.lock
	@uv=$$(tools/uv.sh) && \
	{ [ -x $(PY) ] || $$uv venv --quiet --python '>=3.11' .venv; } && \
	VIRTUAL_ENV=.venv $$uv pip sync --quiet --require-hashes --compile-bytecode requirements-dev.lock && \
	VIRTUAL_ENV=.venv $$uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# A dozen short-lived processes import all of this; where PYTHONDONTWRITEBYTECODE is set, each would compile it again.
compiled: setup
	@$(PY) -m compileall -q src

demo: compiled ## scaffold a restaurant, start it, attack it, show what held; stays up in a terminal
	@.venv/bin/seawall demo --output build/demo

test: compiled ## the whole suite
	@tools/chromium.sh
	@$(PYTEST) $(T)

check: compiled ## judge the app in APP (default: the demo's)
	@.venv/bin/seawall check $(or $(APP),build/demo/harbour)

lint: setup ## ruff, mypy, layers, house rules, docs up to date
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/mypy --no-error-summary
	@out=$$(.venv/bin/lint-imports --no-cache 2>&1) || { echo "$$out"; exit 1; }
	@$(PY) tools/house.py
	@$(PY) tools/docs.py --check
	@echo lint: clean

format: setup ## let ruff rewrite what it can
	@.venv/bin/ruff check --quiet --fix . || true
	@.venv/bin/ruff format --quiet .

docs: setup ## write docs/controls/ from the checks
	@$(PY) tools/docs.py

prove: compiled ## the long proofs: every sabotage against every control, and the benches
	@tools/chromium.sh
	@$(PYTEST) --prove
	@$(MAKE) --no-print-directory bench

bench: compiled ## measure
	@for file in bench/[!_]*.py; do echo "== $$file"; $(PY) "$$file" || exit 1; done

lock: ## renew the hash locks; the only verb that looks for newer versions
	@$(COMPILE) --upgrade --extra embedded -o requirements.lock
	@$(COMPILE) --upgrade --all-extras --group build --group dev --group bench -c requirements.lock -o requirements-dev.lock
	@echo uv | $$(tools/uv.sh) pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --quiet -o tools/uv.lock

clean: ## remove what make made, but not .venv/
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
