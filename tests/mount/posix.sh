#!/usr/bin/env bash
# Every call that programs make on a local file system, and that all of it is the same after a
# remount: inode numbers, odd names, sizes over 4 GiB, times, owners; 100,000 names in a directory
# (20,000 with ASTRA_FEW).
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
mount_it allow_other
mkdir "$mnt/aws/t" "$mnt/gcp/keep"
chmod 755 "$work" "$mnt/aws/t"
python3 "$here/posix.py" "$mnt/aws/t"

# what a remount must not change
cd "$mnt/gcp/keep"
truncate -s 5G sparse
printf far | dd of=sparse bs=1 seek=$((5 << 30)) conv=notrunc status=none
printf x >"$(printf 'caf\351 \377\n%%')"
printf x >"$(printf 'n%.0s' $(seq 255))"
mkdir -p d/e
ln -s 'no/such target' link
touch -d '1969-12-31 23:59:58.25Z' d
chown 12:34 d/e
chown -h 12:34 link
chmod 1751 d/e
cd /
settle
list() { (cd "$mnt/gcp" && find . ! -path . -printf '%P %y %i %s %m %U:%G %T@ %l\n' | sort); }
list >"$work/before"
unmount_it
mount_it allow_other
list >"$work/after"
diff -a "$work/before" "$work/after"
same "$(tail -c 3 "$mnt/gcp/keep/sparse")" far
same "$(dd if="$mnt/gcp/keep/sparse" bs=1M skip=4500 count=2 status=none | tr -d '\0' | wc -c)" 0

# Names enough for many pages of readdir, removed while they are listed.
mkdir "$(native azure many)"
many=${ASTRA_FEW:+20000}
many=${many:-100000}
(cd "$(native azure many)" && seq -f 'name-%06.0f' "$many" | xargs touch)
ls -f "$mnt/azure/many" >"$work/names"
same "$(wc -l <"$work/names")" $((many + 2))
same "$(sort -u "$work/names" | wc -l)" $((many + 2))
rm -rf "$mnt/azure/many"
[ ! -e "$mnt/azure/many" ]
settle
same "$(find "$data/azure" -name 'name-*' | wc -l)" 0
unmount_it
