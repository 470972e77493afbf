#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the data path asks an S3 server for, counted in the log of requests: what an endpoint can do is
# asked once, parts are under way beside each other, small files that are read in order come ahead,
# and each byte once.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
start_versitygw gw
ASTRA_CONF=$work/conf ASTRA_NATIVE=$work/versitygwgw.buckets
s3_section aws "$vgw_url" "bucket = astra-aws" "create_bucket = yes" >"$ASTRA_CONF"
opts=$opts,debug=net
d=$mnt/aws/d
anew() { # nothing is known, nothing cached
    unmount_it
    rm -rf "$state" "$work/log"
    mount_it log_level=debug
}
sent() { grep -cE -- " > $1" "$work/log" || true; } # METHOD URL-PART: requests
same() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: '$1' is not '$2'"; exit 1; }; }
# The most requests at a time of those whose line matches.
beside() {
    python3 - "$work/log" "$1" <<'P'
import re, sys
open_, most = set(), 0
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    m = re.search(r" debug net: (#\d+) ([<>]) (.*)", line)
    if m and m[2] == ">" and re.search(sys.argv[2], m[3]):
        open_.add(m[1])
        most = max(most, len(open_))
    elif m and m[2] == "<":
        open_.discard(m[1])
print(most)
P
}

asked() { sent '[A-Z]+ [^ ]*/\.astra-tmp/probe-'; } # requests that ask what it can do

# Only who writes asks: once, all of it side by side, and for later mounts too.
mount_it log_level=debug
ls "$mnt/aws" >"$work/got"
same "$(asked)" 0
mkdir "$d"
for i in $(seq 100 159); do echo "content $i" >"$d/f$i"; done
settle
for _ in $(seq 200); do
    [ "$(sent 'DELETE [^ ]*/\.astra-tmp/probe-[0-9a-f]* ')" -lt 4 ] || break
    sleep 0.05
done
same "$(sent 'PUT [^ ]*/d/f1')" 60
same "$(sent 'PUT [^ ]*/\.astra-tmp/probe-[0-9a-f]* ')" 4
same "$(sent 'POST [^ ]*/\.astra-tmp/probe-[0-9a-f]*\?uploads')" 1
same "$(asked)" 12
same "$(sent HEAD)" 0
unmount_it
rm "$work/log"
mount_it log_level=debug
for i in $(seq 160 169); do echo "content $i" >"$d/f$i"; done
rm "$d"/f16*
settle
for i in $(seq 160 169); do echo "content $i" >"$d/f$i"; done
settle
rm "$d"/f16*
settle
same "$(sent 'PUT [^ ]*/d/f1')" 10
same "$(sent 'DELETE [^ ]*/d/f1')" 10
same "$(asked)" 0

head -c 52428800 /dev/urandom >"$work/big"
cp "$work/big" "$mnt/aws/big"
settle
same "$(sent 'PUT [^ ]*/big\?partNumber')" 7
case ,$opts, in *,buffers=2,*) ;; *) [ "$(beside 'PUT [^ ]*/big\?partNumber')" -ge 2 ] ;; esac
same "$(sent 'GET [^ ]*/big ')" 0 # nor is it read back

# While it is written: most parts are sent before it is closed, each once, but for what is changed.
exec 7>"$mnt/aws/long"
head -c 100663296 /dev/urandom >"$work/long"
cat "$work/long" >&7
for _ in $(seq 600); do
    [ "$(sent 'PUT [^ ]*/long\?partNumber')" -lt 11 ] || break
    sleep 0.05
done
sleep 0.3
same "$(sent 'PUT [^ ]*/long\?partNumber')" 11
same "$(sent 'POST [^ ]*/long\?uploadId')" 0
printf changed | dd of="$mnt/aws/long" bs=1 seek=20000000 conv=notrunc status=none
printf changed | dd of="$work/long" bs=1 seek=20000000 conv=notrunc status=none
exec 7>&-
settle
same "$(sent 'PUT [^ ]*/long\?partNumber')" 13
same "$(sent 'POST [^ ]*/long\?uploadId')" 1
cmp "$work/long" "$(native aws long)"
same "$(sent 'GET [^ ]*/long ')" 0

# Killed when half of it was sent: what was acknowledged is there, and nothing else stays.
begun() { find "$ASTRA_NATIVE/astra-aws/.sgwtmp/multipart" -mindepth 2 -maxdepth 2 2>/dev/null | wc -l; }
same "$(begun)" 0
exec 7>"$mnt/aws/killed"
head -c 83886080 "$work/long" | tee "$work/killed" >&7
for _ in $(seq 600); do
    [ "$(sent 'PUT [^ ]*/killed\?partNumber')" -lt 6 ] || break
    sleep 0.05
done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
exec 7>&- || true
umount -l "$mnt" 2>/dev/null || true
[ "$(sent 'PUT [^ ]*/killed\?partNumber')" -ge 6 ]
same "$(begun)" 1
[ ! -e "$(native aws killed)" ]
mount_it log_level=debug
settle
cmp "$work/killed" "$(native aws killed)"
same "$(begun)" 0
same "$(sent 'POST [^ ]*/killed\?uploads')" 2
rm "$mnt/aws/killed" "$work/killed"
settle

anew
same "$(find "$d" -name 'f*' -printf '%s\n' | sort -u)" 12
same "$(sent 'GET [^ ]*list-type=2[^ ]*prefix=d%2F')" 1
same "$(sent HEAD)" 0
for i in $(seq 100 102); do cat "$d/f$i" >"$work/got"; done
for _ in $(seq 200); do
    [ "$(sent 'GET [^ ]*/d/f1')" = 3 ] || break
    sleep 0.05
done
[ "$(sent 'GET [^ ]*/d/f1')" -gt 3 ]
for i in $(seq 103 159); do same "$(cat "$d/f$i")" "content $i"; done
same "$(sent 'GET [^ ]*/d/f1')" 60
same "$(sent HEAD)" 0
cmp "$work/big" "$mnt/aws/big"
# In sequence: each byte once, by few requests, some of them beside each other.
ranges() { # of the object: requests, bytes
    grep -E ' > GET [^ ]*/big ' "$work/log" | grep -oE 'bytes=[0-9]+-[0-9]+' |
        awk -F '[=-]' '{ n++; b += $3 - $2 + 1 } END { print n, b }'
}
read -r n bytes <<<"$(ranges)"
same "$bytes" 52428800
[ "$n" -le 60 ] || { echo "$n requests for 50 MiB"; exit 1; }
case ,$opts, in *,buffers=2,*) ;; *) [ "$(beside 'GET [^ ]*/big ')" -ge 3 ] ;; esac
