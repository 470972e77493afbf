#!/usr/bin/env bash
# Directories that move with an archived file in them, which is replaced or removed at once: every
# job ends, and what replaced it has its key.
. "$(dirname "$0")/lib.sh"
a() { timeout 60 "$astra" --mount "$mnt" "$@"; }
mount_it
cd "$mnt/aws"
for how in gcp new aws unlink rm; do
    mkdir "m$how"
    echo cold >"m$how/x"
    echo warm >"m$how/y"
    mkdir -p "$mnt/gcp/d"
    echo "$how" >"$mnt/gcp/d/g"
    echo "$how" >g
    archive "m$how/x"
    case $how in
    gcp) mv "m$how" "n$how"; mv "$mnt/gcp/d/g" "n$how/x" ;;
    new) mv "m$how" "n$how"; cp g "n$how/x.tmp"; mv "n$how/x.tmp" "n$how/x" ;;
    aws) mv "m$how" "n$how"; mv g "n$how/x" ;;
    rm) mv "m$how" "n$how"; rm -r "n$how" ;;
    unlink) mv "m$how" "n$how"; rm "n$how/x" ;;
    esac
    live_are 0
    timeout 30 "$astra" --mount "$mnt" status --wait-clean >/dev/null
    [ "$how" = rm ] || same "$(cat "$(native aws "n$how/y")")" warm
    if [ "$how" = unlink ] || [ "$how" = rm ]; then
        [ ! -e "$(native aws "n$how/x")" ]
    else
        same "$(cat "$(native aws "n$how/x")")" "$how"
    fi
    if ls "$(native aws "m$how")" 2>/dev/null; then exit 1; fi
done
rm -r "$mnt/gcp/d" g

# ---- to another cloud: only the archived file's own move waits
mkdir m
echo cold >m/x
echo warm >m/y
archive m/x
mv m "$mnt/gcp/n"
live_are 1
same "$(live)" "relocate|/aws/m/x|/gcp/n/x|waiting for restore of /gcp/n/x (archived)"
same "$(cat "$(native gcp n/y)")" warm
rm -r "$mnt/gcp/n"
live_are 0
timeout 30 "$astra" --mount "$mnt" status --wait-clean >/dev/null
[ ! -e "$(native aws m/x)" ]

# ---- called off, when its old name is another one's by now: it is on its way back, and says so
mkdir m
echo cold >m/x
archive m/x
mv m n
mkdir m
echo new >m/x
live_are 2
id=$(a jobs --json | json '[j["id"] for j in d["jobs"] if j["destination"] == "/aws/n/x" and not j["ended"]][0]')
a jobs cancel "$id" >"$work/out"
grep -E "^job $id is being taken back: waiting for restore of /aws/m/x.unmoved-[0-9]+ \(archived\)\$" "$work/out"
a jobs cancel "$id" >"$work/again"
cmp "$work/out" "$work/again"
same "$(ls n)" ""
same "$(cat m/x)" new
rm -r m n
live_are 0
cd /
unmount_it

# ---- the delete guard holds back what was replaced, and what was removed: nothing else waits
mount_it delete_guard=1,undo_window=8s
cd "$mnt/aws"
mkdir m
echo cold >m/x
echo cold >m/z
echo warm >m/y
echo new >g
echo warm >a
echo warm >b
archive m/x m/z
rm a b
mv m n
mv g n/x
rm n/z
live_are 3 # b, and two more
same "$(live | cut -d'|' -f1 | sort -u)" remove
same "$(cat "$(native aws n/x)") $(cat "$(native aws n/y)")" "new warm"
live_are 0
same "$(ls "$(native aws n)")" "$(printf 'x\ny')"
[ ! -e "$(native aws m/x)" ] && [ ! -e "$(native aws m/z)" ]
cd /
unmount_it
