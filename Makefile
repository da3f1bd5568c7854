.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
TOOL    := go tool -modfile=internal/tools/go.mod

FUZZTIME ?= 60s
BENCH    ?= .
COUNT    ?= 10

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: dev
dev: ## run a server to try things on
	go run ./cmd/fanfare dev

.PHONY: build
build: ## make bin/fanfare, a static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/fanfare ./cmd/fanfare

IMAGE   ?= fanfare:dev
.PHONY: image
image: ## make bin/fanfare-image.tar, the container image for amd64 and arm64, without Docker
	go run ./deploy/image -o bin/fanfare-image.tar -tag '$(IMAGE)' -version '$(VERSION)' -commit '$(COMMIT)' \
	  -created "$$(git log -1 --format=%ct)"

.PHONY: chart-files
chart-files: ## copy rules and dashboards into the chart
	rm -f helm/fanfare/files/dashboards/*.json
	cp deploy/prometheus/rules.yaml helm/fanfare/files/
	cp deploy/grafana/*.json helm/fanfare/files/dashboards/

.PHONY: k8s-test
k8s-test: ## prove image and chart on a cluster: KUBELAB=FOLDER or KUBECONFIG=FILE (test/k8s/README.md)
	test/k8s/run

.PHONY: fmt
fmt: ## format the Go code
	$(TOOL) golangci-lint fmt

.PHONY: lint
lint: ## run the linters (the first time builds them: minutes)
	$(TOOL) golangci-lint run

.PHONY: check
check: lint ## what to run before a commit: linters, and Go tests with the race detector
	go test -race ./...

.PHONY: test
test: ## run all tests; installs what they need
	./test.sh

.PHONY: e2e
e2e: ## run the conformance suite alone: the SDKs in Node and in Chromium
	./test.sh conformance

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (60s)
	./scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## run benchmarks matching BENCH, COUNT times, and compare with bench.old if there is one
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./... | tee bench.new
	if [ -f bench.old ]; then $(TOOL) benchstat bench.old bench.new; else $(TOOL) benchstat bench.new; fi

.PHONY: bench-guard
bench-guard: ## hold hot paths to their allocations, bytes for a connection and instructions (needs valgrind)
	go test -count 1 -run 'Alloc|TestMemoryOfIdleConnections' ./protocol ./gateway ./internal/envelope ./internal/subject ./internal/policy ./internal/bench
	./scripts/bench-guard.sh

.PHONY: bench-guard-update
bench-guard-update: ## write the instruction counts anew, after a gain or with a new Go
	./scripts/bench-guard.sh --update

.PHONY: gen
gen: ## rebuild what is generated and committed
	go generate ./...
	for dir in web/client web/demo web/console; do (cd $$dir && npm ci --no-audit --no-fund && npm run build) || exit 1; done

.PHONY: ci
ci: ## exactly what CI runs
	bash .ci/run

.PHONY: clean
clean: ## remove what was built
	rm -rf bin bench.new
