# The commands of this project; `make help` lists them. Needs make, Python 3.11 or newer with venv, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
CODE := bridge accounts openclaw channels_wechat manage.py
COVERAGE := --cov=bridge --cov=accounts --cov=channels_wechat --cov=openclaw --cov-report=term:skip-covered --cov-fail-under=90
# Everywhere the same: warnings, leaks and wrong threads show themselves.
# The memory checks of that mode are left out: they slow every test and find faults in C, of which we have none.
PYTEST := PYTHONDEVMODE=1 PYTHONMALLOC=pymalloc $(BIN)/python -m pytest
FAST_TESTS := $(PYTEST) -m "not heavy" -n auto

.PHONY: help demo run manage test coverage lint messages structure real browser kills chaos replays wechaty passive production siege audit acceptance bench million clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: $(VENV)/.runtime ## everything on this machine, with a simulated WeCom and WeChat and a stand-in for OpenClaw (PORT=8000, ONCE=1 to run the proof and end)
	@exec $(BIN)/python -m bridge.runtime.launcher.launch demo $(if $(ONCE),--once)

run: $(VENV)/.runtime ## the bridge for real accounts, with the settings in .env
	@exec $(BIN)/python -m bridge.runtime.launcher.launch run

manage: $(VENV)/.runtime ## a Django command beside a running bridge: make manage CMD="changepassword admin" (MODE=demo for the demo)
	@exec $(BIN)/python -m bridge.runtime.launcher.launch manage $(or $(MODE),run) $(CMD)

test: lint ## every check, and the tests on real PostgreSQL and Valkey
	@$(FAST_TESTS) $(ARGS)

coverage: $(VENV)/.dev ## the same tests with the lines that they run counted, which takes half as long again
	@$(FAST_TESTS) $(COVERAGE) $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, import-linter, missing or stale Chinese
	@echo "ruff, mypy, import-linter …"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy --strict $(CODE)
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tests.messages --check

messages: $(VENV)/.dev ## bring the Chinese up to date with the code: adds, sorts, takes out, and lists what is missing
	@$(BIN)/python -m tests.messages

structure: $(VENV)/.dev ## figures of how the code is laid out, and the places that break a bound
	@$(BIN)/python -m tests.structure

real: $(VENV)/.dev ## the tests against the real OpenClaw gateway and Wechaty's puppet service, and of the simulator by Tencent's own SDK (npm)
	@command -v npm >/dev/null || $(call install,npm)
	@$(PYTEST) -m heavy tests/real $(ARGS)

browser: $(VENV)/.dev ## the tests in headless Chromium, with screenshots
	@command -v chromium >/dev/null || $(call install,chromium fonts-wqy-zenhei)
	@$(PYTEST) -m heavy tests/browser $(ARGS)

kills: $(VENV)/.dev ## a minute of chaos
	@$(PYTEST) -m heavy tests/acceptance $(ARGS)

chaos: $(VENV)/.dev ## each message three times while processes, servers and the platform fail at random (MESSAGES=10000 SEED=… JSON=1)
	@$(BIN)/python -m tests.acceptance.chaos --messages $(or $(MESSAGES),10000) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json)

replays: $(VENV)/.dev ## 100 000 failed deliveries: how long their plan takes, and a run of some through kills (RUN=6000, 0 for all: half an hour; RATE=50)
	@$(BIN)/python -m tests.acceptance.replays --run $(or $(RUN),6000) --rate $(or $(RATE),50) $(ARGS)

wechaty: $(VENV)/.dev ## a personal account over Wechaty's real puppet service while either side breaks, and its own echo (ARGS="--only breaks,echo")
	@command -v npm >/dev/null || $(call install,npm)
	@$(BIN)/python -m tests.acceptance.wechaty $(ARGS)

passive: $(VENV)/.dev ## when the follower of an account that is not verified gets an answer, and what 50 held requests cost others
	@$(BIN)/python -m tests.acceptance.passive $(ARGS)

production: $(VENV)/.dev ## the containers' commands read-only and without rights, stops in the middle of work, and a search for leaked secrets
	@$(PYTEST) -m heavy tests/production $(ARGS)

siege: $(VENV)/.dev ## what strangers can do to callbacks: logins, slow bodies, idle connections, uploads, paths, crowds; direct and behind proxies (SECONDS=20)
	@command -v nginx >/dev/null && command -v caddy >/dev/null && command -v haproxy >/dev/null || $(call install,nginx caddy haproxy)
	@$(BIN)/python -m tests.acceptance.siege --seconds $(or $(SECONDS),20) $(ARGS)

audit: $(VENV)/.dev ## known vulnerabilities of the pinned packages
	@$(BIN)/python -m tests.audit

acceptance: $(VENV)/.dev ## chaos in short, a token that dies every second, 500 turns open at once, 50 connections whose holder is killed, and Wechaty (25 minutes)
	@$(BIN)/python -m tests.acceptance.chaos --messages 1000
	@$(BIN)/python -m tests.acceptance.tokens
	@$(BIN)/python -m tests.acceptance.load
	@$(BIN)/python -m tests.acceptance.connections
	@$(BIN)/python -m tests.acceptance.wechaty

bench: $(VENV)/.dev ## what the bridge costs, beside what one would do otherwise (ARGS="--only callbacks --json FILE")
	@$(BIN)/python -m tests.bench $(ARGS)

million: $(VENV)/.dev ## what every page costs with a million messages and two million attempts (MESSAGES=1000000)
	@MESSAGES=$(MESSAGES) $(BIN)/python -m tests.million

clean: ## remove the virtual environment, caches and the demo's data; what `make run` keeps in .data/run stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .data/demo*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call install,PACKAGES): with apt, as root; anybody else is told what to do.
install = { [ "$$(id -u)" = 0 ] && echo "Installing $(1) with apt …" && apt-get -qq update >/dev/null \
	&& DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(1) >/dev/null; } \
	|| { echo "Missing: install $(1) (Debian: apt-get install $(1)) and try again." >&2; exit 1; }

$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3 python3-venv), or name one: make PYTHON=python3.12" >&2; exit 1; }
	@[ -x $(BIN)/python ] && $(BIN)/python -c '' 2>/dev/null || { echo "Making the virtual environment $(VENV) …"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing $$(grep -c == requirements.txt) packages; the first time this takes about a minute …"
	@$(PIP) install --require-hashes --requirement requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing $$(grep -c == requirements-dev.txt) packages for the tests …"
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@touch $@
