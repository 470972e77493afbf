#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A cache that is full of changes: writers go on as fast as uploads do, and are told when these stand
# still.
. "$(dirname "$0")/lib.sh"
ASTRA_CONF=$work/conf
printf 'data = %s\ncache_size = 20M\nio_deadline = 2s\n[remote aws]\nbucket = astra-aws\nbandwidth = 40M\nfault =\nretries = 0\n' \
    "$data" >"$ASTRA_CONF"
mount_it
told() { grep -c "the cache is full: .*writers wait" "$work/log" || true; }

# More than it holds, faster than it goes.
head -c 10000000 /dev/urandom >"$work/bytes"
for i in 1 2 3 4 5 6; do
    { echo "$i"; cat "$work/bytes"; } >"$work/f$i"
    cp "$work/f$i" "$mnt/aws/"
done
same "$(told)" 1 # not for each
a() { "$astra" --mount "$mnt" "$@"; }
a sync
for i in 1 2 3 4 5 6; do
    cmp "$work/f$i" "$mnt/aws/f$i"
    cmp "$work/f$i" "$(native aws "f$i")"
done

# Who waits can be interrupted.
a debug fault aws 'put,part_put,parts_begin:error=EIO'
cp "$work/f1" "$mnt/aws/g1"
s=0
timeout -s INT 1 cp "$work/f2" "$work/f3" "$mnt/aws/" 2>"$work/said" || s=$?
same "$s" 124

# Nothing goes up: the first waits as long as a read would, the others do not.
rm -f "$mnt"/aws/f[1-6]
begun=$(date +%s%N)
if cat "$work/f2" "$work/f3" >"$mnt/aws/g2" 2>"$work/said"; then echo "where is it?"; exit 1; fi
grep -q "No space left" "$work/said"
[ $(($(date +%s%N) - begun)) -ge 2000000000 ]
grep -q "nothing could be sent for a while: writing fails (ENOSPC)" "$work/log"
begun=$(date +%s%N)
if cat "$work/f2" "$work/f3" >"$mnt/aws/g3" 2>"$work/said"; then echo "where is it?"; exit 1; fi
[ $(($(date +%s%N) - begun)) -lt 2000000000 ]
cmp "$work/f1" "$mnt/aws/g1"
rm "$mnt"/aws/g[23]

# It goes up again: so do writers.
a debug fault aws ''
a sync
cp "$work"/f[2-5] "$mnt/aws/"
a sync
for i in 2 3 4 5; do cmp "$work/f$i" "$mnt/aws/f$i"; done
cmp "$work/f1" "$mnt/aws/g1"

# Larger than all of it, and the cloud is away: so it is for this one.
a debug fault aws 'put,part_put,parts_begin:error=EIO'
cat "$work"/f[1-3] >"$work/large"
if cp "$work/large" "$mnt/aws/large" 2>"$work/said"; then echo "where is it?"; exit 1; fi
grep -q "No space left" "$work/said"
a debug fault aws ''
a sync
cp "$work/large" "$mnt/aws/large"
cmp "$work/large" "$mnt/aws/large"
a sync
cmp "$work/large" "$(native aws large)"
unmount_it
