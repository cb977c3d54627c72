# `make` lists what there is to do. The scripts say in their headers what they need, take and leave.
.DEFAULT_GOAL := help
.PHONY: help build release demo test test-full check bench fuzz clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build target/release/larder
	cargo build --release

release: ## build the static program that is handed out, for builders of both amd64 and arm64
	scripts/release.sh

demo: ## build the example on agents that forget everything, beside docker build
	scripts/demo.sh

test: ## run every test and check, on private Docker engines (or on DOCKER_HOST)
	scripts/test.sh

test-full: ## the same at full size, on every engine and image store, before a release
	LARDER_TEST_FULL=1 scripts/test.sh

check: ## format, lints and shell scripts, without tests
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x .ci/run $(wildcard scripts/*.sh scripts/lib/*.sh benches/*.sh); \
	else echo "SKIPPED: no shellcheck here, the shell scripts were not checked" >&2; fi

bench: ## run the benchmarks
	cargo bench --bench key
	@set -e; for bench in $(wildcard benches/*.sh); do echo "==> $$bench"; "$$bench"; done

fuzz: ## fuzz the parsers, ten minutes each (SECONDS_EACH=60 make fuzz for less)
	scripts/fuzz.sh

clean: ## remove what was built, and the downloads of demo and test
	cargo clean
	rm -rf "$${LARDER_DEV_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/larder-dev}"
