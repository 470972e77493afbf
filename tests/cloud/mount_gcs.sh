#!/usr/bin/env bash
# Cases of tests/mount with aws, gcp and azure as three remotes of type gcs on the stub, which shows
# its objects as files, so that the cases find them: gcp by an HMAC key, the others by the JSON API.
#	mount_gcs.sh [CASE...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/astra-gcs.XXXXXX")
# shellcheck source=tests/cloud/servers.sh
. "$here/servers.sh"
# shellcheck source=tests/cloud/gcs_servers.sh
. "$here/gcs_servers.sh"
finish() {
    local status=$?
    stop_servers
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
clean_environment
unset GOOGLE_APPLICATION_CREDENTIALS GOOGLE_CLOUD_PROJECT STORAGE_EMULATOR_HOST CLOUDSDK_CONFIG
export HMAC_SECRET=hmac-secret
[ $# -gt 0 ] || set -- attrs basic move dirs faults kill programs

failed=0
for case in "$@"; do
    echo "== $case"
    export ASTRA_NATIVE=$work/$case.objects ASTRA_CONF=$work/$case.conf
    start_gcs_stub "$case" http --mirror "$ASTRA_NATIVE"
    for cloud in aws gcp azure; do
        printf '[remote %s]\ntype = gcs\nendpoint = %s\nretry_delay = 10ms\n' "$cloud" "$gcs_url"
        printf 'bucket = astra-%s\ncreate_bucket = yes\n' "$cloud"
        if [ "$cloud" = gcp ]; then
            printf 'hmac_access_id = GOOG1EFAKE\nhmac_secret_env = HMAC_SECRET\n'
            printf 'read_metadata = yes\n'
        else
            printf 'credentials = none\n'
        fi
    done >"$ASTRA_CONF"
    status=0
    "$here/../mount/$case.sh" || status=$?
    [ "$status" = 0 ] || { echo "$case ended with $status"; failed=$status; }
    stop_servers
    [ "$status" != 77 ] || break
done
exit "$failed"
