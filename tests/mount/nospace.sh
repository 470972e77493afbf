#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A state directory on a full disk: it can be mounted, also read-only, read, and made room on. The
# index's reserve is given up for that, and made again when there is room.
. "$(dirname "$0")/lib.sh"
mkdir "$work/disk"
mount -t tmpfs -o size=80m none "$work/disk"
state=$work/disk/state data=$state/data
reserve=$state/index/reserve
fill() { dd if=/dev/zero of="$work/disk/$1" bs=4k status=none 2>/dev/null || true; }
free_kb() { df --output=avail -k "$work/disk" | tail -n 1; }
mount_it
head -c 20000000 /dev/urandom >"$mnt/aws/big"
for i in $(seq 20); do echo "$i" >"$mnt/aws/$i"; done
settle
unmount_it
[ -s "$reserve" ]
fill more
same "$((0 + $(free_kb)))" 0

# With the reserve, and then without one.
for round in 1 2; do
    for how in ro rw; do
        mount_it $how
        [ ! -e "$reserve" ]
        same "$(cat "$mnt/aws/7")" 7
        same "$(find "$mnt/aws" -type f | wc -l)" 21
        unmount_it
    done
    fill "again$round"
    same "$((0 + $(free_kb)))" 0
done

# Somebody removes, in spite of it.
mount_it
rm "$mnt/aws/big"
settle
"$astra" --mount "$mnt" jobs wait
[ "$(free_kb)" -gt 10000 ]
unmount_it
rm "$work/disk/more"
mount_it
for _ in $(seq 50); do [ ! -s "$reserve" ] || break; sleep 0.1; done
[ -s "$reserve" ]
echo new >"$mnt/aws/new"
settle
same "$(cat "$mnt/aws/new" "$mnt/aws/20" | tr '\n' ' ')" "new 20 "
unmount_it
"$astra" db check --state "$state" | grep -q "in order"

# A cache that is larger than the disk leaves room for the index: there are new files as soon as what
# fills the disk was uploaded.
rm -r "${work:?}/disk"/*
data=$work/data
mount_it
if head -c 100000000 /dev/urandom >"$mnt/aws/huge" 2>/dev/null; then echo "where is it?"; exit 1; fi
settle
for i in 1 2 3; do
    head -c 5000000 /dev/urandom >"$work/more"
    cp "$work/more" "$mnt/aws/more$i"
    settle
    cmp "$work/more" "$(native aws "more$i")"
done
unmount_it
"$astra" db check --state "$state" | grep -q "in order"
