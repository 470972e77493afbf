#!/usr/bin/env bash
# Cases of tests/mount with aws, gcp and azure as three remotes of type azure on our fake, which shows
# its blobs as files, so that the cases find them.
# --hns: in an account with directories, which renames files itself.
#	mount_azure.sh [--hns] [CASE...]
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
hns=
if [ "${1:-}" = --hns ]; then
    hns=$1
    shift
fi
[ $# -gt 0 ] || set -- attrs basic move dirs faults kill programs

failed=0
for case in "$@"; do
    echo "== $case"
    export ASTRA_NATIVE=$work/$case.blobs ASTRA_CONF=$work/$case.conf
    start_fake_azure "$case" $hns --mirror "$ASTRA_NATIVE"
    for cloud in aws gcp azure; do
        fake_azure_section "$cloud" "retry_delay = 10ms" ${hns:+"$(fake_azure_dfs)"}
    done >"$ASTRA_CONF"
    status=0
    "$here/../mount/$case.sh" || status=$?
    [ "$status" = 0 ] || { echo "$case ended with $status"; failed=$status; }
    stop_servers
    [ "$status" != 77 ] || break
done
exit "$failed"
