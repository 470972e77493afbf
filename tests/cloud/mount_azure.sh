#!/usr/bin/env bash
# Cases of tests/mount with aws, gcp and azure as three remotes of type azure on our fake, which shows
# its blobs as files, so that the cases find them.
#	mount_azure.sh [CASE...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/astra-azure.XXXXXX")
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
[ $# -gt 0 ] || set -- attrs basic move dirs kill programs

failed=0
export FAKE_KEY=c2VjcmV0
for case in "$@"; do
    echo "== $case"
    export ASTRA_NATIVE=$work/$case.blobs ASTRA_CONF=$work/$case.conf
    start_fake_azure "$case" --mirror "$ASTRA_NATIVE"
    for cloud in aws gcp azure; do
        printf '[remote %s]\ntype = azure\nendpoint = %s/fake\naccount = fake\n' "$cloud" "$fake_url"
        printf 'account_key_env = FAKE_KEY\nbucket = astra-%s\ncreate_bucket = yes\n' "$cloud"
        printf 'retry_delay = 10ms\n'
    done >"$ASTRA_CONF"
    status=0
    "$here/../mount/$case.sh" || status=$?
    [ "$status" = 0 ] || { echo "$case ended with $status"; failed=$status; }
    stop_servers
    [ "$status" != 77 ] || break
done
exit "$failed"
