#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A write that fails changes nothing, and leaves nothing behind that waits for an upload for ever:
# not when the cache is full, not when what it needs cannot be fetched, and not when the daemon is
# killed then and the cache is evicted.
. "$(dirname "$0")/lib.sh"
ASTRA_CONF=$work/conf
printf 'data = %s\ncache_size = 16M\nio_deadline = 6s\n[remote aws]\nbucket = astra-aws\nfault =\nretries = 0\n' \
    "$data" >"$ASTRA_CONF"
a() { timeout 30 "$astra" --mount "$mnt" "$@"; }
head -c 12000000 /dev/urandom >"$work/other"
# What is clean and closed goes from the cache.
evict() {
    cp "$work/other" "$mnt/aws/other1"
    cp "$work/other" "$mnt/aws/other2"
    for f in "$@"; do [ "$(stat -c %b "$(staging "$f")" 2>/dev/null || echo 0)" -lt 100 ]; done
}
staging() { printf '%s/stage/%02x/%d' "$state" $(($1 & 255)) "$1"; }
clean() { # says what waits
    a sync
    a status --wait-clean >"$work/said" || { cat "$work/said"; exit 1; }
    if grep -q "the file is missing" "$work/log"; then grep "is missing" "$work/log"; exit 1; fi
}
# Writes until the disk is full, twice: the second time there is nothing dirty. Keeps what was taken.
cat >"$work/fill.py" <<'P'
import os, sys
name, kept, die = sys.argv[1], open(sys.argv[2], "wb"), len(sys.argv) > 3
f = os.open(name, os.O_WRONLY | os.O_CREAT)
for again in range(2):
    try:
        while True:
            p = os.urandom(1 << 16)
            n = os.write(f, p)
            kept.write(p[:n])
    except OSError as e:
        assert e.errno == 28, e
    if again == 0:
        os.fsync(f)
        os.utime(name, (10**9, 10**9))
kept.flush()
if die:
    os.kill(int(sys.argv[3]), 9)
P
mount_it

# A file larger than the cache.
python3 "$work/fill.py" "$mnt/aws/large" "$work/large"
[ "$(stat -c %s "$work/large")" -gt 8000000 ]
same "$(stat -c %Y "$mnt/aws/large")" 1000000000
evict "$(stat -c %i "$mnt/aws/large")"
clean
cmp "$work/large" "$mnt/aws/large"
cmp "$work/large" "$(native aws large)"
same "$(stat -c %Y "$mnt/aws/large")" 1000000000

# The same, and it is still in the cache.
python3 "$work/fill.py" "$mnt/aws/near" "$work/near"
clean
cmp "$work/near" "$mnt/aws/near"
same "$(stat -c %Y "$mnt/aws/near")" 1000000000

# The same, and a kill.
python3 "$work/fill.py" "$mnt/aws/killed" "$work/killed" "$pid" || true
wait "$pid" 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
opts=$opts,upload_delay=3s
mount_it
evict "$(stat -c %i "$mnt/aws/killed")"
clean
cmp "$work/killed" "$mnt/aws/killed"
cmp "$work/killed" "$(native aws killed)"

# What surrounds the bytes cannot be fetched: a write, a hole, and room where the file ends.
head -c 100000 /dev/urandom >"$work/cold"
cp "$work/cold" "$mnt/aws/cold"
a sync
ino=$(stat -c %i "$mnt/aws/cold")
evict "$ino"
objects=$(stat -c %Y "$(native aws cold)")
a debug fault aws 'get:error=EIO'
if printf x | dd of="$mnt/aws/cold" bs=1 seek=7000 conv=notrunc status=none 2>"$work/said"; then
    echo "where from?"; exit 1
fi
if fallocate -p -o 70001 -l 100 "$mnt/aws/cold" 2>"$work/said"; then echo "where from?"; exit 1; fi
a debug fault aws ''
evict "$ino"
clean
cmp "$work/cold" "$mnt/aws/cold"
same "$(stat -c %Y "$(native aws cold)")" "$objects"
unmount_it
"$astra" db check --state "$state" | grep -q "in order"
