#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A cloud that hangs, with 500 blocked readers and jobs, leaves the others as they were.
. "$(dirname "$0")/lib.sh"
for r in aws gcp azure; do
    printf '[remote %s]\ntype = local\nprovider = %s\nbucket = astra-%s\nfault = *:n=1:delay=1\n' \
        $r $r $r
done >"$work/conf"
ASTRA_CONF=$work/conf
chmod 600 "$work/conf"
ulimit -n 4096
opts=$opts,io_deadline=100s
mount_it
python3 "$(dirname "$0")/hang.py" "$mnt" "$astra" make
settle
unmount_it
state=$work/state2 # whose index and cache know nothing
mount_it
python3 "$(dirname "$0")/hang.py" "$mnt" "$astra" hang
unmount_it
# The stores' calls of jobs end after 30 s, whatever the option says: all is measured before that.
state=$work/state3
mount_it
python3 "$(dirname "$0")/hang.py" "$mnt" "$astra" jobs
unmount_it
