# The few commands of everyday work; CMakePresets.json has every configuration. `make` alone lists them.
JOBS ?= $(shell nproc)
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.cpp' '*.hpp' '*.cu')
.PHONY: help deps build test demo real bench check format tidy clean

help:  ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /make \1\t/' | expand -t 14

deps:  ## Install what the build needs (Debian, Ubuntu)
	scripts/install-deps.sh

build: deps  ## Build the library, the program and the tests into build/release
	cmake --preset release
	cmake --build --preset release --parallel $(JOBS)

test: build  ## Build, then run every test
	ctest --preset release --parallel $(JOBS)

demo: build  ## Compare dense with factorised networks on Fashion-MNIST: a table, JSON and a page of plots
	mkdir -p build/demo
	build/release/bin/fntk compare fashion-mnist --json build/demo/compare.json --plot build/demo/compare.html

real: build  ## Fit all of Fashion-MNIST, and two tables where scikit-learn is installed: build/real/real.md, half an hour
	python3 bench/real/run.py

check:  ## Everything CI does
	.ci/run

format:  ## Format every source file in place
	clang-format -i $(SOURCES)

tidy:  ## Run clang-tidy on the library and the program
	.ci/run tidy

clean:  ## Remove every build
	rm -rf build
