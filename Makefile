# podstep's tasks. "make help" lists them.

VERSION := 0.1.0

# Where what the tests need is put: dlv, staticcheck and h2spec as test/tools/go.mod has them, and a Python with debugpy and clients of
# HTTP/2 and gRPC.
TOOLS   := build/tools
VENV    := build/venv
DEBUGPY := 1.8.22
CLIENTS := httpx[http2]==0.28.1 grpcio==1.85.3

# Flags of the tests, and of those in a cluster; SKIPS is a file of the tests that may be skipped (see test/report), empty: all may.
# Of tests that failed, AGAIN may be run once more, alone; the report names them (see test/report).
SKIPS     ?=
AGAIN     ?= 0
TESTFLAGS ?= -count=1 -shuffle=on -timeout=15m
E2EFLAGS  ?= -count=1 -timeout=40m
PACKAGES  ?= ./...
# The race detector needs a C compiler. Whole programs (./test/...) are run without it: it does not look into them.
RACE := $(shell command -v $${CC:-gcc} >/dev/null 2>&1 && echo true || echo false)

PROGRAMS := ./adapter/cmd/podstep ./launcher/cmd/podstep-launch ./agent/cmd/podstep-agent
LDFLAGS  := -s -w -X podstep.dev/internal/program.release=$(VERSION)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: help build test tools venv lint generate demo bench cluster cluster-shell cluster-test image e2e e2e-editor vsix clean

export PATH := $(CURDIR)/$(TOOLS):$(CURDIR)/$(VENV)/bin:$(PATH)

help: ## list the tasks
	@sed -n 's/^\([a-z0-9-]*\):.*## /  \1\t/p' Makefile | expand -t 16

build: ## build the three programs into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS)

