#!/usr/bin/env bash
# The conformance body over S3: versitygw over TLS and plain, moto for classes and restores.
#	s3.sh CONFORMANCE-PROGRAM
set -eu
program=$(realpath "$1")
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
# Nothing of the machine's credentials and proxies is used.
unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION \
    AWS_DEFAULT_REGION AWS_CA_BUNDLE http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export HOME=$work AWS_EC2_METADATA_DISABLED=true TEST_SECRET=astrasecret

make_tls
start_versitygw
plain=$vgw_url
start_versitygw sums
sums=$vgw_url
start_versitygw tls
start_moto
section() { # NAME ENDPOINT LINES
    printf '[remote %s]\ntype = s3\nendpoint = %s\nregion = eu-west-1\n' "$1" "$2"
    printf 'access_key_id = astra\nsecret_access_key_env = TEST_SECRET\nretry_delay = 10ms\n%s\n' "$3"
}
# versitygw is a directory: it has one class, and a key cannot be a file and a directory.
section vgw "$plain" "class.WARM =
class.COLD =
class.ARCHIVE =" >"$work/vgw.conf"
section vgw-tls "$vgw_url" "class.WARM =
class.COLD =
class.ARCHIVE =
ca_file = $work/tls/ca.pem" >"$work/vgw-tls.conf"
section vgw-sums "$sums" "class.WARM =
class.COLD =
class.ARCHIVE =
checksum = crc64nvme" >"$work/vgw-sums.conf"
# moto states checksums that are wrong, and ignores conditions on the source of a copied part.
section moto "$moto_url" "checksum = off" >"$work/moto.conf"

failed=0
run() { # NAME SKIPPED-TESTS
    echo "== $1"
    "$program" -c "$work/$1.conf" ${2:+-s "$2"} || failed=1
}
directory=test_odd_keys,test_list_model,test_churn
run vgw $directory
run vgw-tls $directory
run vgw-sums $directory
run moto test_odd_keys,test_parts_more,test_part_copy
[ "$failed" = 0 ]
