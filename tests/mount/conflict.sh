#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Somebody else changes an object that has changes here: theirs keeps the name, ours goes beside it;
# not without end; and conflict=overwrite.
. "$(dirname "$0")/lib.sh"
get() { getfattr --absolute-names --only-values -n "user.astra.$1" "$2"; }
copies() { find "$mnt/aws" -name "$1.conflict-*" | wc -l; }
clash() { # NAME TEXT: changes it here and there
    exec 9>>"$mnt/aws/$1" # open, so that no upload is due before theirs is there
    printf '%s here\n' "$2" >&9
    printf '%s there\n' "$2" >"$work/there"
    mv "$work/there" "$(native aws "$1")"
    sync "$mnt/aws/$1" 2>"$work/says" && { echo "fsync says nothing of a conflict"; exit 1; }
    exec 9>&-
    grep -q "Stale file handle" "$work/says"
}
mount_it metadata_ttl=1h,upload_delay=1s
f=$mnt/aws/log
echo start >"$f"
sync "$f"
exec 5>>"$f"
clash log 1
settle
same "$(cat "$f")" "1 there"
same "$(copies log)" 1
c=$(find "$mnt/aws" -name "log.conflict-$(hostname)-*")
same "$(tr '\n' ' ' <"$c")" "start 1 here "
[ -e "$(native aws "$(basename "$c")")" ]
# A handle that was open follows ours.
echo more >&5
exec 5>&-
sync "$c"
same "$(tail -n 1 "$c")" more
# A conflict copy makes no further copy.
echo again >>"$c"
echo theirs >"$(native aws "$(basename "$c")")"
sync "$c"
same "$(tail -n 1 "$(native aws "$(basename "$c")")")" again
same "$(copies log)" 1

# After three within an hour nothing more is committed; nothing is lost.
sleep 1 # the copies' names have seconds
clash log 2
sleep 1
clash log 3
same "$(copies log)" 3
clash log 4
same "$(copies log)" 3
same "$(get state "$f")" conflict
same "$(tail -n 1 "$f")" "4 here"
same "$(cat "$(native aws log)")" "4 there"
"$astra" --mount "$mnt" --json ls /aws/log | grep -q "somebody else keeps changing it"
if "$astra" --mount "$mnt" status --wait-clean 2>"$work/says"; then echo "clean in a conflict"; exit 1; fi
grep -q "files with a conflict: 1" "$work/says"
# Also over a remount; unmounting does not wait for it.
start=$(date +%s)
unmount_it
[ $(($(date +%s) - start)) -lt 10 ]
mount_it metadata_ttl=1h
sleep 2
same "$(tail -n 1 "$f")" "4 here"
same "$(copies log)" 3
same "$(cat "$(native aws log)")" "4 there"
# Another name ends it.
mv "$f" "$f.mine"
settle
same "$(tail -n 1 "$(native aws log.mine)")" "4 here"
same "$(get state "$f.mine")" settled
same "$(cat "$(native aws log)")" "4 there"
unmount_it

# ---- conflict=overwrite
mount_it conflict=overwrite,metadata_ttl=1h
echo start >"$mnt/aws/o"
sync "$mnt/aws/o"
echo ours >>"$mnt/aws/o"
echo theirs >"$work/there"
mv "$work/there" "$(native aws o)"
sync "$mnt/aws/o"
same "$(tail -n 1 "$(native aws o)")" ours
same "$(copies o)" 0
unmount_it

# ---- somebody removes what has changes here: ours comes back, whole
mount_it metadata_ttl=1h
echo one >"$mnt/aws/gone"
sync "$mnt/aws/gone"
rm "$(native aws gone)"
echo two >>"$mnt/aws/gone"
sync "$mnt/aws/gone"
same "$(tr '\n' ' ' <"$(native aws gone)")" "one two "
same "$(copies gone)" 0
unmount_it
