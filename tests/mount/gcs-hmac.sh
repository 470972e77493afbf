#!/usr/bin/env bash
# [remote gcp] type=gcs with an HMAC key, so by the XML API, beside an embedded cloud. The server is the
# stub of tests/fake, which shows the same objects by the JSON API: Google's own client, where it can
# be had, sees there what we wrote, and writes what we read.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
need_gcs_witness
start_gcs_stub stub http
export HMAC_SECRET=hmac-secret
{
    printf '[remote gcp]\ntype = gcs\nendpoint = %s\nretry_delay = 10ms\n' "$gcs_url"
    printf 'hmac_access_id = GOOG1EFAKE\nhmac_secret_env = HMAC_SECRET\n'
    printf 'bucket = astra-gcp\ncreate_bucket = yes\n'
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
xattr() { getfattr --only-values -n "user.astra.$1" "$2"; }
mount_it
g=$mnt/gcp n=$mnt/near

echo "-- what we write, Google's client reads"
mkdir -p "$work/want/dir"
for size in 0 1 4096 8388609 30000001; do
    head -c "$size" /dev/urandom >"$work/want/f$size"
done
cp "$work/want/f4096" "$work/want/dir/odd name + %41 ä & <x>"
cp -r "$work/want/." "$g/"
chmod 640 "$g/f4096"
setfattr -n user.note -v 'ä  b' "$g/f4096"
settle
w check "$work/want"
shows '^mode=0?100640$|^mode=0?640$' meta f4096
shows '^f30000001 30000001 STANDARD ' list f30000001
w list .astra-tmp/ >"$work/said"
if [ -s "$work/said" ]; then cat "$work/said"; echo "parts are left"; exit 1; fi

echo "-- what it writes, we read, with its class"
w put "theirs/deep/ü + b" "$work/want/f30000001"
w put theirs/cold "$work/want/f4096" COLDLINE
setfattr -n user.astra.refresh -v 1 "$g"
same "$(sum "$g/theirs/deep/ü + b")" "$(sum "$work/want/f30000001")"
same "$(sum "$g/theirs/cold")" "$(sum "$work/want/f4096")"
same "$(xattr storage_class "$g/theirs/cold")" COLDLINE

echo "-- a rename and a class keep what others wrote"
mv "$g/theirs/cold" "$g/renamed"
settle
shows '^renamed 4096 COLDLINE ' list renamed
shows '^[Ww]ritten-[Bb]y=witness$' meta renamed
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
same "$(sum "$g/dir/odd name + %41 ä & <x>")" "$(sum "$work/want/f4096")"

echo "-- somebody else's write is not overwritten, neither by one request nor in parts"
for f in f1 back; do
    w put "$f" "$work/want/f4096"
    cp "$work/want/f8388609" "$g/$f"
    settle || true
    curl -sf "$gcs_url/storage/v1/b/astra-gcp/o/$f?alt=media" >"$work/got"
    cmp "$work/got" "$work/want/f4096"
done
same "$(find "$g" -maxdepth 1 -name '*.conflict-*' | wc -l)" 2

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

forget_all() { # as another machine that mounts it
    unmount_it
    rm -rf "$state"
    mount_it "$@"
    curl -sf -X POST "$gcs_url/fake/log" >/dev/null
}
names() { python3 -c 'import os, sys; print(*sorted(os.listxattr(sys.argv[1])))' "$1"; }
again() { setfattr -n user.astra.refresh -v 1 "$1"; } # lists it

echo "-- a remount that knows nothing: one LIST a directory, and no object is asked for"
w put cold/theirs "$work/want/f4096" COLDLINE
forget_all
for _ in 1 2; do
    same "$(find "$g/k" -type f -printf '%s\n' | wc -l)" 12
    [ "$(ls -lR "$g" | wc -l)" -gt 12 ]
    "$astra" --mount "$mnt" ls -l "$g" >"$work/said"
    grep -E '^\? .* f4096$' "$work/said" >/dev/null
    again "$g/k"
done
[ "$(requests 'GET /astra-gcp\?.*prefix=k%2F')" -le 3 ]
head -c 6300000 "$work/want/f30000001" | cmp - "$g/k/7"
same "$(sum "$g/cold/theirs")" "$(sum "$work/want/f4096")"
same "$(requests 'GET /astra-gcp/cold/theirs')" 1
same "$(stat -c %a "$g/f4096")" 644
names "$g/f4096" | grep -wq user.astra.storage_class
same "$(requests 'HEAD ')" 0
same "$(requests 'storage/v1')" 0

echo "-- its class is asked for by who needs it, once for each version, and its metadata comes along"
same "$(xattr storage_class "$g/f8388609")" NEARLINE
for name in tier cost cost_read savings; do xattr "$name" "$g/f8388609" >"$work/said"; done
same "$(xattr tier "$g/f8388609")" WARM
same "$(xattr tier "$g/cold/theirs")" COLD
again "$g"
again "$g/cold"
same "$(xattr storage_class "$g/f8388609") $(xattr storage_class "$g/cold/theirs")" "NEARLINE COLDLINE"
same "$(requests 'HEAD /astra-gcp/f8388609') $(requests 'HEAD ')" "1 2"
"$astra" --mount "$mnt" explain "$g/f4096" | grep "Current Tier: HOT (STANDARD)" >/dev/null
for _ in $(seq 100); do # the kernel is told behind its back
    [ "$(stat -c %a "$g/f4096")" != 640 ] || break
    sleep 0.05
done
same "$(stat -c %a "$g/f4096")" 640
same "$(getfattr --only-values -n user.note "$g/f4096")" 'ä  b'
same "$(requests 'HEAD ')" 3
for _ in $(seq 100); do # totals come a moment later
    [ "$(xattr bytes "$g/k")" = 0 ] || break
    sleep 0.1
done
[ "$(xattr bytes "$g/k")" -gt 0 ]
same "$(xattr bytes.HOT "$g/k")" 0
if getfattr -n user.astra.cost "$g/k" 2>/dev/null; then echo "nobody can know that"; exit 1; fi
w put cold/theirs "$work/want/f1" NEARLINE
again "$g/cold"
same "$(requests 'HEAD ')" 3
same "$(xattr storage_class "$g/cold/theirs") $(requests 'HEAD ')" "NEARLINE 4"

echo "-- one that cannot be asked is of no class"
w put cold/locked "$work/want/f4096" COLDLINE
again "$g/cold"
curl -sf -d '[{"on": "^HEAD /astra-gcp/cold/locked", "times": 99, "do": "status", "status": 403}]' \
    "$gcs_url/fake/faults"
if getfattr -n user.astra.tier "$g/cold/locked" 2>/dev/null; then echo "it has one"; exit 1; fi
curl -sf -d '[]' "$gcs_url/fake/faults"
same "$(xattr storage_class "$g/cold/locked")" COLDLINE

echo "-- a move, a tier and an attribute know it first, or keep it"
for f in stays goes away moved; do w put "cold/$f" "$work/want/f4096" COLDLINE; done
w put cold/away "$work/want/f4096" NEARLINE
forget_all
setfattr -n user.astra.tier -v COLD "$g/cold/stays"
settle
same "$(requests 'PUT ') $(requests 'HEAD ')" "0 1"
setfattr -n user.astra.tier -v HOT "$g/cold/goes"
mv "$g/cold/moved" "$g/moved"
mv "$g/cold/away" "$n/away"
chmod 600 "$g/f4096"
"$astra" --mount "$mnt" sync # does not wait until it was left alone for a while
w list >"$work/said"
for line in "cold/stays 4096 COLDLINE" "cold/goes 4096 STANDARD" "moved 4096 COLDLINE"; do
    grep -F "$line" "$work/said" >/dev/null || { cat "$work/said"; echo "no $line"; exit 1; }
done
same "$(xattr tier "$n/away") $(xattr storage_class "$n/away")" "WARM STANDARD_IA"
shows '^mode=0?100600$|^mode=0?600$' meta f4096
shows '^xattr=.*user.note' meta f4096
same "$(getfattr --only-values -n user.note "$g/f4096")" 'ä  b'

echo "-- the engine takes nothing for HOT that it does not know, and asks once"
w put big/x.log "$work/want/f30000001" COLDLINE
w put big/y.log "$work/want/f30000001"
w put big/used.csv "$work/want/f30000001" COLDLINE
printf '[policy]\nmode = act\nthreshold = 0\ninterval = 1h\n' >>"$work/conf"
forget_all
ls "$g/big" >"$work/said"
for moves in 1 0; do
    "$astra" --mount "$mnt" engine run "$g/big" >"$work/said"
    grep -E "^Migrations Performed: $moves$" "$work/said" >/dev/null || { cat "$work/said"; exit 1; }
    grep -E '^Files Of Unknown Class: 1$' "$work/said" >/dev/null
done
same "$(requests 'HEAD /astra-gcp/big/x.log') $(requests 'PUT /astra-gcp/big/x.log')" "1 0"
same "$(requests 'HEAD /astra-gcp/big/used.csv')" 0
w list big/ >"$work/said"
same "$(grep -cE '^big/[xy].log 30000001 COLDLINE ' "$work/said")" 2
"$astra" --mount "$mnt" cost "$g/big" >"$work/said"
grep -E 'Not known: +1 file \(30 MB\)' "$work/said" >/dev/null

echo "-- read_metadata = yes: asked for with the listing, each version once"
unmount_it
"$astra" db check --state "$state" | grep "in order" >/dev/null
sed -i 's/^hmac_access_id/read_metadata = yes\n&/' "$work/conf"
rm -rf "$state"
mount_it
curl -sf -X POST "$gcs_url/fake/log" >/dev/null
for _ in 1 2; do
    same "$(find "$g/k" -type f -printf '%s\n' | wc -l)" 12
    again "$g/k"
done
same "$(requests 'HEAD /astra-gcp/k/[0-9]')" 12
same "$(requests 'storage/v1')" 0
same "$(stat -c %a "$g/f4096")" 600
same "$(getfattr --only-values -n user.note "$g/f4096")" 'ä  b'
same "$(xattr storage_class "$g/f8388609")" NEARLINE

echo "-- who it is, and who it is not"
"$astra" --mount "$mnt" doctor >"$work/said" || true
grep "remote gcp .*XML API, with the key GOOG1EFAKE" "$work/said"
if grep -F hmac-secret "$work/said" "$work/log"; then echo "the secret is shown"; exit 1; fi
curl -sf -d '{"key": "GOOG1EFAKE:another"}' "$gcs_url/fake/hmac"
if cat "$g/renamed" >"$work/got" 2>&1; then echo "it was read"; exit 1; fi
grep -q "gcp.*SignatureDoesNotMatch" "$work/log"
curl -sf -d '{"key": "GOOG1EFAKE:hmac-secret"}' "$gcs_url/fake/hmac"
same "$(sum "$g/renamed")" "$(sum "$work/want/f4096")"
rm -rf "$g/k" "$g/theirs"
settle
w list k/ >"$work/said"
if grep -v '^k/ ' "$work/said"; then echo "removed files are still there"; exit 1; fi
unmount_it
