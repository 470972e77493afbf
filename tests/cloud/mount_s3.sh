#!/usr/bin/env bash
# Cases of tests/mount with aws, gcp and azure as three S3 remotes on versitygw, which keeps objects
# as files, so that the cases find them.
#	mount_s3.sh [CASE...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/astra-s3.XXXXXX")
# shellcheck source=tests/cloud/servers.sh
. "$here/servers.sh"
finish() {
    local status=$?
    stop_servers
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
clean_environment
[ $# -gt 0 ] || set -- attrs basic move dirs faults kill programs

failed=0
for case in "$@"; do
    echo "== $case"
    start_versitygw "$case"
    export ASTRA_NATIVE=$work/versitygw$case.buckets ASTRA_CONF=$work/$case.conf
    for cloud in aws gcp azure; do
        s3_section "$cloud" "$vgw_url" "bucket = astra-$cloud" "create_bucket = yes" \
            "read_metadata = yes" \
            "class.WARM =" "class.COLD =" "class.ARCHIVE ="
    done >"$ASTRA_CONF"
    status=0
    "$here/../mount/$case.sh" || status=$?
    [ "$status" = 0 ] || { echo "$case ended with $status"; failed=$status; }
    stop_servers
    [ "$status" != 77 ] || break
done
exit "$failed"
