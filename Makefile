# `make` lists the targets. The headers of the scripts describe their inputs, outputs and requirements.
.DEFAULT_GOAL := help
.PHONY: help build release demo test test-full check bench fuzz clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build target/release/larder
	cargo build --release

release: ## build the static program that is released, for builders of amd64 and arm64
	scripts/release.sh

demo: ## build the example on agents that start empty, compared with docker build
	scripts/demo.sh

test: ## run every test and check, on private Docker engines (or on DOCKER_HOST)
	scripts/test.sh

test-full: ## the same at full size, on every engine and image store, before a release
	LARDER_TEST_FULL=1 scripts/test.sh

check: ## format, lints and shell scripts, without tests
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
	@if command -v shellcheck >/dev/null; then shellcheck -x .ci/run $(wildcard scripts/*.sh scripts/lib/*.sh benches/*.sh); \
	else echo "SKIPPED: shellcheck is not installed, the shell scripts were not checked" >&2; fi

bench: ## run the benchmarks
	@set -e; for bench in $(wildcard benches/*.sh); do echo "==> $$bench"; "$$bench"; done

fuzz: ## fuzz the parsers, ten minutes each (or less: SECONDS_EACH=60 make fuzz)
	scripts/fuzz.sh

clean: ## remove build results, and the downloads of demo and test
	cargo clean
	rm -rf "$${LARDER_DEV_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/larder-dev}"
