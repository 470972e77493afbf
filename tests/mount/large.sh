#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A file that is larger than the cache: what went up while it is open makes room for the rest. Every
# byte can be read at any moment, whatever was written over, and a kill loses none.
. "$(dirname "$0")/lib.sh"
a() { "$astra" --mount "$mnt" "$@"; }
opts=$opts,cache_size=40M
mount_it

# Written from begin to end, as cp does.
head -c 150000001 /dev/urandom >"$work/bytes"
cp "$work/bytes" "$mnt/aws/copied"
cmp "$work/bytes" "$mnt/aws/copied"
settle
cmp "$work/bytes" "$mnt/aws/copied"
cmp "$work/bytes" "$(native aws copied)"
same "$(a --json status | json 'd["stage"]["clean_bytes"] + d["stage"]["dirty_bytes"] <= d["stage"]["quota_bytes"]')" True

# And with all that one may do to an open file, against a plain one.
cat >"$work/both.py" <<'P'
import os, random, sys
mnt, plain, seed, steps, killed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), len(sys.argv) > 5
r = random.Random(seed)
flags = os.O_RDWR | os.O_CREAT
a, b = os.open(mnt, flags), os.open(plain, flags)
size = os.fstat(b).st_size
noise = os.urandom(8 << 20)
def check(off, n):
    x, y = os.pread(a, n, off), os.pread(b, n, off)
    if x != y:
        at = next((i for i in range(min(len(x), len(y))) if x[i] != y[i]), min(len(x), len(y)))
        sys.exit("seed %d: other bytes at %d of %d (%d and %d read)" % (seed, off + at, size, len(x), len(y)))
for step in range(steps):
    k = r.random()
    if k < 0.55 or size < 1 << 20: # on at its end
        n = r.randrange(1, 4 << 20)
        off = size + (r.randrange(1 << 20) if r.random() < 0.1 else 0)
    elif k < 0.75:
        n, off = r.randrange(1, 100000), r.randrange(size)
    elif k < 0.95:
        check(r.randrange(size), r.randrange(1, 2 << 20))
        continue
    elif k < 0.97:
        for f in a, b:
            os.ftruncate(f, size - min(size, 3 << 20) + 7)
        size = os.fstat(b).st_size
        continue
    else:
        off, n = r.randrange(size), r.randrange(1, 1 << 20)
        libc = __import__("ctypes").CDLL(None, use_errno=True)
        c = __import__("ctypes").c_long
        for f in a, b:
            if libc.fallocate(f, 3, c(off), c(n)) and f == a:
                sys.exit("fallocate failed")
        continue
    at = r.randrange(len(noise) - n)
    for f in b, a:
        done = 0
        while done < n:
            done += os.pwrite(f, noise[at + done:at + n], off + done)
    size = max(size, off + n)
if killed: # it stays open, and says so
    print("written", flush=True)
    sys.stdin.read()
for off in range(0, size, 1 << 20):
    check(off, 1 << 20)
P
for seed in 1 2; do
    python3 "$work/both.py" "$mnt/aws/both$seed" "$work/both$seed" $seed 150
    cmp "$work/both$seed" "$mnt/aws/both$seed"
    settle
    cmp "$work/both$seed" "$(native aws both$seed)"
done

# A name that goes while it is open: what went up is fetched before the object goes, as much as there
# is room for.
exec 7<>"$mnt/aws/gone"
head -c 60000000 "$work/bytes" >&7
rm "$mnt/aws/gone"
head -c 10000000 "$mnt/aws/copied" >/dev/null
exec 8<"/proc/self/fd/7"
head -c 1000000 "/proc/self/fd/7" | cmp - <(head -c 1000000 "$work/bytes")
exec 7>&- 8<&-

# A kill while it is written.
mkfifo "$work/hold"
exec 9<>"$work/hold"
python3 "$work/both.py" "$mnt/aws/killed" "$work/killed" 3 100 hold <"$work/hold" >"$work/said" 2>&1 &
writer=$!
until grep -q written "$work/said"; do
    kill -0 $writer || { cat "$work/said"; exit 1; }
    sleep 0.1
done
kill -9 "$pid"
wait "$pid" || true
exec 9>&-
kill $writer
wait $writer 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
mount_it
cmp "$work/killed" "$mnt/aws/killed"
settle
cmp "$work/killed" "$(native aws killed)"
same "$(find "$data" -name '*conflict*')" ""
unmount_it
