#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The control socket: daemons that do not answer cost the others nothing, and who is not served is
# told why.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
mount_it
sock=$(ls "$work"/run/*.sock)
# In the background: it takes the place of its shell.
py() { exec python3 "$(dirname "$0")/clients.py" "$@"; }
waits_for() { # FILE
    for _ in $(seq 600); do [ -e "$1" ] && return 0; sleep 0.05; done
    echo "no $1"
    exit 1
}

# Eight that hang have ten seconds together: one after the other they would have had 80, within which
# the connection to ours had been closed.
py silent "$work/run" "$work/ready" &
silent=$!
waits_for "$work/ready"
same "$(timeout 60 "$astra" --mount "$mnt" jobs)" "no jobs"
kill $silent
wait $silent || true
rm "$work"/run/silent*.sock "$work/ready"

# No room: said by the daemon, also when the request came too late to be read.
py full "$sock" "$work/ready" &
full=$!
waits_for "$work/ready"
if "$astra" --mount "$mnt" jobs 2>"$work/says"; then echo "there was room"; exit 1; fi
grep -q "too many connections to the daemon" "$work/says"
kill $full
wait $full || true
rm "$work/ready"

# A connection that asks nothing while the daemon ends, and then asks.
py ending "$sock" "$work/ready" >"$work/says" &
ending=$!
waits_for "$work/ready"
unmount_it
wait $ending
grep -q "the daemon is ending" "$work/says"
