#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every store call of a change fails in every way: the whole matrix of the fault runs, a quarter of it
# with ASTRA_FEW, drawn by its seed; on other clouds a twentieth of what moves little.
. "$(dirname "$0")/lib.sh"
few=(${ASTRA_FEW:+--share 0.25})
if [ -n "${ASTRA_CONF:-}" ]; then
    sed '/^\[remote /a fault = *:n=1:delay=1' "$ASTRA_CONF" >"$work/c"
    few=(--conf "$work/c" --native "$ASTRA_NATIVE" --mounts 1 --small --share 0.05)
fi
run() {
    python3 "$(dirname "$0")/../model/faultrun.py" --work "$work/runs" --astrafs "$astrafs" \
        --astra "$astra" --opts "upload_delay=50ms,migrate_wait=50ms${ASTRA_OPTS:+,$ASTRA_OPTS}" "$@"
}
run "${few[@]}" "$@"
# Where a bit changes on its way from one cloud to another, whether the store states checksums or not.
[ -z "${ASTRA_CONF:-}" ] ||
    run --conf "$work/c" --native "$ASTRA_NATIVE" --mounts 1 --only move,move-dir --actions corrupt
