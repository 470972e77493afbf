#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What it takes to list a large directory, counted: LIST pages and nothing else of the cloud the first
# time, nothing at all after that, also after a remount, and few requests of the kernel.
. "$(dirname "$0")/lib.sh"
n=3500 pages=4
count() { "$astra" --mount "$mnt" status --json | json "d['counters']['$1']"; }
# What a command asks, by these counters, of which "store" are the requests to clouds.
asks() { # COMMAND... -> fuse store pages
    local f s p
    f=$(count fuse_requests) s=$(count store_requests) p=$(count list_pages)
    "$@" >"$work/out"
    echo "$(($(count fuse_requests) - f)) $(($(count store_requests) - s)) $(($(count list_pages) - p))"
}
# A page of the kernel's holds a hundred names or more, all with their attributes, also for a program
# that first reads all names and then looks at them. ls asks for an attribute of security once.
reads() { # STORE-REQUESTS LINES COMMAND...
    local fuse store list want="$1 $1 $2"
    shift 2
    read -r fuse store list <<<"$(asks "$@")"
    same "$store $list $(wc -l <"$work/out")" "$want"
    [ "$fuse" -le $((n / 20)) ] || { echo "$*: $fuse requests of the kernel"; exit 1; }
}

mount_it
d=$mnt/aws/d
mkdir "$d" && touch "$d/f"
settle
for i in $(seq -w $n); do echo "$(native aws d)/f$i"; done | xargs truncate -s 17
unmount_it
rm -rf "$state"

mount_it
ls "$mnt/aws" >"$work/out"
reads $pages $((n + 2)) ls -l "$d"
reads 0 $((n + 2)) ls -l "$d"
reads 0 $((n + 2)) find "$d" -printf '%s\n'
reads 0 $((n + 2)) du -a "$d"
unmount_it
mount_it
reads 0 $((n + 2)) find "$d" -printf '%s\n'
unmount_it
mount_it
reads 0 $((n + 2)) ls -l "$d"
unmount_it
