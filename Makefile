# Every routine command of the project. Each installs what it needs first (see .ci/setup).
SHELL := /bin/sh
PYTHON := .venv/bin/python
# One process for each core, a file of tests always whole in one of them.
AT_ONCE := -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo run test check coverage bench fuzz soak kpz lock setup-demo setup-test setup-images setup-fuzz format lint types contracts names images clean

help: ## Say what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup-demo ## Tell the whole story on loopback: link a card, borrow, refuse; exit 0 if all of it holds
	$(PYTHON) -m bridge demo

run: setup-demo ## Start everything with a simulated card and leave it up; prints the address and a log-in
	$(PYTHON) -m bridge demo --stay

test: setup-test ## Run the tests
	$(PYTHON) -m pytest $(AT_ONCE)

check: setup-test format lint types contracts names test ## Format, lint, types, contracts, names, tests

coverage: setup-test ## Run the tests and say which lines and branches they miss; takes half as long again
	$(PYTHON) -m pytest $(AT_ONCE) --cov

bench: setup-test ## Measure; one JSON object a line on stdout (ONLY=area for one area)
	@$(PYTHON) -m bench $(ONLY)

fuzz: setup-fuzz ## Feed what strangers send to the card layer for SECONDS=60, and FRAMES=1000000 to the SIP2 proxy (ONLY=jpki or sip2)
	@case "$(ONLY)" in "" | jpki) $(PYTHON) -m fuzz $(SECONDS) ;; esac
	@case "$(ONLY)" in "" | sip2) $(PYTHON) -m fuzz.sip2 --frames $(or $(FRAMES),1000000) ;; esac

soak: setup-test ## Kill the bridge KILLS=1000 times, and drive the SIP2 proxy at full rate for SECONDS=600; fails if anything is lost or memory grows
	@$(PYTHON) -m fuzz.kill --kills $(or $(KILLS),1000)
	@$(PYTHON) -m fuzz.sip2 --honest --seconds $(or $(SECONDS),600)

kpz: ## Build the Koha plugin: dist/koha-jpki-bridge-<version>.kpz (needs Python alone)
	@python3 koha_plugin/build_kpz.py

format:
	.venv/bin/ruff format --check .

lint:
	.venv/bin/ruff check .

types:
	.venv/bin/mypy

contracts:
	.venv/bin/lint-imports

names:
	$(PYTHON) .ci/public_names.py

images: setup-images ## Draw the screenshots in docs/images anew
	KEEP_SCREENSHOTS=1 $(PYTHON) -m pytest -m browser

lock: setup-test ## Lock the requirements anew (needs the package uv)
	for part in build run reader dev fuzz; do uv pip compile --quiet --generate-hashes --python-version 3.11 --universal \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade \
	  requirements/$$part.in -o requirements/$$part.txt || exit 1; done

setup-demo:
	@.ci/setup demo

setup-test:
	@.ci/setup test

setup-images:
	@.ci/setup images

setup-fuzz:
	@.ci/setup fuzz

clean: ## Remove what the commands made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist *.egg-info
