# Each line is one command of the suite's command line, or of pytest. `make` shows this list.
PYTHON ?= python3
HOME_OF_RUNS = $(or $(ROSETTA_HOME),$(CURDIR)/.rosetta)
ROSETTA = "$(HOME_OF_RUNS)/env/rosetta/bin/rosetta"
# Two files of tests at a time share the cores: a thread that waits must not spin.
PYTEST = OMP_WAIT_POLICY=passive "$(HOME_OF_RUNS)/env/dev/bin/python" -m pytest -n 2 --dist loadfile
RUFF = "$(HOME_OF_RUNS)/env/dev/bin/ruff"
JUPYTER = "$(HOME_OF_RUNS)/env/rosetta/bin/jupyter"
CHOICE = $(if $(FRAMEWORKS),--framework "$(FRAMEWORKS)") $(if $(WORKLOADS),--workload "$(WORKLOADS)")
CHOICE += $(if $(VARIANTS),--variant "$(VARIANTS)") $(if $(PROFILE),--profile $(PROFILE))
HOW = $(if $(DATA),--data $(DATA)) $(if $(DOWNLOAD),--download) $(if $(BATCH),--batch $(BATCH))
HOW += $(if $(THREADS),--threads $(THREADS)) $(if $(ROUNDS),--rounds $(ROUNDS))
HOW += $(if $(KINDS),--kind "$(KINDS)") $(if $(DEVICE),--device $(DEVICE)) $(if $(PRECISION),--precision $(PRECISION))

.PHONY: help setup bench machine verify test test-fast lint table plots lab clean rosetta dev

help:        ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20
	@echo 'Variables: PROFILE FRAMEWORKS WORKLOADS VARIANTS DATA DOWNLOAD=1 BATCH THREADS ROUNDS KINDS DEVICE PRECISION PYTHON, as in'
	@echo '  make bench PROFILE=smoke FRAMEWORKS="pytorch jax_flax" WORKLOADS=cnn_cifar10'

setup: rosetta  ## build the environments of the frameworks (FRAMEWORKS; none: all)
	$(ROSETTA) setup $(FRAMEWORKS)

bench: rosetta  ## set up, prepare, measure; then tables and plots
	$(ROSETTA) run $(CHOICE) $(HOW)

machine: rosetta  ## what this machine can do: GEMM, convolution, copy, dispatch (FRAMEWORKS; none: all)
	$(ROSETTA) machine $(FRAMEWORKS) $(if $(THREADS),--threads $(THREADS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DEVICE),--device $(DEVICE))

verify: rosetta  ## check parameters, first losses, trajectories and environments
	$(ROSETTA) verify

test: dev    ## all tests, with the environments of all frameworks
	$(ROSETTA) setup
	$(PYTEST)

test-fast: dev  ## the tests that need no framework and a few seconds each
	$(PYTEST) -m "not slow and not frameworks"

lint: dev    ## ruff's checks and its format
	$(RUFF) check .
	$(RUFF) format --check .

table: rosetta  ## the tables of what was measured
	$(ROSETTA) table

plots: rosetta  ## the plots of what was measured
	$(ROSETTA) plot

lab: rosetta ## JupyterLab with the kernels of all built environments; registers nothing
	JUPYTER_PATH="$(HOME_OF_RUNS)/jupyter" $(JUPYTER) lab --notebook-dir=notebooks

clean:       ## remove what can be made again: caches, environments, drawn and fetched data
	rm -rf "$(HOME_OF_RUNS)" .pytest_cache .ruff_cache .mypy_cache .hypothesis

rosetta:
	@$(PYTHON) harness/bootstrap.py

dev:
	@$(PYTHON) harness/bootstrap.py dev
