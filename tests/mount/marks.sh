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
# Writes to one file until there is no room, as nothing goes up, and then to another, of which nothing
# is changed: that fails as well.
cat >"$work/fill.py" <<'P'
import os, sys
hog, kept, name = sys.argv[1], open(sys.argv[2], "wb"), sys.argv[3]
def fill(f, keep=None):
    try:
        while True:
            p = os.urandom(1 << 16)
            n = os.write(f, p)
            if not keep:
                sys.exit("where did it go?")
            keep.write(p[:n])
    except OSError as e:
        assert e.errno == 28, e
f = os.open(name, os.O_WRONLY)
fill(os.open(hog, os.O_WRONLY | os.O_CREAT), kept)
fill(f)
kept.flush()
if len(sys.argv) > 4:
    os.kill(int(sys.argv[4]), 9)
P
away="put,part_put,parts_begin:error=EIO"
object() { # NAME: in the cloud, with a time
    cp "$work/other" "$mnt/aws/$1"
    touch -d @1000000000 "$mnt/aws/$1"
    clean
}
stays() { # NAME
    cmp "$work/other" "$mnt/aws/$1"
    cmp "$work/other" "$(native aws "$1")"
    same "$(stat -c %Y "$mnt/aws/$1")" 1000000000
}
mount_it

# The cache is full of what cannot go.
object near
a debug fault aws "$away"
python3 "$work/fill.py" "$mnt/aws/hog" "$work/hog" "$mnt/aws/near"
[ "$(stat -c %s "$work/hog")" -gt 8000000 ]
a debug fault aws ''
clean
stays near
cmp "$work/hog" "$mnt/aws/hog"
cmp "$work/hog" "$(native aws hog)"
evict "$(stat -c %i "$mnt/aws/near")"
clean
stays near

# The same, and a kill.
object killed
a debug fault aws "$away"
python3 "$work/fill.py" "$mnt/aws/hog2" "$work/hog2" "$mnt/aws/killed" "$pid" || true
wait "$pid" 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
opts=$opts,upload_delay=3s
mount_it
evict "$(stat -c %i "$mnt/aws/killed")"
clean
stays killed
cmp "$work/hog2" "$mnt/aws/hog2"
cmp "$work/hog2" "$(native aws hog2)"

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
