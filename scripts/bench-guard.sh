#!/usr/bin/env bash
# Counts the instructions that hot paths take and compares them with scripts/bench-guard.baseline: a figure that does
# not depend on how fast or how busy the machine is. With --update it writes the baseline anew.
#
# A benchmark is run twice with different numbers of rounds, and the difference divided by the rounds between them: what
# starting takes falls out. Go's collector and preemption are off, one thread runs. Beside BenchmarkDispatch/stored an
# embedded broker runs, whose own doings count, the more the busier the machine (3100 to 4700 seen): hence its tolerance.
set -euo pipefail
cd "$(dirname "$0")/.."

baseline=scripts/bench-guard.baseline
update=no
[ "${1:-}" = --update ] && update=yes

if ! command -v valgrind >/dev/null; then
	echo "bench-guard: valgrind is needed (apt-get install valgrind): it counts instructions where perf cannot, as in virtual machines" >&2
	exit 1
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# instructions PACKAGE BENCHMARK ROUNDS
instructions() {
	local pattern
	pattern="^$(sed 's|/|$/^|g' <<<"$2")\$"
	(cd "$1" && GOGC=off GODEBUG=asyncpreemptoff=1 GOMAXPROCS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null \
		"$tmp/$(tr / _ <<<"$1").test" -test.run '^$' -test.bench "$pattern" -test.benchtime "$3x" -test.count 1) >"$tmp/out" 2>&1 || {
		cat "$tmp/out" >&2
		return 1
	}
	if ! grep -q "^Benchmark" "$tmp/out"; then
		echo "bench-guard: $1 has no $2" >&2
		return 1
	fi
	sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$tmp/out"
}

go=$(go env GOVERSION)
was=$(sed -n 's/^# made with \(go[^ ]*\).*/\1/p' "$baseline")
[ "$go" = "$was" ] || echo "bench-guard: the baseline was made with $was, this is $go: renew it (make bench-guard-update) if everything moves" >&2

failed=0
while read -r package benchmark rounds tolerance want; do
	case $package in '' | '#'*) continue ;; esac
	binary=$tmp/$(tr / _ <<<"$package").test
	[ -f "$binary" ] || go test -c -o "$binary" "./$package"
	few=$(instructions "$package" "$benchmark" "$rounds")
	many=$(instructions "$package" "$benchmark" $((rounds * 11)))
	have=$(((many - few) / (rounds * 10)))
	echo "$package $benchmark $rounds $tolerance $have" >>"$tmp/new"
	verdict=ok
	if [ "$update" = no ]; then
		if [ $((have * 100)) -gt $((want * (100 + tolerance))) ]; then
			verdict="MORE than the baseline allows"
			failed=1
		elif [ $((have * 100)) -lt $((want * (100 - tolerance))) ]; then
			verdict="less: make bench-guard-update keeps the gain"
		fi
	fi
	printf '%-18s %-34s %10d  baseline %10d  %s\n' "$package" "$benchmark" "$have" "$want" "$verdict"
done <"$baseline"

if [ "$update" = yes ]; then
	{
		echo "# made with $go $(go env GOARCH) by make bench-guard-update: instructions of one round"
		echo "# package benchmark rounds tolerance_percent instructions"
		cat "$tmp/new"
	} >"$baseline"
	echo "written: $baseline"
fi
exit $failed
