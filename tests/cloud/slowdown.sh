#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A server that takes six requests at a time and refuses others ("503 SlowDown"): how many it takes is
# found out, few are refused, and all files get there.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
start_versitygw slow
start_server slowdown "[ -s $work/slowdown.port ]" -- \
    python3 "$here/../fake/slowdown.py" "$work/slowdown.port" "$vgw_port" 6 20
url=http://127.0.0.1:$(cat "$work/slowdown.port")
export ASTRA_CONF=$work/conf
s3_section aws "$url" "bucket = astra-aws" "create_bucket = yes" >"$ASTRA_CONF"
d=$mnt/aws/d
flow() { # limit, running, waiting or refused, of the remote
    "$astra" --mount "$mnt" --json status | python3 -c '
import json, sys
print(json.load(sys.stdin)["remotes"][0]["requests"][sys.argv[1]])' "$1"
}

mount_it log_level=debug
mkdir "$d"
for i in $(seq 1000); do echo "content $i" >"$d/f$i"; done
settle
[ "$(find "$work/versitygwslow.buckets/astra-aws/d" -name 'f*' | wc -l)" = 1000 ]
{ read -r requests; read -r refused; read -r most; } < <(curl -s "$url/-/counts")
echo "$requests requests, $refused refused, $most at a time"
[ "$requests" -ge 1000 ]
[ "$refused" -ge 1 ]
[ $((refused * 20)) -le "$requests" ]
[ "$most" -le 32 ] # never as many as there are workers
[ "$(flow limit)" -le 12 ]
[ "$(flow refused)" -ge 1 ]
[ "$(flow running)" = 0 ]
grep -qE ' debug store: aws: [0-9]+ requests at a time, [0-9]+ before: it refused more' "$work/log"
[ "$(cat "$d/f777")" = "content 777" ]
