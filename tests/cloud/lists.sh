#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What it costs a mount that knows nothing to list 1234 objects, to look at all of them, and to read
# some: LIST requests of 1000 each, one GET for each that is read, and nothing else. As the servers
# have counted it: Azure, Google by the JSON API and by an HMAC key. (S3: requests.sh)
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
start_fake_azure azure
start_gcs_stub gcs http
export HMAC_SECRET=hmac-secret
{
    fake_azure_section azure
    printf '[remote json]\ntype = gcs\nendpoint = %s\nbucket = astra-json\ncreate_bucket = yes\n' "$gcs_url"
    printf 'credentials = none\n'
    printf '[remote hmac]\ntype = gcs\nendpoint = %s\nbucket = astra-hmac\ncreate_bucket = yes\n' "$gcs_url"
    printf 'hmac_access_id = GOOG1EFAKE\nhmac_secret_env = HMAC_SECRET\n'
} >"$work/conf"
export ASTRA_CONF=$work/conf
n=1234
forget() { # as another machine that mounts it; the servers count from here on
    unmount_it
    rm -rf "$state"
    mount_it
    cat "$mnt"/*/first >"$work/said" # lists the tops, and finds out which checksums a server has
    curl -sf -d '{"reset": true}' "$fake_url/control"
    curl -sf -X POST "$gcs_url/fake/log"
}
counted() { # REMOTE -> lists gets others, of the directory
    case $1 in
    azure)
        curl -sf "$fake_url/control" | python3 -c 'import json, sys
d = json.load(sys.stdin)
print(d.pop("GET list", 0), d.pop("GET blob", 0), sum(d.values()))' ;;
    json)
        curl -sf "$gcs_url/fake/log" | awk '!/\/astra-json/ { next }
            /^GET [^ ]*\/o\?/ { l++; next } /^GET [^ ]*alt=media/ { g++; next } { o++ }
            END { print l + 0, g + 0, o + 0 }' ;;
    hmac)
        curl -sf "$gcs_url/fake/log" | awk '!/\/astra-hmac/ { next }
            /^GET \/astra-hmac\/?\?/ { l++; next } /^GET / { g++; next } { o++ }
            END { print l + 0, g + 0, o + 0 }' ;;
    esac
}

mount_it
mkdir "$work/d"
for i in $(seq -w $n); do echo "content $i" >"$work/d/f$i"; done
for r in azure json hmac; do
    echo first >"$mnt/$r/first"
    cp -r "$work/d" "$mnt/$r/d"
done
settle
for r in azure json hmac; do
    echo "-- $r"
    forget
    d=$mnt/$r/d
    same "$(find "$d" -type f -printf '%s\n' | wc -l)" $n
    same "$(counted $r)" "2 0 0"
    [ "$(ls -l "$d" | grep -c ' f[0-9]*$')" = $n ]
    "$astra" --mount "$mnt" ls -l "$d" >"$work/said"
    same "$(wc -l <"$work/said")" $n
    same "$(counted $r)" "2 0 0"
    for i in 0007 0600 1111; do same "$(cat "$d/f$i")" "content $i"; done
    same "$(counted $r)" "2 3 0"
done
unmount_it