test: build tools venv ## run all tests but those in a cluster: units, privileged ones in namespaces of their own, whole programs, dlv and debugpy
	@[ "$$(id -u)" = 0 ] || echo "make test: as an ordinary user; tests that need root are skipped and listed at the end"
	@$(RACE) || echo "make test: no C compiler, so without the race detector"
	@run() { [ $$# = 1 ] || go test -json $(TESTFLAGS) "$$@" || [ $$? = 1 ] || echo '{"Action": "build-fail", "ImportPath": "go test"}'; }; \
	 packages=$$(go list $(PACKAGES) | grep -v '^podstep.dev/test/e2e'); \
	 { run -race=$(RACE) $$(grep -v '^podstep.dev/test/' <<<"$$packages"); run -p=1 $$(grep '^podstep.dev/test/' <<<"$$packages"); \
	   if [ '$(PACKAGES)' = ./... ]; then (cd agent/image && run ./...); fi; } \
	 | go run ./test/report $(if $(SKIPS),-allow '$(SKIPS)') -again $(AGAIN) -- go test -json $(TESTFLAGS) -race=$(RACE)

tools: $(TOOLS)/dlv $(TOOLS)/staticcheck $(TOOLS)/h2spec

$(TOOLS)/dlv: test/tools/go.mod
	@mkdir -p $(TOOLS)
	go build -C test/tools -o ../../$(TOOLS)/ github.com/go-delve/delve/cmd/dlv
	@touch $@

$(TOOLS)/staticcheck: test/tools/go.mod
	@mkdir -p $(TOOLS)
	go build -C test/tools -o ../../$(TOOLS)/ honnef.co/go/tools/cmd/staticcheck
	@touch $@

$(TOOLS)/h2spec: test/tools/go.mod
	@mkdir -p $(TOOLS)
	go build -C test/tools -o ../../$(TOOLS)/ github.com/summerwind/h2spec/cmd/h2spec
	@touch $@

# Without Python the tests with debugpy are skipped, and say so; likewise those with its clients.
venv:
	@if [ ! -e $(VENV)/debugpy-$(DEBUGPY) ]; then \
	   rm -rf $(VENV); \
	   if python3 -m venv $(VENV) && $(VENV)/bin/pip install --quiet --disable-pip-version-check debugpy==$(DEBUGPY); \
	   then touch $(VENV)/debugpy-$(DEBUGPY); \
	   else rm -rf $(VENV); echo "make: no Python with venv and pip: tests with debugpy will be skipped" >&2; fi; fi
	@if [ -e $(VENV)/bin/pip ] && [ "$$(cat $(VENV)/clients 2>/dev/null)" != '$(CLIENTS)' ]; then \
	   if $(VENV)/bin/pip install --quiet --disable-pip-version-check $(patsubst %,'%',$(CLIENTS)); then echo '$(CLIENTS)' >$(VENV)/clients; \
	   else echo "make: no httpx or grpcio: tests with these clients will be skipped" >&2; fi; fi

lint: $(TOOLS)/staticcheck ## go vet, staticcheck, and the extension's checks where npm is
	go vet ./...
	GOOS=darwin go build -o /dev/null ./adapter/cmd/podstep
	GOOS=windows go build -o /dev/null ./adapter/cmd/podstep
	staticcheck ./...
	cd agent/image && go vet ./... && staticcheck ./...
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory node_modules/.package-lock.json && npm run --silent check; \
	 else echo "make lint: no npm, so without the extension" >&2; fi

generate: ## make schema, attributes and pages from the sources
	go generate ./...
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory node_modules/.package-lock.json && npm run --silent generate; \
	 else echo "make generate: no npm, so without extension/package.json" >&2; fi

demo: build $(TOOLS)/dlv ## show the whole story: a request to a running service stops at a breakpoint here
	go run ./test/demo

bench: build image ## measure what docs/performance.md says; as root, with "make cluster" done, in a cluster too; QUICK=1 for a short run
	go run ./test/bench $(if $(QUICK),-quick)
	@if [ "$$(id -u)" = 0 ] && [ -e build/cluster ]; then \
	   build/cluster/up run -nodes 2 -state build/bench -bin build/cluster go run ./test/bench/cluster $(if $(QUICK),-quick); \
	 else echo "make bench: not as root or without make cluster, so not in a cluster" >&2; fi

image: ## build the agent's image for amd64 and arm64, an OCI archive: build/podstep-agent.tar
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o build/agent/$$arch/ ./agent/cmd/podstep-agent; done
	go run -C agent/image . -o '$(CURDIR)/build/podstep-agent.tar' -ref podstep.dev/agent:$(VERSION) -platforms linux/amd64,linux/arm64 -user 0 \
	  -label org.opencontainers.image.title=podstep-agent -label org.opencontainers.image.version=$(VERSION) \
	  -label org.opencontainers.image.licenses=MIT -entrypoint /podstep-agent '/podstep-agent=$(CURDIR)/build/agent/{arch}/podstep-agent'

cluster: ## build a Kubernetes of two nodes for this machine: 10 minutes once, then seconds; build/cluster leads to it
	test/cluster/build.sh

cluster-shell: ## a shell with a cluster of two nodes around it, and kubectl
	test/cluster/build.sh kubectl
	PATH="$(CURDIR)/build/cluster:$$PATH" build/cluster/up run -nodes 2 -state build/cluster-shell -bin build/cluster "$${SHELL:-bash}"

cluster-test: ## test the cluster itself
	test/cluster/build.sh test

# Of the caller's cluster (kind, k3d) all that is asked for is the two variables: "kind load image-archive" is a PODSTEP_E2E_LOAD. The tests
# of single packages need an image that only our own cluster has.
FOREIGN := $(and $(KUBECONFIG),$(PODSTEP_E2E_LOAD))
e2e: build image $(TOOLS)/dlv venv $(if $(FOREIGN),,cluster) ## test in a cluster: one of two nodes made for it, or that of $KUBECONFIG and $PODSTEP_E2E_LOAD
	@suite() { "$$@" go test -json -p=1 $(E2EFLAGS) $(if $(FOREIGN),,./adapter/cluster/...) ./test/e2e/... \
	     || [ $$? = 1 ] || echo '{"Action": "build-fail", "ImportPath": "go test"}'; }; \
	 suite env PODSTEP_E2E=1 $(if $(FOREIGN),,build/cluster/up run -nodes 2 -state build/e2e -bin build/cluster) \
	 | go run ./test/report $(if $(SKIPS),-allow '$(SKIPS)') $(if $(FOREIGN),,-again $(AGAIN) -- env PODSTEP_E2E=1 \
	     build/cluster/up run -nodes 2 -state build/e2e -bin build/cluster go test -json $(E2EFLAGS))

e2e-editor: build $(if $(filter 0,$(shell id -u)),cluster image) ## press F5 in a real VS Code and stop in a stolen request; as root, in a cluster too
	test/editor/run.sh

vsix: build node_modules/.package-lock.json ## pack the extension with the programs inside, into build/
	npm run --silent vsix

node_modules/.package-lock.json: package-lock.json
	npm ci --no-progress --no-audit --no-fund
	@touch $@

clean: ## remove what was built
	rm -rf bin build node_modules extension/dist extension/bin
