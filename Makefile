# demarc: every command a contributor needs. `make` alone lists them.

MODULE  := github.com/demarc-dev/demarc
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X $(MODULE)/internal/cli.Version=$(VERSION)
PLATFORMS := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64
PYTHON  ?= python3

export CGO_ENABLED := 0

# Go wants a home folder for its caches; where there is none to write to, they lie in the checkout.
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.cache/home
export GOFLAGS := $(strip $(GOFLAGS) -modcacherw)
endif

.DEFAULT_GOAL := help
.PHONY: help build demo demo-cached test lint soak lab services bench fuzz release clean distclean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## write bin/demarc
	go build -ldflags '$(LDFLAGS)' -o bin/demarc ./cmd/demarc

demo: build ## observe the example service under traffic and print its baseline
	$(PYTHON) scripts/demo

demo-cached: build ## observe the example, choose caches, put them there, measure again
	$(PYTHON) scripts/demo-cached

test: ## set everything up, run every check and test
	$(PYTHON) scripts/test

lint: ## go vet, golangci-lint, ruff
	$(PYTHON) scripts/test lint

soak: ## the tests that take hours: memory under load, many crashes
	$(PYTHON) scripts/test soak

lab: build ## one small service a cause of stale reads, and its fixed twin, judged (lab/README.md)
	$(PYTHON) scripts/lab

services: build ## observe services from PyPI as they are; minutes, and not part of test (docs/services.md)
	$(PYTHON) scripts/services

bench: build ## benchmarks of the hot paths
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## every fuzz target for ten seconds (FUZZTIME=1m for longer)
	$(PYTHON) scripts/fuzz $(FUZZTIME)

release: ## static binaries for Linux and macOS under dist/
	rm -rf dist && mkdir -p dist
	for platform in $(PLATFORMS); do \
	  echo "== dist/demarc-$$platform"; \
	  GOOS=$${platform%-*} GOARCH=$${platform#*-} \
	    go build -trimpath -ldflags '-s -w $(LDFLAGS)' -o dist/demarc-$$platform ./cmd/demarc || exit 1; \
	done
	cd dist && if command -v sha256sum >/dev/null; then sha256sum demarc-*; else shasum -a 256 demarc-*; fi >SHA256SUMS

clean: ## remove what was built
	rm -rf bin dist

distclean: clean ## remove the environments and tools under .cache/ as well
	chmod -R u+w .cache 2>/dev/null || true
	rm -rf .cache
