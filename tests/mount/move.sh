#!/usr/bin/env bash
# mv between clouds: a file, a tree, while it is read; and renames inside a cloud.
. "$(dirname "$0")/lib.sh"
mount_it
dd if=/dev/urandom of="$work/src" bs=1M count=300 status=none
s=$(sum "$work/src")
cp "$work/src" "$mnt/aws/big"
settle
[ -f "$(native aws big)" ]
exec 5<"$mnt/aws/big"
mv "$mnt/aws/big" "$mnt/gcp/"
[ ! -e "$mnt/aws/big" ]
same "$(sum "$mnt/gcp/big")" "$s"
same "$(sha256sum <&5 | cut -c1-64)" "$s"
exec 5<&-
settle
[ ! -e "$(native aws big)" ]
same "$(sum "$(native gcp big)")" "$s"
same "$(getfattr --only-values -n user.astra.cloud "$mnt/gcp/big")" gcp

mkdir "$mnt/aws/tree"
for i in $(seq 10); do
    mkdir "$mnt/aws/tree/$i"
    for k in $(seq 100); do echo "$i $k" >"$mnt/aws/tree/$i/$k"; done
done
settle
(cd "$mnt/aws/tree" && find . -type f -exec sha256sum {} + | sort) >"$work/before"
stop=$work/stop
( n=0; while [ ! -e "$stop" ]; do
    ls "$mnt/aws" "$mnt/azure" >/dev/null || { echo "ls failed" >"$work/lserr"; }
    t0=$(date +%s%N); stat "$mnt/gcp/big" >/dev/null || echo "stat failed" >>"$work/lserr"
    t1=$(date +%s%N); [ $((t1 - t0)) -lt 1000000000 ] || echo "stat took $(((t1 - t0) / 1000000)) ms" >>"$work/lserr"
  done ) &
lister=$!
mv "$mnt/aws/tree" "$mnt/azure/tree"
(cd "$mnt/azure/tree" && find . -type f -exec sha256sum {} + | sort) >"$work/during"
cmp "$work/before" "$work/during"
settle
touch "$stop"; wait $lister
[ ! -s "$work/lserr" ] || { cat "$work/lserr"; exit 1; }
(cd "$mnt/azure/tree" && find . -type f -exec sha256sum {} + | sort) >"$work/after"
cmp "$work/before" "$work/after"
same "$(find "$(native azure tree)" -type f | wc -l)" 1000
same "$(find "$(native aws tree)" -name .astra -prune -o -type f -print 2>/dev/null | wc -l)" 0

# chains and swaps of names
cd "$mnt/gcp"
for round in 1 2 3; do
    echo "first $round" >log; sync log
    mv log log.1; echo "second $round" >log
    mv log.1 log.2; mv log log.1; echo "third $round" >log
    settle
    same "$(cat "$(native gcp log)")" "third $round"
    same "$(cat "$(native gcp log.1)")" "second $round"
    same "$(cat "$(native gcp log.2)")" "first $round"
    rm log log.1 log.2
done
settle
[ ! -e "$(native gcp log)" ]
cd /
unmount_it
