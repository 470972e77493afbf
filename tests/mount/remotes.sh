#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Remotes of the index that the configuration lacks: rebuild is refused before anything is touched, a
# mount does not show them.
. "$(dirname "$0")/lib.sh"
conf() { # FILE NAME...
    local file=$1 name
    shift
    for name; do printf '[remote %s]\nbucket = b-%s\n' "$name" "$name"; done >"$file"
}
content() { find "$state" "$data" -type f ! -name lock ! -name '*-lock' -exec sha256sum {} + | sort; }
places() { find "$state" "$data" | sort; }
refused() { # PATTERN COMMAND...
    local pattern=$1 s=0 before
    shift
    before=$(places; content)
    "$@" 2>"$work/says" || s=$?
    same "$s" 1
    same "$(wc -l <"$work/says")" 1
    grep -q -- "$pattern" "$work/says" || { cat "$work/says"; exit 1; }
    same "$(places; content)" "$before"
}
rebuild() { # OPTION...
    "$astra" db rebuild --state "$state" "$@" 2>"$work/says" || { cat "$work/says"; return 1; }
}
export XDG_CONFIG_HOME=$work/none
conf "$work/xy" x y
conf "$work/x" x
ASTRA_CONF=$work/xy
mount_it
echo one >"$mnt/x/one"
echo two >"$mnt/y/two"
unmount_it

# The default configuration, and one without y.
refused "remotes that the configuration does not have: 'x', 'y'; .* -c FILE, or move $state/index" \
    "$astra" db rebuild --state "$state"
refused "does not have: 'y';" "$astra" db rebuild -c "$work/x" --state "$state"
refused "does not have: 'y';" "$astrafs" --rebuild -c "$work/x" -o "state=$state,data=$data"
[ ! -e "$state/data" ]
sed -i "1i data = $data" "$work/xy" "$work/x"
rebuild -c "$work/xy"
grep -q "2 files" "$work/says"
mount_it
same "$(ls "$mnt" | tr '\n' ' ')" "x y "
same "$(cat "$mnt/x/one" "$mnt/y/two" | tr '\n' ' ')" "one two "
unmount_it

# However soon after another, each old one is kept.
for n in 2 3 4; do
    rebuild -c "$work/xy"
    same "$(find "$state"/old-*/index/index.mdb | wc -l)" "$n"
done

# One that cannot be read, or that was moved away, says nothing about remotes.
head -c 8192 /dev/zero | dd of="$state/index/index.mdb" conv=notrunc status=none
rebuild -c "$work/x"
grep -q "1 file$" "$work/says"
mv "$state/index" "$work/away"
rebuild -c "$work/xy"
grep -q "2 files" "$work/says"

# A remote that was taken out is not shown, and the log says so; what waits of it comes back with it.
ASTRA_CONF=$work/slow
sed 's,^bucket.*,&\nfault = put:error=EIO/retry,' "$work/xy" >"$ASTRA_CONF"
mount_it drain_timeout=0s,migrate_wait=100ms
echo three >"$mnt/y/three"
mkdir "$mnt/y/d"
echo four >"$mnt/y/d/four"
mv "$mnt/y/two" "$mnt/x/two"
unmount_it
ASTRA_CONF=$work/x
mount_it
same "$(ls "$mnt" | tr '\n' ' ')" "x "
same "$("$astra" --mount "$mnt" ls / | tr '\n' ' ')" "x/ "
[ ! -e "$mnt/y" ]
[ ! -e "$mnt/y/three" ]
same "$(cat "$mnt/x/one")" one
if "$astra" --mount "$mnt" ls /y 2>"$work/says"; then exit 1; fi
same "$(grep -c "warning daemon: remote 'y' of an earlier mount is not in the configuration: it is not shown, 2 changed files of it wait (uploaded" "$work/log")" 1
# Nobody waits for its jobs, nor for the move from there; the rest goes on.
lost="[0-9]* jobs wait for remote 'y', which is not in the configuration"
echo new >"$mnt/x/new"
mkdir "$mnt/x/e"
echo five >"$mnt/x/e/five"
timeout 20 "$astra" --mount "$mnt" sync /x/e
if timeout 20 "$astra" --mount "$mnt" sync 2>"$work/says"; then exit 1; fi
grep -q "not everything reached its cloud: $lost;" "$work/says"
same "$(cat "$data/x/b-x/new" "$data/x/b-x/e/five" | tr '\n' ' ')" "new five "
s=0
timeout 20 "$astra" --mount "$mnt" status --wait-clean 2>"$work/says" || s=$?
same "$s" 1
grep -q "$lost; jobs that wait for archived objects or the delete guard: 0;" "$work/says"
began=$SECONDS
unmount_it
[ $((SECONDS - began)) -lt 10 ] || { echo "the drain took $((SECONDS - began)) s"; exit 1; }
grep -q "are left for the next mount of .*[:;] $lost" "$work/log"
"$astra" db check --state "$state" | grep -q "in order"
ASTRA_CONF=$work/xy
mount_it
same "$(ls "$mnt" | tr '\n' ' ')" "x y "
same "$(cat "$mnt/x/two" "$mnt/y/three" "$mnt/y/d/four" | tr '\n' ' ')" "two three four "
settle
same "$(cat "$data/x/b-x/two" "$data/y/b-y/three" "$data/y/b-y/d/four" | tr '\n' ' ')" \
    "two three four "
[ ! -e "$data/y/b-y/two" ]
unmount_it

# A remote without bucket: its top holds buckets, and what is refused there is told.
cat >"$work/b" <<C
data = $data
[remote x]
bucket = b-x
[remote all]
C
ASTRA_CONF=$work/b
state=$work/state-b
mount_it
no() { # PATTERN ERROR COMMAND...
    local pattern=$1 error=$2
    shift 2
    if "$@" >"$work/says" 2>&1; then echo "not refused: $*"; exit 1; fi
    grep -q "$error" "$work/says" || { cat "$work/says"; exit 1; }
    grep -q "warning vfs: $pattern" "$work/log" || { echo "no '$pattern' in the log"; exit 1; }
}
perm="Operation not permitted" busy="Device or resource busy"
mkdir "$mnt/all/one" "$mnt/x/dir"
echo f >"$mnt/all/one/f"
echo f >"$mnt/x/f"
echo f >"$mnt/x/dir/g"
settle
rename='import os,sys; os.rename(*sys.argv[1:])'
no "'file' cannot be made in /all: there are only buckets: make one (mkdir)" "$perm" touch "$mnt/all/file"
no "'f2' cannot be made in /all: there are only buckets" "$perm" python3 -c "$rename" "$mnt/x/f" "$mnt/all/f2"
no "'dir' cannot become a bucket of all" "$perm" python3 -c "$rename" "$mnt/x/dir" "$mnt/all/dir"
no "'file' cannot be made in /: there are only remotes" "$perm" touch "$mnt/file"
no "/all cannot be removed: a remote goes with its section" "$perm" rmdir "$mnt/all"
no "'one' keeps its name and place: it is a bucket" "$busy" python3 -c "$rename" "$mnt/all/one" "$mnt/all/two"
no "'all' keeps its name and place: it is a remote" "$busy" python3 -c "$rename" "$mnt/all" "$mnt/x/all"
no "'f' cannot be made in /all" "$perm" setfattr -n user.astra.migrate -v all "$mnt/x/f"
no "there is no bucket 'dir' where it is to migrate to" "$perm" setfattr -n user.astra.migrate -v all "$mnt/x/dir/g"
same "$(cat "$mnt/x/f" "$mnt/all/one/f" | tr '\n' ' ')" "f f "
unmount_it
