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
few() { [ "$1" -le "$2" ] || { echo "line ${BASH_LINENO[0]}: $1 requests of the kernel, not $2"; exit 1; }; }

mount_it
d=$mnt/aws/d
mkdir "$d" && touch "$d/f"
settle
for i in $(seq -w $n); do echo "$(native aws d)/f$i"; done | xargs truncate -s 17
unmount_it
rm -rf "$state"

mount_it
ls "$mnt/aws" >"$work/out"
read -r fuse store list <<<"$(asks ls -l "$d")"
same "$(wc -l <"$work/out")" $((n + 2))
same "$store $list" "$pages $pages"
# A page of the kernel's holds a hundred names or more. ls asks for an attribute of security once.
few "$fuse" $((n / 10))
read -r fuse store list <<<"$(asks ls -l "$d")"
same "$(wc -l <"$work/out") $store" "$((n + 2)) 0"
few "$fuse" $((n / 10))
unmount_it
