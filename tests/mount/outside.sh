#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Objects of an embedded cloud are plain files under their own names. Who edits one beside the mount
# makes a new version of it; what changes by itself is damage.
. "$(dirname "$0")/lib.sh"
get() { getfattr --only-values -n "user.astra.$1" "$2"; }
# The cache forgets it, and the directory is listed anew.
again() {
    cp "$work/fill" "$mnt/gcp/fill1"
    cp "$work/fill" "$mnt/gcp/fill2"
    settle
    echo 3 >/proc/sys/vm/drop_caches
    listed aws
}
# What somebody has put into a cloud until now is known: it is listed again, behind who reads it.
listed() { # REMOTE
    news=$((${news:-0} + 1))
    echo >"$(native "$1" "news$news")"
    sleep 0.3
    for _ in $(seq 200); do ls "$mnt/$1" | grep -qx "news$news" && break; sleep 0.1; done
    ls "$mnt/$1" | grep -qx "news$news"
}
head -c 9000000 /dev/urandom >"$work/fill"
mount_it metadata_ttl=200ms,cache_size=16M
f=$mnt/aws/f
n=$(native aws f)

# Changed in place: longer, shorter, as long as it was.
echo one >"$f"
chmod 600 "$f"
settle
v=$(get etag "$f")
echo two >>"$n"
again
same "$(tr '\n' ' ' <"$f")" "one two "
[ "$(get etag "$f")" != "$v" ]
same "$(get state "$f")" settled
same "$(stat -c '%s %a' "$f")" "8 644" # content from elsewhere brings its attributes
printf x >"$n"
again
same "$(cat "$f")" x
printf y | dd of="$n" conv=notrunc status=none
again
same "$(cat "$f")" y
# Nobody lists the directory, and the old one is in the cache.
printf z >"$n"
for _ in $(seq 50); do [ "$(cat "$f")" != z ] || break; sleep 0.1; done
same "$(cat "$f")" z

# Through the mount again: checked again. And what is removed and made there.
echo three >>"$f"
settle
same "$(cat "$n")" "zthree"
echo new >"$(native aws new)"
mkdir "$(native aws d)"
echo deep >"$(native aws d/deep)"
echo gone >"$mnt/aws/gone"
settle
rm "$(native aws gone)"
again
same "$(cat "$mnt/aws/new" "$mnt/aws/d/deep" | tr '\n' ' ')" "new deep "
[ ! -e "$mnt/aws/gone" ]

# Changed here and there: theirs keeps the name, ours is beside it.
echo base >"$mnt/aws/both"
settle
echo theirs >>"$(native aws both)"
echo ours >>"$mnt/aws/both"
settle
# Or behind it, when theirs was seen just before.
got=$(tr '\n' ' ' <"$(native aws both)")
if [ "$got" != "base theirs ours " ]; then
    same "$got" "base theirs "
    ours=$(find "$mnt/aws" -name "both.conflict-*")
    same "$(tr '\n' ' ' <"$ours")" "base ours "
fi

# A whole large one, with checksums beside it; and one that is archived.
head -c 13000000 /dev/urandom >"$work/large"
cp "$work/large" "$mnt/gcp/large"
echo cold >"$mnt/aws/cold"
settle
setfattr -n user.astra.tier -v ARCHIVE "$mnt/aws/cold"
"$astra" --mount "$mnt" jobs wait
same "$(get state "$mnt/aws/cold")" archived
printf 'edited' | dd of="$(native gcp large)" bs=1 seek=9000000 conv=notrunc status=none
printf 'edited' | dd of="$work/large" bs=1 seek=9000000 conv=notrunc status=none
echo more >>"$(native aws cold)"
again
listed gcp
cmp "$work/large" "$mnt/gcp/large"
same "$(tr '\n' ' ' <"$mnt/aws/cold")" "cold more "
same "$(get state "$mnt/aws/cold")" settled

# Damage: bytes that changed while the time did not.
head -c 100000 /dev/urandom >"$mnt/aws/bad"
settle
n=$(native aws bad)
again
touch -r "$n" "$work/time"
printf 'rotten' | dd of="$n" bs=1 seek=70000 conv=notrunc status=none
touch -r "$work/time" "$n"
again
if cat "$mnt/aws/bad" >/dev/null 2>"$work/said"; then echo "wrong bytes"; exit 1; fi
grep -q "Input/output error" "$work/said"
grep -q "bad is damaged" "$work/log"
# The time is all that tells: with another one they are somebody's, and good.
touch "$n"
again
cmp "$mnt/aws/bad" "$n"
unmount_it
