# `make` alone lists what there is. Only Python 3.11 or newer and make are assumed; everything else is installed into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Other libraries, at versions that only a comparison needs.
BENCH  := .venv-bench
INFINITY := .venv-bench-infinity
SPARK   := .venv-spark
GPU     := .venv-gpu
# What the demo and the tests download stays inside this folder.
export EMBEDRY_CACHE ?= $(CURDIR)/.cache

BUNDLE  := core backends/graphs backends/onnxruntime backends/static plugins/models plugins/layouts plugins/cli
# What the benchmark measures, and no adapters to other libraries.
MEASURED := $(BUNDLE) backends/openvino backends/torch backends/transformers backends/sentence-transformers plugins/server plugins/bulk
# What a GPU computes, without the engines that run on processors.
ON_GPU  := core backends/torch backends/transformers backends/sentence-transformers plugins/models plugins/layouts
# Every distribution of the repository: adding one is adding its folder.
DISTS   := $(patsubst %/pyproject.toml,%,$(wildcard core/pyproject.toml backends/*/pyproject.toml plugins/*/pyproject.toml))
SOURCES := $(addsuffix /src,$(DISTS))

.PHONY: help demo test test-spark test-wheels lint docs wheels bench bench-families bench-kinds bench-dropin bench-server bench-bulk bench-gpu soak soak-server soak-bulk clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.bundle ## embed the documentation of Python's standard library and ask it three questions
	$(BIN)/python docs/demo.py

# Two files of tests at a time: for half of the time a test waits for processes that it starts.
test: lint ## check types, style and structure, then run every test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

test-spark: $(SPARK)/.installed ## run the Spark and Daft examples of the documentation; needs Java
	$(SPARK)/bin/python tests/spark_example.py

test-wheels: $(VENV)/.bundle ## install the wheels with every Python of this machine, and measure times and sizes, in about 2 minutes each
	$(BIN)/python tests/wheels.py

lint: $(VENV)/.development ## check types and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)

docs: $(VENV)/.development ## build the documentation as a site, in docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html

wheels: $(BIN)/python ## build the wheels of all distributions, in dist
	rm -rf dist
	$(BIN)/python -m pip wheel -q --no-deps --wheel-dir dist $(addprefix ./,$(DISTS)) .

bench: $(BENCH)/.installed ## measure embedry beside other libraries, in about 30 minutes
	$(BENCH)/bin/python tests/benchmarks/bench.py $(ARGS)
	$(BENCH)/bin/python tests/benchmarks/operators.py $(filter --write,$(ARGS))

bench-families: $(BENCH)/.installed ## measure architectures at their real sizes, in about 15 minutes
	$(BENCH)/bin/python tests/benchmarks/families.py $(ARGS)
	$(BENCH)/bin/python tests/benchmarks/static.py $(filter --write,$(ARGS))

bench-dropin: $(VENV)/.development ## measure BERTopic, KeyBERT and SemHash with the drop-in, in about 5 minutes
	$(BIN)/python tests/benchmarks/dropin.py $(ARGS)

bench-kinds: $(BENCH)/.installed ## measure rerankers, sparse and token vectors beside other libraries, in about 15 minutes
	$(BENCH)/bin/python tests/benchmarks/kinds.py $(ARGS)

bench-server: $(BENCH)/.installed $(INFINITY)/.installed ## measure the server beside other servers, then 1,000 connections, in about 20 minutes
	$(BENCH)/bin/python tests/benchmarks/server.py $(ARGS)
	$(BENCH)/bin/python tests/benchmarks/storm.py $(filter --quick,$(ARGS))

bench-bulk: $(BENCH)/.installed ## measure a bulk job beside encode_stream alone, in about 20 minutes
	$(BENCH)/bin/python tests/benchmarks/bulk.py $(ARGS)
	$(BENCH)/bin/python tests/benchmarks/scaling.py $(filter --write,$(ARGS))

bench-gpu: $(GPU)/.installed ## check and measure embedry on a CUDA GPU, in 8 minutes, with the torch that PYTHON has or a new one
	$(GPU)/bin/python tests/benchmarks/gpu.py $(ARGS)

soak: $(VENV)/.development ## hold every backend to flat memory under random lengths for 30 minutes
	$(BIN)/python tests/benchmarks/soak.py

soak-server: $(VENV)/.development ## hold the server to flat memory under random requests for 20 minutes
	$(BIN)/python tests/benchmarks/soak_server.py

soak-bulk: $(VENV)/.development ## kill bulk jobs at every stage, 100 times at random, also on Ray, in about 15 minutes
	$(BIN)/python tests/bulk_kills.py
	$(BIN)/python tests/benchmarks/kills_ray.py

clean: ## remove the environments, and what was built and downloaded
	rm -rf $(VENV) $(BENCH) $(INFINITY) $(SPARK) $(GPU) .cache .mypy_cache .pytest_cache .ruff_cache dist docs/_build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "embedry needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# Siblings are on no index, so one pip call resolves them among each other.
$(VENV)/.bundle: $(BIN)/python pyproject.toml $(BUNDLE:=/pyproject.toml)
	$(BIN)/python -m pip install -q $(addprefix -e ./,$(BUNDLE)) -e .
	touch $@

$(VENV)/.development: $(BIN)/python pyproject.toml tests/requirements.txt docs/requirements.txt $(DISTS:=/pyproject.toml)
	$(BIN)/python -m pip install -q -r tests/requirements.txt -r docs/requirements.txt $(addprefix -e ./,$(DISTS)) -e .
	touch $@ $(VENV)/.bundle

$(BENCH)/.installed: tests/benchmarks/requirements.txt pyproject.toml $(MEASURED:=/pyproject.toml)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install -q -r tests/benchmarks/requirements.txt $(addprefix -e ./,$(MEASURED)) -e .
	touch $@

# It needs other versions of what embedry is measured beside.
$(INFINITY)/.installed: tests/benchmarks/requirements-infinity.txt
	$(PYTHON) -m venv $(INFINITY)
	$(INFINITY)/bin/python -m pip install -q -r tests/benchmarks/requirements-infinity.txt
	touch $@

# It sees the packages that PYTHON has, so that a container's own torch for CUDA is used if it is in our range. Otherwise torch comes
# as the index gives it.
$(GPU)/.installed: pyproject.toml $(ON_GPU:=/pyproject.toml)
	$(PYTHON) -m venv --system-site-packages $(GPU)
	$(GPU)/bin/python -m pip install -q torch 'pytest>=9,<10' $(addprefix -e ./,$(ON_GPU))
	touch $@

$(SPARK)/.installed: tests/requirements-spark.txt pyproject.toml $(BUNDLE:=/pyproject.toml) plugins/bulk/pyproject.toml
	$(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/python -m pip install -q -r $< $(addprefix -e ./,$(BUNDLE) plugins/bulk) -e .
	touch $@
