#!/usr/bin/env bash
# The conformance body over S3: versitygw, SeaweedFS, moto for restores; each plain and over TLS.
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
clean_environment

make_tls
start_versitygw
plain=$vgw_url
start_versitygw sums
sums=$vgw_url
start_versitygw tls
virtual=${vgw_url/127.0.0.1/s3.localhost}
start_moto tls
moto_tls=$moto_url
start_moto
start_seaweed tls
# versitygw is a directory: it has one class, and a key cannot be a file and a directory.
one=("class.WARM =" "class.COLD =" "class.ARCHIVE =")
s3_section vgw "$plain" "${one[@]}" >"$work/vgw.conf"
s3_section vgw-tls "$vgw_url" "${one[@]}" "ca_file = $work/tls/ca.pem" >"$work/vgw-tls.conf"
s3_section vgw-sums "$sums" "${one[@]}" "checksum = crc64nvme" >"$work/vgw-sums.conf"
# The bucket in the host name, which the certificate covers.
s3_section vgw-virtual "$virtual" "${one[@]}" "ca_file = $work/tls/ca.pem" "addressing = virtual" \
    >"$work/vgw-virtual.conf"
# moto states checksums that are wrong, and ignores conditions on the source of a copied part.
s3_section moto "$moto_url" "checksum = off" >"$work/moto.conf"
s3_section moto-tls "$moto_tls" "checksum = off" "ca_file = $work/tls/ca.pem" >"$work/moto-tls.conf"

# SeaweedFS has every class, all of them online; directories stay when they are empty, and parts
# that were replaced are listed.
s3_section weed "$weed_url" "offline =" >"$work/weed.conf"
s3_section weed-tls "$weed_tls_url" "offline =" "ca_file = $work/tls/ca.pem" >"$work/weed-tls.conf"

failed=0
run() { # NAME SKIPPED-TESTS [OPTION...]
    echo "== $1"
    local name=$1 skipped=$2
    shift 2
    "$program" -c "$work/$name.conf" ${skipped:+-s "$skipped"} "$@" || failed=1
}
directory=test_odd_keys,test_list_model,test_churn
run vgw $directory
run vgw-tls $directory
run vgw-virtual $directory
run vgw-sums $directory
run weed $directory,test_remove_many,test_parts
run moto test_parts_more,test_part_copy -b "
"
# TLS is another way to sign: enough to see that each kind of request takes it.
few=$directory,test_list_many,test_parts,test_parts_side_by_side,test_threads,test_remove_many
run weed-tls "$few"
run moto-tls "$few,test_parts_more,test_part_copy,test_parts_wait"
[ "$failed" = 0 ]
