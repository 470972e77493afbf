#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh PROGRAM [WORD...]: with a temporary directory of its own, which goes with it however it
# ends.
dir=$(mktemp -d "${TMPDIR:-/tmp}/astra.XXXXXX") || exit 2
export TMPDIR="$dir"
child=
trap 'rm -rf "$dir"' EXIT
trap '[ -z "$child" ] || kill "$child" 2>/dev/null' INT TERM HUP
"$@" &
child=$!
while
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null
do :; done
exit "$status"
