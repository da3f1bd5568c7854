#!/usr/bin/env bash
# Runs every fuzz target of the repository for a time each: scripts/fuzz.sh [TIME] [PACKAGE...]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
shift || true
# Minimising an interesting input may take a minute by default, in which nothing is tried.
found=0
while IFS=: read -r file line; do
  target=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/' <<<"$line")
  package=./$(dirname "$file")
  if [ $# -gt 0 ] && [[ ! " ${*#./} " == *" ${package#./} "* ]]; then continue; fi
  found=$((found + 1))
  echo "== $package $target"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 2s "$package"
done < <(grep -rE '^func Fuzz[A-Za-z0-9_]*\(' --include='*_test.go' --exclude-dir=node_modules . | sed 's#^\./##')
if [ "$found" = 0 ]; then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "$found fuzz targets, no finding"
