#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs one fuzz target: over its corpus, and by libFuzzer (MODE fuzzer) for a few seconds more.
#
#	run.sh MODE TARGET CORPUS
#
# ASTRA_FUZZ_SECONDS (default 3) is how long. What it finds is kept beside the target.
set -eu
mode=$1 target=$2 corpus=$3
# Thousands of small files and fsyncs: in memory, where extended attributes are not needed.
base=/dev/shm
case $target in
*_local) base= ;;
esac
[ -n "$base" ] && [ -w "$base" ] || base=${TMPDIR:-/tmp}
work=$(mktemp -d "$base/astra-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/grown"
export TMPDIR="$work"
if [ "$mode" != fuzzer ]; then
	"$target" "$corpus"
	exit
fi
"$target" -max_total_time="${ASTRA_FUZZ_SECONDS:-3}" -timeout=25 -rss_limit_mb=4096 \
	-artifact_prefix="$target-" -print_final_stats=1 -close_fd_mask=1 "$work/grown" "$corpus" \
	2>"$work/log" || { cat "$work/log"; exit 1; }
sed -n 's/^stat::number_of_executed_units: */executions: /p' "$work/log"
