#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A large file goes up while it is written, on three clouds (versitygw, Azurite, our stub of Google):
# parts are sent before it is closed, and what its reader gets is what was written, also where it was
# changed after it was sent, cut short, renamed, and after a kill; nothing is left over.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
python_tools
start_versitygw
start_azurite
start_gcs_stub stub http
ASTRA_CONF=$work/conf
export AZURITE_KEY=$azurite_key
{
    s3_section aws "$vgw_url" "bucket = astra-aws" "create_bucket = yes"
    printf '[remote azure]\ntype = azure\nendpoint = %s\naccount = %s\n' "$azurite_url" \
        "$azurite_account"
    printf 'account_key_env = AZURITE_KEY\nbucket = astra-azure\ncreate_bucket = yes\n'
    printf '[remote gcp]\ntype = gcs\nendpoint = %s\ncredentials = none\n' "$gcs_url"
    printf 'bucket = astra-gcp\ncreate_bucket = yes\n'
} >"$ASTRA_CONF"
clouds="aws azure gcp"
same() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: '$1' is not '$2'"; exit 1; }; }
a() { "$astra" --mount "$mnt" "$@"; }
head -c 83886080 /dev/urandom >"$work/bytes"

# Bytes of the upload of PATH that its cloud has, while it is written.
sent() {
    a jobs --json | python3 -c '
import json, sys
jobs = [j for j in json.load(sys.stdin)["jobs"] if j["kind"] == "upload" and j.get("destination") == sys.argv[1]]
print(jobs[0].get("bytes_done", 0) if jobs else 0)' "$1"
}
begins() { # PATH: nine of its ten parts go while it is open
    for _ in $(seq 1200); do
        [ "$(sent "$1")" -lt 75497472 ] || return 0
        sleep 0.05
    done
    echo "$1 is not sent while it is written: $(sent "$1") bytes"
    exit 1
}
written() { # NAME: open as 7, all of it written, and mostly sent
    exec 7>"$mnt/$cloud/$1"
    cat "$work/bytes" >&7
    begins "/$cloud/$1"
    [ "$(a explain --json "$mnt/$cloud/$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" != settled ]
}
change() { # FILE...
    local f
    for f in "$@"; do printf changed | dd of="$f" bs=1 seek=20000000 conv=notrunc status=none; done
}

mount_it
for cloud in $clouds; do
    written plain
    exec 7>&-
    cp "$work/bytes" "$work/changed"
    written changed
    change "$mnt/$cloud/changed" "$work/changed"
    exec 7>&-
    written cut
    truncate -s 30000000 "$mnt/$cloud/cut"
    exec 7>&-
    written before
    mv "$mnt/$cloud/before" "$mnt/$cloud/after"
    exec 7>&-
    written gone
    rm "$mnt/$cloud/gone"
    exec 7>&-
done
settle
same "$(a jobs --json | python3 -c 'import json, sys; print(sum(j["state"] == "failed" for j in json.load(sys.stdin)["jobs"]))')" 0

# A kill while parts are sent: all that was written is there.
cloud=aws
written killed
kill -9 "$pid"
exec 7>&- || true
{ wait "$pid"; } 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
mount_it
cmp "$work/bytes" "$mnt/aws/killed"
settle
unmount_it
same "$(find "$work/versitygw.buckets" -path '*/.sgwtmp/multipart/*' -type f)" ''

# Nobody remembers: as the clouds have it.
rm -rf "$state"
mount_it
for cloud in $clouds; do
    cd "$mnt/$cloud"
    same "$(ls)" "$(printf '%s\n' after changed cut $([ $cloud != aws ] || echo killed) plain)"
    cmp "$work/bytes" plain
    cmp "$work/changed" changed
    cmp "$work/bytes" after
    cmp -n 30000000 "$work/bytes" cut
    same "$(stat -c %s cut)" 30000000
    cd /
done
cmp "$work/bytes" "$mnt/aws/killed"
unmount_it
