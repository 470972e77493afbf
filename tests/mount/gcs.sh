#!/usr/bin/env bash
# [remote gcp] type=gcs beside an embedded cloud: cp, ls, mv both ways, classes, kills of the daemon
# and of the server, a remount.
# The server is the stub of tests/fake; Google's own client, where it can be had, is the witness that
# bytes, classes and metadata are what they should be, and writes what we read.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
need_gcs_witness
start_gcs_stub stub http --keep "$work/gcs.kept"
{
    printf '[remote gcp]\ntype = gcs\nendpoint = %s\ncredentials = none\n' "$gcs_url"
    printf 'bucket = astra-gcp\ncreate_bucket = yes\nretry_delay = 10ms\nfault =\n'
    printf '[remote near]\ntype = local\nprovider = aws\nbucket = astra-near\n'
} >"$work/conf"
export ASTRA_CONF=$work/conf
w() { # WHAT ARGUMENTS: the witness
    # shellcheck disable=SC2086
    $witness "$gcs_url" astra-gcp "$@"
}
shows() { # PATTERN WHAT ARGUMENTS: the witness says a line like that
    local pattern=$1
    shift
    w "$@" >"$work/said"
    grep -E "$pattern" "$work/said" >/dev/null && return 0
    echo "line ${BASH_LINENO[0]}: nothing like $pattern in:"
    cat "$work/said"
    return 1
}
requests() { # PATTERN -> how many the server saw
    curl -sf "$gcs_url/fake/log" | grep -cE "$1" || true
}
mount_it
g=$mnt/gcp n=$mnt/near

echo "-- what we write, Google's client reads"
mkdir -p "$work/want/dir"
for size in 0 1 4096 8388608 8388609 30000001; do
    head -c "$size" /dev/urandom >"$work/want/f$size"
done
cp "$work/want/f4096" "$work/want/dir/odd name + %41 ä & <x>"
cp -r "$work/want/." "$g/"
settle
w check "$work/want"
shows '^mtime=' meta f4096
shows '^f30000001 30000001 STANDARD ' list f30000001
w list .astra-tmp/ >"$work/said"
if [ -s "$work/said" ]; then cat "$work/said"; echo "parts are left"; exit 1; fi

echo "-- what it writes, we read"
w put "theirs/deep/ü + b" "$work/want/f30000001"
w put theirs/cold "$work/want/f4096" COLDLINE
setfattr -n user.astra.refresh -v 1 "$g"
same "$(sum "$g/theirs/deep/ü + b")" "$(sum "$work/want/f30000001")"
same "$(sum "$g/theirs/cold")" "$(sum "$work/want/f4096")"
same "$(getfattr --only-values -n user.astra.storage_class "$g/theirs/cold")" COLDLINE

echo "-- a rename and a class keep what others wrote"
mv "$g/theirs/cold" "$g/renamed"
settle
shows '^renamed 4096 COLDLINE ' list renamed
shows '^Written-By=witness$' meta renamed
setfattr -n user.astra.tier -v WARM "$g/f8388609"
settle
shows '^f8388609 8388609 NEARLINE ' list f8388609
same "$(sum "$g/f8388609")" "$(sum "$work/want/f8388609")"

echo "-- moves between clouds"
mv "$g/f30000001" "$n/moved"
mv "$g/dir" "$n/dir"
settle
same "$(sum "$n/moved")" "$(sum "$work/want/f30000001")"
w list >"$work/said"
if grep -E '^(f30000001|dir/odd) ' "$work/said"; then echo "the source is still there"; exit 1; fi
mv "$n/moved" "$g/back"
mv "$n/dir" "$g/dir"
settle
shows '^back 30000001 STANDARD ' list back
[ ! -e "$n/moved" ]
same "$(sum "$g/dir/odd name + %41 ä & <x>")" "$(sum "$work/want/f4096")"

echo "-- a name that Google does not take"
if touch "$g/$(printf 'new\nline')" 2>/dev/null; then echo "it was taken"; exit 1; fi
if touch "$g/$(printf '\377')" 2>/dev/null; then echo "it was taken"; exit 1; fi

echo "-- kill -9 under uploads"
mkdir "$g/k"
for i in $(seq 12); do head -c $((i * 900000)) "$work/want/f30000001" >"$g/k/$i"; done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
mount_it
settle
for i in $(seq 12); do
    head -c $((i * 900000)) "$work/want/f30000001" | cmp - "$g/k/$i"
done
same "$(find "$g/k" -name '*conflict*' | wc -l)" 0

echo "-- a server dies under uploads, some of them in parts, and comes back"
"$astra" --mount "$mnt" debug fault gcp 'part_put:key=s/mid*:after=4:delay=2000'
mkdir -p "$g/s" "$work/kept/s"
for i in 1 2 3; do ln "$work/want/f30000001" "$work/kept/s/mid$i"; done
for i in $(seq 20); do head -c $((i * 200000)) "$work/want/f30000001" >"$work/kept/s/$i"; done
cp "$work/kept/s"/* "$g/s/"
parts() { # objects that are parts
    curl -sf "$gcs_url/storage/v1/b/astra-gcp/o?prefix=.astra-tmp/up/" |
        grep -oE '"name": "[^"]*/0000[0-9]"' | wc -l
}
for _ in $(seq 200); do [ "$(parts)" -lt 2 ] || break; sleep 0.02; done
left=$(parts)
kill -9 "$gcs_pid"
[ "$left" -gt 0 ] || { echo "no upload is in parts"; exit 1; }
start=$(date +%s%N)
ls "$mnt" "$n" >/dev/null
echo near >"$n/while"
same "$(cat "$n/while")" near
echo late >"$g/s/late"
[ $((($(date +%s%N) - start) / 1000000)) -lt 1500 ] || { echo "others had to wait"; exit 1; }
echo late >"$work/kept/s/late"
"$astra" --mount "$mnt" debug fault gcp ''
start_gcs_stub_again
settle
w check "$work/kept" s/
same "$(find "$g/s" -name '*conflict*' | wc -l)" 0
same "$(parts)" 0

echo "-- a remount that knows nothing: one LIST a directory, and none of its objects is asked for"
unmount_it
rm -rf "$state"
mount_it
curl -sf -X POST "$gcs_url/fake/log" >/dev/null
same "$(find "$g/k" -type f -printf '%s\n' | wc -l)" 12
same "$(requests 'GET /storage/v1/b/astra-gcp/o\?.*prefix=k')" 1
same "$(requests 'GET /storage/v1/b/astra-gcp/o/')" 0
same "$(sum "$g/back")" "$(sum "$work/want/f30000001")"
rm -rf "$g/k" "$g/theirs"
settle
w list k/ >"$work/said"
if grep -v '^k/ ' "$work/said"; then echo "removed files are still there"; exit 1; fi
unmount_it
