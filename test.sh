#!/usr/bin/env bash
# All tests on a machine with Go and Node: ./test.sh, or some of them: ./test.sh go|watch|proxies|chart|cluster|client|console|backend|conformance
# Installs what is missing: a C compiler for the race detector and Chromium through apt-get (as root or by sudo),
# Node packages through npm ci.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

# apt PACKAGE... installs Debian packages, or says what is needed.
apt() {
  if ! command -v apt-get >/dev/null; then
    echo "please install: $*" >&2
    exit 1
  fi
  local sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need() { # need COMMAND WHY
  command -v "$1" >/dev/null || { echo "$1 is needed $2" >&2; exit 1; }
}

browser() {
  local name
  for name in ${CHROMIUM:-} chromium chromium-browser google-chrome chrome-headless-shell; do
    if command -v "$name" >/dev/null; then command -v "$name"; return; fi
  done
}

packages() { # packages DIR: npm ci unless it was done for this lock file
  local dir=$1 stamp=$1/node_modules/.lock-installed
  if ! cmp -s "$dir/package-lock.json" "$stamp"; then
    (cd "$dir" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$dir/package-lock.json" "$stamp"
  fi
}

run_go() {
  need go "(1.26 or newer)"
  command -v "${CC:-cc}" >/dev/null || apt gcc libc6-dev
  say "go vet"
  go vet ./...
  # One package at a time: several run clusters of their own, whose failure detectors a starved machine would trip.
  # Of internal/e2e the short part: the cluster of real processes wants the machine to itself (./test.sh cluster).
  say "go test -race"
  go test -race -p 1 -timeout 30m $(go list ./... | grep -vE '/internal/(e2e|watch|proxytest)$')
  go test -race -short -timeout 30m ./internal/e2e ./internal/watch ./internal/proxytest
}

# run_cluster runs three brokers and three gateways as processes and breaks them: four minutes, nothing else beside it.
run_cluster() {
  need go "(1.26 or newer)"
  say "cluster of real processes"
  go test -v -run TestCluster -timeout 30m ./internal/e2e
}

# installed COMMAND PACKAGE installs a Debian package unless its command is there.
installed() {
  command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || apt "$2"
}

# run_watch runs every rule and every query of the dashboards on a real Prometheus that scrapes a loaded cluster.
run_watch() {
  need go "(1.26 or newer)"
  installed prometheus prometheus # brings promtool
  say "watch: rules, alerts and dashboards on a real Prometheus"
  go test -timeout 30m ./internal/watch
}

# run_proxies runs the configurations in deploy/ in front of gateways: haproxy, nginx and Caddy.
run_proxies() {
  need go "(1.26 or newer)"
  need node "(20 or newer)"
  need npm "(comes with Node)"
  installed haproxy haproxy
  installed nginx nginx-light
  installed caddy caddy
  installed prometheus prometheus # what deploy/compose runs
  packages test/conformance # Xano's SDKs
  say "proxies: haproxy, nginx and Caddy in front of three gateways"
  go test -timeout 30m ./internal/proxytest
}

with_node() {
  need node "(20 or newer)"
  need npm "(comes with Node)"
  CHROMIUM=$(browser)
  if [ -z "$CHROMIUM" ]; then
    say "installing Chromium"
    apt chromium
    CHROMIUM=$(browser)
  fi
  export CHROMIUM
}

# run_chart lints and renders the Helm chart. Helm is built once, when there is none, which takes two to four minutes: so
# it is run by name. That the chart's copies and schema are current is seen by the part go.
run_chart() {
  need go "(1.26 or newer)"
  local helm=v3.22.0 bin=${XDG_CACHE_HOME:-$HOME/.cache}/fanfare-test/helm
  if ! command -v helm >/dev/null; then
    if [ ! -x "$bin/helm" ]; then
      say "building Helm $helm"
      GOFLAGS= GOBIN=$bin go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$helm"
    fi
    PATH=$PATH:$bin
  fi
  say "chart"
  go test -tags chart -count 1 ./test/chart
}

run_client() {
  with_node
  local dir part
  for dir in web/client web/demo; do
    if [ ! -f "$dir/package.json" ]; then continue; fi
    say "$dir"
    packages "$dir"
    (cd "$dir" && npm run check && npm test)
    for part in server browser; do # against the real binary, and in Chromium
      if compgen -G "$dir/test/$part/*.test.mjs" >/dev/null; then (cd "$dir" && npm run "test:$part"); fi
    done
  done
}

run_console() {
  with_node
  say "console: in Chromium, on the real binary"
  packages web/client
  packages web/console
  (cd web/console && npm run check && npm test)
  say "console: the live page with 5000 sockets"
  (cd web/console && npm run test:live)
}

run_backend() {
  with_node
  say "backend: a generated client, a third-party webhook verifier"
  packages test/backend
  (cd test/backend && npm test)
}

run_conformance() {
  with_node
  say "conformance: Xano's SDKs in Node and in Chromium"
  packages test/conformance
  (cd test/conformance && npm test)
}

if [ $# = 0 ]; then set -- go watch proxies cluster client console backend conformance; fi
for part in "$@"; do
  case $part in
    go | watch | proxies | chart | cluster | client | console | backend | conformance) "run_$part" ;;
    *) echo "unknown part $part: go, watch, proxies, chart, cluster, client, console, backend or conformance" >&2; exit 2 ;;
  esac
done
say "all passed: $*"
