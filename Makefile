PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

# What a pocket policy needs to show an effect; the papers' fractions are for millions of tokens a batch.
DEMO_RECIPES = "grpo" "grpo+kl-cov(ratio=0.1)" "grpo+steer(min_weight=0.1, scale_quantile=0.9)"
# Environments of real engines: 4 GB each, so kept apart from what `make clean` removes, and shared by all checkouts.
LIVE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/entrokit/live
LIVE_REPORT ?= build/live

DEMO_OUT ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test test-parity test-browser test-live test-live-quick live-trl live-verl live-tinker lint docs format release-check bench clean
.DEFAULT_GOAL := test

demo: $(VENV)/demo.stamp  ## three recipes on the pocket policy, one seed: a table and a report
	$(BIN)/entrokit compare $(DEMO_RECIPES) --seeds 1 --steps 240 --jobs 3 --account-every 10 --out $(DEMO_OUT)

# A worker a core: more threads would only wait for one another. Half of the tests each, in order, so that what a module sets
# up is set up once; who is done first takes half of what is left.
test test-parity test-browser test-live test-live-quick: export OMP_NUM_THREADS ?= 1

test: $(VENV)/dev.stamp  ## the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-parity: $(VENV)-verl/stamp  ## against verl's and other peers' own functions, in an environment of their own
	$(VENV)-verl/bin/python -m pytest -n $(WORKERS) tests/parity tests/test_carried.py tests/distributions/test_peers.py tests/testing/test_interventions.py -k "not test_interventions or verl"

test-browser: $(VENV)/dev.stamp  ## the gallery in Chromium, with an accessibility checker
	@command -v chromium >/dev/null || { echo "no Chromium here: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt playwright axe-playwright-python
	$(BIN)/python -m pytest tests/gallery/test_browser.py

test-live: live-trl live-verl live-tinker  ## real engines on this CPU: TRL and verl with vLLM, Ray, a server of the Tinker API
	ENTROKIT_LIVE_REPORT="$(LIVE_REPORT)/trl.jsonl" "$(LIVE)/trl/bin/python" -m pytest tests/live
	ENTROKIT_LIVE_REPORT="$(LIVE_REPORT)/verl.jsonl" "$(LIVE)/verl/bin/python" -m pytest tests/live
	ENTROKIT_LIVE_REPORT="$(LIVE_REPORT)/tinker.jsonl" "$(LIVE)/tinker/bin/python" -m pytest tests/live/tinker

test-live-quick: live-trl live-verl  ## one run of each
	"$(LIVE)/trl/bin/python" -m pytest -v tests/live -m quick
	"$(LIVE)/verl/bin/python" -m pytest -v tests/live -m quick

live-trl live-verl live-tinker: live-%:
	$(PYTHON) scripts/live.py $* "$(LIVE)/$*"

lint: $(VENV)/dev.stamp  ## formatting, lints, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/dev.stamp  ## the docs site into build/site; a warning is an error
	$(BIN)/python scripts/api.py --check
	$(BIN)/python scripts/commands.py --check
	$(BIN)/python scripts/pages.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

release-check: $(VENV)/dev.stamp  ## wheel and sdist, built and used as a user's pip would
	$(BIN)/python scripts/release.py check

bench: $(VENV)/dev.stamp  ## every benchmark, as ratios to a named peer
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-verl build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/demo.stamp: pyproject.toml constraints.txt scripts/environment.py
	$(PYTHON) scripts/environment.py $(VENV) trl,report
	@touch $@

$(VENV)-verl/stamp: pyproject.toml constraints-verl.txt peers.txt scripts/environment.py
	$(PYTHON) scripts/environment.py $(VENV)-verl verl,dev,physics constraints-verl.txt
	$(VENV)-verl/bin/python -m pip install --quiet --no-deps -r peers.txt
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt scripts/environment.py
	$(PYTHON) scripts/environment.py $(VENV) all,dev
	@touch $@ $(VENV)/demo.stamp
