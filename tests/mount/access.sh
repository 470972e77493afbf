#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Access statistics: what counts, what does not, and that they outlive a mount.
. "$(dirname "$0")/lib.sh"
get() { getfattr --absolute-names --only-values -n "user.astra.$1" "$2"; }
counts() { echo "$(get accesses "$f") $(get reads "$f") $(get writes "$f")"; }
becomes() { # COUNTS: within a second, since an open counts when it is released
    for _ in $(seq 100); do [ "$(counts)" = "$1" ] && return 0; sleep 0.05; done
    same "$(counts)" "$1"
}
stays() { sleep 0.3; same "$(counts)" "$1"; }
mount_it
f=$mnt/aws/f
echo a >"$f"
becomes "1 0 1"
# Nor is an open an access that neither reads nor writes, as one for an fsync.
python3 -c '
import os, sys
for flags in os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_NONBLOCK:
    fd = os.open(sys.argv[1], flags)
    os.fstat(fd)
    os.fsync(fd)
    os.lseek(fd, 0, os.SEEK_END)
    os.close(fd)' "$f"
stays "1 0 1"
ls -lR "$mnt" >/dev/null
stat "$f" >/dev/null
getfattr --absolute-names -d -m - "$f" >/dev/null
find "$mnt" -size +1 >/dev/null
stays "1 0 1"
cat "$f" >/dev/null
becomes "2 1 1"
python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(5):
    os.pread(fd, 1, 0)
os.pwrite(fd, b"b", 0)
os.close(fd)' "$f"
becomes "3 1 2"
# Each of several reads in a row, of a mapping, and of copies; a handle beside a reading one.
g=$mnt/aws/g
printf '%s' "$(seq 1000)" >"$g"
f=$g
becomes "1 0 1"
for n in 2 3 4; do
    cat "$g" >/dev/null
    becomes "$n $((n - 1)) 1"
done
python3 -c '
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
os.close(fd)
assert m[10:12]
m.close()' "$g"
becomes "5 4 1"
python3 -c '
import os, sys
a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
assert os.copy_file_range(a, b, 100) == 100' "$g" "$mnt/aws/h"
becomes "6 5 1"
f=$mnt/aws/h
becomes "1 0 1"
f=$g
python3 -c '
import os, sys
a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[1], os.O_RDONLY)
assert os.read(a, 9) == os.read(b, 9)' "$g"
becomes "8 7 1"
f=$mnt/aws/f
[[ $(get last_access "$f") =~ ^20.*Z$ ]]
# Neither astrafs itself nor an indexer; the long name is cut in /proc/PID/comm.
settle
mv "$f" "$mnt/gcp/f"
settle
f=$mnt/gcp/f
stays "3 1 2"
for name in updatedb tracker-miner-fs-3 baloo_file; do
    cp "$(command -v cat)" "$work/$name"
    "$work/$name" "$f" >/dev/null
done
stays "3 1 2"
unmount_it
mount_it no_count=cat:dd
same "$(counts)" "3 1 2"
cat "$f" >/dev/null
stays "3 1 2"
"$work/updatedb" "$f" >/dev/null
becomes "4 2 2"
# A crash loses a second of them at most.
sleep 1.3
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
mount_it
same "$(counts)" "4 2 2"
unmount_it
