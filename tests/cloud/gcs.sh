#!/usr/bin/env bash
# The conformance body over Google Cloud Storage's API.
#	gcs.sh CONFORMANCE-PROGRAM stub|fake-gcs-server
# stub: plain; with faults above it; over TLS with credentials whose tokens last a second; with an
# HMAC key, by the XML API: plain, over TLS with faults.
set -eu
program=$(realpath "$1")
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
unset GOOGLE_APPLICATION_CREDENTIALS GOOGLE_CLOUD_PROJECT STORAGE_EMULATOR_HOST CLOUDSDK_CONFIG \
    http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export HOME=$work

section() { # NAME ENDPOINT LINES
    printf '[remote %s]\ntype = gcs\nendpoint = %s\nretry_delay = 1ms\n%s\n' "$1" "$2" "$3"
}
run() { # [SKIPPED-TESTS]
    for c in "$work"/conf*; do "$program" -c "$c" ${1:+-s "$1"} || exit 1; done
}

case $2 in
stub)
    command -v python3 >/dev/null || skip "no python3"
    command -v openssl >/dev/null || skip "no openssl"
    make_tls
    start_gcs_stub plain http
    section gcs "$gcs_url" "credentials = none" >"$work/conf"
    # By itself: two remotes may not show the same objects.
    section gcs-stack "$gcs_url" "credentials = none
retries = 20
fault = *:every=7:error=EIO;*:every=11:delay=1;put,list:every=5:throttle=1;get:every=6:cut;get,part_put,head:every=9:lost" \
        >"$work/conf-stack"
    mkdir "$work/auth"
    start_gcs_stub tls https --tls "$work/tls/cert.pem" "$work/tls/key.pem" \
        --auth "$work/auth" --token-seconds 1
    # the files of credentials name the server's address: it is asked for tokens over TLS, too
    section gcs-tls "$gcs_url" "ca_file = $work/tls/ca.pem
credentials_file = $work/auth/service.json" >>"$work/conf"
    export HMAC_SECRET=hmac-secret
    hmac="hmac_access_id = GOOG1EFAKE
hmac_secret_env = HMAC_SECRET"
    start_gcs_stub xml http
    section gcs-xml "$gcs_url" "$hmac" >"$work/conf-xml"
    start_gcs_stub xml-tls https --tls "$work/tls/cert.pem" "$work/tls/key.pem"
    section gcs-xml-tls "$gcs_url" "$hmac
ca_file = $work/tls/ca.pem
retries = 20
fault = *:every=7:error=EIO;get:every=6:cut;get,part_put,head:every=9:lost" >>"$work/conf-xml"
    run
    ;;
fake-gcs-server)
    start_fake_gcs_server
    # It has one class, does not keep life cycle rules, answers 412 where a bucket is not empty,
    # cannot take metadata away, and looks at conditions of uploads only.
    section fake-gcs-server "$gcs_url" "credentials = none
class.WARM =
class.COLD =
class.ARCHIVE =" >"$work/conf"
    run test_conditions,test_copy,test_parts_wait,test_set_meta,test_buckets,test_lifecycle
    ;;
*)
    echo "which server?"
    exit 2
    ;;
esac
