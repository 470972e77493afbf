#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random runs, as the test run has them: kill | cut | large | names | tree. A few by default, all
# that a release needs with ASTRA_LONG set (tests/run --long): 200 kills, 200 power cuts, a million steps.
# ASTRA_SEED is the first seed (1). A run that fails says how to repeat it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${ASTRA_BUILD:-build}")
[ -c /dev/fuse ] || { echo "skipped: no /dev/fuse"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/astra-model.XXXXXX")
trap 'rmdir "$work" 2>/dev/null || echo "kept: $work"' EXIT
n() { if [ -n "${ASTRA_LONG:-}" ]; then echo "$2"; else echo "$1"; fi; } # FEW ALL
common=(--astrafs "$build/astrafs" --astra "$build/astra" --work "$work" --seed "${ASTRA_SEED:-1}")
case ${1:-} in
kill) "$here/killrun.py" "${common[@]}" --runs "$(n 40 200)" ;;
cut) "$here/cutrun.py" "${common[@]}" --cutfs "$build/cutfs" --runs "$(n 30 200)" ;;
large) "$here/largecut.py" "${common[@]}" --cutfs "$build/cutfs" --runs "$(n 8 200)" ;;
names)
    "$here/modelrun.py" "${common[@]}" --build "$build" --opts "" --names --runs "$(n 6 60)"
    "$here/modelrun.py" "${common[@]}" --build "$build" --opts "" --names --archive \
        --runs "$(n 4 60)"
    ;;
tree)
    "$here/modelrun.py" "${common[@]}" --build "$build" --opts "" --timeout 1800 \
        --runs "$(n 8 50)" --steps "$(n 5000 20000)"
    ;;
*)
    echo "usage: run.sh kill|cut|large|names|tree" >&2
    exit 2
    ;;
esac
