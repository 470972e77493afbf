#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Pages of the index that are damaged: who reads them gets an error, and the log, status and doctor
# say what it is and what is to be done. Rebuilt it is whole again.
. "$(dirname "$0")/lib.sh"
a() { timeout 60 "$astra" --mount "$mnt" "$@"; }

zero_pages() { # KEY SIZE: leaves of LMDB with rows of needles, but of no hay, and keys of that size
    python3 -c 'import struct, sys
with open(sys.argv[1], "r+b") as f:
    for at, page in enumerate(iter(lambda: f.read(4096), b"")):
        flags, lower, upper = struct.unpack_from("<HHH", page, 10)
        if flags != 2 or not 16 < lower <= upper < 4096:
            continue
        first = struct.unpack_from("<H", page, 16)[0]
        key = struct.unpack_from("<H", page, first + 6)[0]
        if key == int(sys.argv[2]) and b"needle-" in page[upper:] and not b"hay-" in page[upper:]:
            f.seek(4096 * at)
            f.write(bytes(4096))' "$state/index/index.mdb" "$1"
}

two_clouds
mount_it
for i in $(seq 200); do echo hay; done | split -l 1 -a 3 - "$mnt/aws/hay-"
for i in $(seq 400); do echo needle; done | split -l 1 -a 3 - "$mnt/aws/needle-"
settle
same "$(a --json status | json 'd["index"]["damaged"]')" 0
if a status | grep "^Index:"; then exit 1; fi
unmount_it
zero_pages 8 # rows of files, not the names in their directory

mount_it
same "$(cat "$mnt/aws/hay-aaa")" hay
for f in needle-aho needle-ahp needle-ahq; do
    if cat "$mnt/aws/$f" 2>"$work/says"; then echo "a damaged row was read"; exit 1; fi
    grep -q "Bad message" "$work/says"
done
same "$(grep -c "error meta: the index $state/index/index.mdb is damaged: unmounted, 'astra db check' tells more and 'astra db rebuild'" "$work/log")" 1
a status | grep -q "^Index:  *DAMAGED, last met 20.*: see 'astra doctor'\$"
a doctor >"$work/says" || true
grep -q "^error *index *is damaged: unmounted, 'astra db check' tells more" "$work/says"
same "$(cat "$mnt/aws/hay-aab")" hay
unmount_it

status=0
"$astra" db check --state "$state" >"$work/says" 2>&1 || status=$?
same "$status" 1
grep -q "the index in $state is damaged: 'astra db rebuild' makes it anew from the clouds" "$work/says"

"$astra" db rebuild -c "$work/c" --state "$state"
mount_it
same "$(cat "$mnt"/aws/needle-* | sort | uniq -c | tr -s ' ')" " 400 needle"
unmount_it

# Where LMDB does not go on the mount ends, and that is told as well.
zero_pages 16 # their order in the directory
mount_it
if timeout 60 ls "$mnt/aws" >"$work/says" 2>&1; then echo "a damaged directory was read"; exit 1; fi
for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
grep -q "error meta: the index $state/index/index.mdb is damaged (mdb.c.*): unmounted, 'astra db rebuild'" "$work/log"
umount -l "$mnt" 2>/dev/null || true
