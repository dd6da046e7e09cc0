# Hotswitch: `make run` starts the cluster, `make test` proves it. Each sets up all it needs first.

VENV := .venv
BIN := $(VENV)/bin
SOURCES := agent controller loadtest media telephony
RUNTIME := $(VENV)/.runtime-ready
DEVELOPMENT := $(VENV)/.development-ready
FUZZER := $(VENV)/.fuzzer-ready
PEERS := $(VENV)/.peers-ready
# Debian packages that tests need, and the commands that show that they are there: peers, codecs to compare with, curl as in the README.
PEER_PACKAGES := sip-tester baresip-core curl ffmpeg libopus0 sipvicious tshark chromium kamailio linphone-cli
PEER_COMMANDS := sipp baresip curl ffmpeg svwar tshark chromium /usr/sbin/kamailio linphonec
# JsSIP, which runs in Chromium: its version and hashes are locked beside its test.
JSSIP := $(VENV)/jssip/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test lint unit cluster bench fuzz compiled lock clean

help: ## What there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(RUNTIME) ## Own Python environment in .venv, with locked versions; quick when it is there

run: $(RUNTIME) ## Start a cluster on this host, voice running; Ctrl-C ends it (more options: make run UP="--machines 6")
	@exec $(BIN)/hotswitch up $(UP)

test: $(DEVELOPMENT) $(PEERS) $(JSSIP) ## All tests: style, types, units, and the whole cluster with SIPp and baresip
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint unit # mypy has the other core
	@$(MAKE) --no-print-directory cluster

lint: $(DEVELOPMENT) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(DEVELOPMENT) $(PEERS) ## Tests of the cores and of single processes, with coverage
	$(BIN)/pytest -m "not interop" --ignore=tests/interop --ignore=tests/cluster -n 2 --dist loadfile --cov --cov-report=term:skip-covered

cluster: $(DEVELOPMENT) $(PEERS) $(JSSIP) ## Tests of a whole cluster and with real peers
	$(BIN)/pytest -m interop tests

bench: $(DEVELOPMENT) $(PEERS) ## Figures beside Kamailio, rtpengine and Janus, which it installs (parts of it: make bench BENCH="parse signalling")
	$(BIN)/python -m loadtest.bench $(BENCH)

fuzz: $(FUZZER) ## Look for bytes that break what reads bytes from outside (longer, or parts of it: make fuzz FUZZ="--seconds 600 proxy")
	$(BIN)/python -m tests.fuzz $(FUZZ)

compiled: $(DEVELOPMENT) ## The core compiled (mypyc, a C compiler): the same sources, a third cheaper; used by services and in bundles built from then on
	@command -v cc >/dev/null && [ -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || { $(call install,gcc libc6-dev python3-dev,a C compiler and Python's headers are needed); }
	$(BIN)/python -m controller.release.compiled
	$(BIN)/pytest tests/telephony/test_compiled.py

lock: ## Lock the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --extra build --extra dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -q -o requirements-dev.lock

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) .fuzz build dist telephony/compiled/*.compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* *.egg-info
	find $(SOURCES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's own Python is preferred (it is what a fresh machine has); a newer one will do.
$(VENV)/.created:
	@set -eu; \
	python=; \
	for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
		if command -v "$$candidate" >/dev/null 2>&1 && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then $(call install,python3 python3-venv,Python 3.11 or newer is needed); python=/usr/bin/python3; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then $(call install,python3-venv,Python lacks its venv module); fi; \
	echo "Creating $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)
	@touch $@

$(RUNTIME): $(VENV)/.created requirements.lock pyproject.toml
	@echo "Installing locked packages"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME) requirements-dev.lock
	@set -eu; \
	if ! $(BIN)/python -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null; then \
		$(call install,gcc python3-dev,PESQ is compiled against the headers of Python); \
	fi
	@echo "Installing locked packages for development"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(FUZZER): $(DEVELOPMENT) requirements-fuzz.lock
	@echo "Installing the fuzzer (atheris has wheels for Python 3.11 to 3.13 on x86-64 Linux)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@touch $@

$(PEERS): | $(VENV)/.created
	@set -eu; \
	missing=; for each in $(PEER_COMMANDS); do command -v $$each >/dev/null || missing=$$each; done; \
	if [ -n "$$missing" ] || ! $(BIN)/python -c 'import ctypes; ctypes.CDLL("libopus.so.0")' 2>/dev/null; then $(call install,$(PEER_PACKAGES),the tests need these); fi
	@touch $@

$(JSSIP): tests/interop/jssip/package-lock.json | $(VENV)/.created
	@set -eu; \
	if ! command -v npm >/dev/null; then $(call install,npm,JsSIP is fetched with it); fi; \
	echo "Installing JsSIP"; \
	mkdir -p $(VENV)/jssip; cp tests/interop/jssip/package.json tests/interop/jssip/package-lock.json $(VENV)/jssip; \
	npm ci --prefix $(VENV)/jssip --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# $(call install,PACKAGES,REASON): with apt as root; for others a message with the command to run.
define install
echo "$(2): apt-get install $(1)"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -y -qq --no-install-recommends $(1) >/dev/null 2>&1 \
			|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }; \
	else \
		echo "Run this, then make again:  sudo apt-get install -y $(1)" >&2; exit 1; \
	fi
endef
