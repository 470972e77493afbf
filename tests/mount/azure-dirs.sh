#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# An Azure account with directories (the server is the fake of tests/fake): what is moved inside a
# container gets its new name by one request, and nothing is copied; read meanwhile, killed meanwhile,
# with a host of renames that is closed.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
export ASTRA_NATIVE=$work/blobs
start_fake_azure az --hns --mirror "$ASTRA_NATIVE"
{
    fake_azure_section az "retry_delay = 10ms"
    fake_azure_dfs
    printf '[remote near]\ntype = local\nprovider = aws\nbucket = astra-near\n'
} >"$work/conf"
export ASTRA_CONF=$work/conf
counts() { curl -sf "$fake_url/control" >"$work/counts.$1"; }
more() { # WHAT: so many more of these than at `counts before`
    counts after
    python3 - "$work/counts.before" "$work/counts.after" "$1" <<'P'
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:3])
print(b.get(sys.argv[3], 0) - a.get(sys.argv[3], 0))
P
}
no_copies() { # since `counts before`
    for what in "PUT blob" "PUT block" "PUT blocklist" "GET blob" "DELETE blob"; do
        same "$what $(more "$what")" "$what 0"
    done
}
objects() { find "$ASTRA_NATIVE/astra-az" -type f -path "*$1*" | wc -l; }
mount_it
a=$mnt/az

echo "-- a file, to another name, to a directory, over another file"
head -c 9000000 /dev/urandom >"$work/big"
cp "$work/big" "$a/big"
chmod 640 "$a/big"
setfattr -n user.note -v 'ä  b' "$a/big"
echo other >"$a/other"
mkdir "$a/d"
settle
counts before
mv "$a/big" "$a/big2"
settle
same "$(more 'PUT rename')" 1
no_copies
mv "$a/big2" "$a/d/big"
settle
mv "$a/d/big" "$a/other"
settle
no_copies
cmp "$work/big" "$a/other"
cmp "$work/big" "$ASTRA_NATIVE/astra-az/other"
same "$(objects big)" 0
same "$(stat -c %a "$a/other")" 640
same "$(getfattr --only-values -n user.note "$a/other")" 'ä  b'

echo "-- a directory, which is read meanwhile"
mkdir -p "$a/from/sub"
for i in $(seq 20); do head -c $((i * 1000)) "$work/big" >"$a/from/f$i"; done
head -c 3000 "$work/big" >"$a/from/sub/odd name + %41 ä & <x>"
settle
counts before
mv "$a/from" "$a/to"
for i in $(seq 20); do head -c $((i * 1000)) "$work/big" | cmp - "$a/to/f$i"; done
settle
same "$(more 'PUT rename')" 23 # two of these find no directory
same "$(more 'PUT directory')" 2
for what in "PUT block" "PUT blocklist" "GET blob"; do same "$what $(more "$what")" "$what 0"; done
same "$(objects from/)" 0
same "$(objects to/)" 21
head -c 3000 "$work/big" | cmp - "$a/to/sub/odd name + %41 ä & <x>"

echo "-- what it says of itself"
"$astra" --mount "$mnt" doctor >"$work/said" || true
grep "remote az .*it has directories, renames by $fake_url/dfs/fake" "$work/said"

echo "-- kill -9 meanwhile: nothing is lost, nothing is there twice"
at() { # where the directory is by now
    local d
    for d in "$a"/to*; do [ ! -e "$d/sub" ] || basename "$d"; done
}
for n in 1 2 3 4 5 6; do
    was=$(at)
    if ((n % 2)); then
        mv "$a/$was" "$a/to$n"
    else
        for i in $(seq 20); do mv "$a/$was/f$i" "$a/$was/g$i"; done
        for i in $(seq 20); do mv "$a/$was/g$i" "$a/$was/f$i"; done
    fi
    sleep "0.0$((RANDOM % 10))"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    umount -l "$mnt" 2>/dev/null || true
    mount_it
    was=$(at)
    for i in $(seq 20); do
        f=$a/$was/f$i
        [ -e "$f" ] || f=$a/$was/g$i
        head -c $((i * 1000)) "$work/big" | cmp - "$f"
    done
    for i in $(seq 20); do [ ! -e "$a/$was/g$i" ] || mv "$a/$was/g$i" "$a/$was/f$i"; done
    settle
    same "$(find "$a/$was" -type f | wc -l)" 21
    find "$ASTRA_NATIVE/astra-az" -type f -size +0 -not -name other | sort >"$work/said"
    [ "$(wc -l <"$work/said")" = 21 ] || { cat "$work/said"; exit 1; }
    same "$(find "$a" -name '*conflict*' -o -name '*unmoved*' | wc -l)" 0
    unmount_it
    mount_it # so that it renames again at once
done

echo "-- the host of renames is closed: copies"
curl -sf -d '{"faults": [{"comp": "rename", "status": 403, "code": "AuthorizationFailure"}]}' \
    "$fake_url/control" >/dev/null
counts before
mv "$a/other" "$a/last"
settle
same "$(more 'PUT rename')" 1
cmp "$work/big" "$a/last"
cmp "$work/big" "$ASTRA_NATIVE/astra-az/last"
same "$(objects other)" 0
unmount_it
