#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every store call of a change fails in every way: the whole matrix of the fault runs, a quarter of it
# with ASTRA_FEW, drawn by its seed.
. "$(dirname "$0")/lib.sh"
python3 "$(dirname "$0")/../model/faultrun.py" --work "$work/runs" --astrafs "$astrafs" \
    --astra "$astra" --opts "upload_delay=50ms,migrate_wait=50ms${ASTRA_OPTS:+,$ASTRA_OPTS}" \
    ${ASTRA_FEW:+--share 0.25} "$@"
