#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Extended attributes: each name on files and directories, the writable ones, refusals, programs
# that copy them, pins; and archived files under each value of recall=.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
a() { "$astra" --mount "$mnt" "$@"; }
get() { getfattr --absolute-names --only-values -n "user.astra.$1" "$2"; }
set_() { setfattr -n "user.astra.$1" -v "$2" "$3"; }
names() { getfattr --absolute-names -d -m "^user\.astra\." "$1" | sed -n 's/^user\.astra\.\([^=]*\)=.*/\1/p' | sort | tr '\n' ' '; }
refused() { # NAME VALUE FILE ERROR [REASON IN THE LOG]
    local says
    says=$(setfattr -n "user.astra.$1" -v "$2" "$3" 2>&1) && { echo "$1=$2 was taken"; exit 1; }
    grep -q "$4" <<<"$says" || { echo "$1=$2: $says"; exit 1; }
    [ -z "${5:-}" ] || grep -q -- "$5" "$work/log" || { echo "no '$5' in the log"; exit 1; }
}
requests() { a --json status | python3 -c '
import json, sys
print(sum(o["calls"] for r in json.load(sys.stdin)["remotes"] for o in r["ops"].values()))'; }

cat >"$work/c" <<'C'
[policy]
prices = list
interval = 1s
pin_delay = 3s
mode = off
[rule photos]
match = aws/photos/*
tier = WARM
reason = seldom looked at
[prices list]
aws.WARM.min_days = 30
aws.HOT.retrieval = 0.5
C
conf_opts=$opts
opts=$opts,metadata_ttl=1h
mount_conf() { # as mount_it, with the configuration
    "$astrafs" -c "$work/c" -f -o "state=$state,data=$data,log_level=info,log_file=$work/log,$opts${1:+,$1}" \
        "$mnt" 2>>"$work/err" &
    pid=$!
    for _ in $(seq 300); do mountpoint -q "$mnt" && return 0; sleep 0.05; done
    echo "the mount did not come up"; exit 1
}
mount_conf
cd "$mnt/aws"

# ---- each name
mkdir d
head -c 2000000 /dev/urandom >f
head -c 1000000 /dev/urandom >d/g
cat f >/dev/null
a sync
sleep 1.3
same "$(names f)" "accesses bucket checksum.crc32c cloud cost cost_if.ARCHIVE cost_if.COLD cost_if.HOT \
cost_if.WARM cost_read etag heat key last_access reads reason recommendation savings state storage_class \
tier tier_expected tier_since url writes "
same "$(names d)" "bytes bytes.ARCHIVE bytes.COLD bytes.HOT bytes.WARM cloud cost files savings "
same "$(get cloud f) $(get bucket f) $(get key d/g) $(get url d/g)" \
    "aws astra-aws d/g s3://astra-aws/d/g"
same "$(get storage_class f) $(get tier f) $(get tier_expected f) $(get state f)" "STANDARD HOT HOT settled"
same "$(get accesses f) $(get reads f) $(get writes f)" "2 1 1"
same "$(get cost f) $(get cost_read f) $(get cost_if.WARM f) $(get cost_if.ARCHIVE f)" \
    "0.000046 0.001 0.000025 0.00000198"
same "$(get recommendation f)" "Keep in HOT tier (optimal)"
same "$(get savings f)" 0
same "$(get files "$mnt") $(get bytes "$mnt/aws") $(get files d) $(get bytes.HOT d)" "2 3000000 1 1000000"
same "$(get cost "$mnt/aws") $(get cost "$mnt")" "0.000069 0.000069"
for n in tier_since last_access; do
    [[ $(get $n f) =~ ^20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:]*Z$ ]]
done
same "$(get checksum.crc32c f | wc -c)" 8
mkdir photos
echo x >photos/x
a sync
same "$(get tier_expected photos/x)" WARM
get reason photos/x | grep -q 'Rule photos: "aws/photos/\*" -> WARM tier optimal (seldom looked at)'
rm -r photos
set_ tier WARM f
a jobs wait
[[ $(get min_until f) =~ ^20.*Z$ ]]
sleep 1.3
same "$(get storage_class f) $(get bytes.WARM "$mnt/aws") $(get savings "$mnt/aws")" "STANDARD_IA 2000000 0.000021"

# No attribute asks a cloud.
find "$mnt" >/dev/null
before=$(requests)
getfattr -R --absolute-names -d -m - "$mnt" >"$work/all"
same "$(requests)" "$before"
same "$(grep -c '^user\.astra\.' "$work/all" | awk '{ print ($1 > 60) }')" 1

# ---- what is refused, and why
refused tier TEPID f "Invalid argument" "/aws/f: user.astra.tier: 'TEPID' is not allowed; allowed: HOT, WARM"
refused tier '' f "Invalid argument"
refused tier 'COLD
' f "Invalid argument"
refused restore soon f "Invalid argument" "'soon' is not allowed; allowed: a duration"
refused restore 0 f "Invalid argument"
refused migrate nowhere f "Invalid argument" "'nowhere' is not allowed; allowed: the name of a remote"
refused nosuch x f "Invalid argument" "/aws/f: user.astra.nosuch: there is no such attribute"
# A read-only one of a settled file that is not new: it would be a misunderstanding.
cd /
unmount_it
echo old >"$(native aws old)"
touch -d '2 days ago' "$(native aws old)"
mount_conf metadata_ttl=0s
cd "$mnt/aws"
setfattr -n user.astra.refresh -v 1 . # ls alone shows what the last mount knew, and lists behind it
same "$(cat old)" old
refused storage_class GLACIER old "Operation not permitted"
refused cost 1 old "Operation not permitted"

# ---- programs that copy attributes
setfattr -n user.mine -v mine old
cp -a old copy
a sync
same "$(getfattr --only-values -n user.mine copy) $(get tier copy)" "mine HOT"
set_ tier COLD old
a jobs wait
same "$(get storage_class old)" GLACIER
# They may bring ours from elsewhere, on files and directories, new ones and old ones: no order to
# archive, nor a pin, but a hint.
plain=$work/plain
mkdir "$plain"
echo p >"$plain/w"
echo p >"$plain/c"
if setfattr -n user.astra.tier -v WARM "$plain/w" 2>/dev/null; then
    setfattr -n user.astra.tier -v ARCHIVE "$plain/c"
    for n in accesses bucket cost state from.another.version; do
        setfattr -n "user.astra.$n" -v x "$plain/w"
        setfattr -n "user.astra.$n" -v x "$plain"
    done
    cp -a "$plain" tree
    tar --xattrs --xattrs-include='*' -C "$work" -cf "$work/t.tar" plain
    mkdir "$mnt/gcp/untar"
    tar --xattrs --xattrs-include='*' -C "$mnt/gcp/untar" -xf "$work/t.tar" 2>"$work/says"
    same "$(cat "$work/says")" ""
    if command -v rsync >/dev/null; then
        rsync -aX "$plain/" "$mnt/azure/tree/"
        a sync
        rsync -aX --stats "$plain/" "$mnt/azure/tree/" >"$work/says"
        grep -q "regular files transferred: 0" "$work/says"
        same "$(get tier "$mnt/azure/tree/w") $(get tier "$mnt/azure/tree/c")" "WARM HOT"
    fi
    a sync
    same "$(get tier tree/w) $(get tier tree/c)" "WARM HOT"
    same "$(get tier "$mnt/gcp/untar/plain/w") $(get tier "$mnt/gcp/untar/plain/c")" "WARM HOT"
    if a explain /aws/tree/w | grep -qi pinned; then echo "a copy was pinned"; exit 1; fi
else
    echo "no user attributes in $work: copies of them were not tried"
fi
set_ tier AUTO f

# ---- pins
set_ tier WARM d
same "$(get tier d)" WARM
echo x >d/new
mkdir d/sub
echo x >d/sub/new
a sync
same "$(get tier d/new) $(get tier d/sub/new) $(get tier d/g)" "WARM WARM HOT"
set_ tier AUTO d
if get tier d 2>/dev/null; then echo "a tier is left on d"; exit 1; fi
# Removing it is the same; what only tells cannot be removed.
set_ tier WARM d
set_ tier WARM f
setfattr -x user.astra.tier d
if get tier d 2>/dev/null; then echo "a tier is left on d"; exit 1; fi
a explain /aws/f | grep -q pinned
setfattr -x user.astra.tier f
if a explain /aws/f | grep -q pinned; then echo "f is pinned still"; exit 1; fi
for n in cost accesses; do
    if setfattr -x "user.astra.$n" f 2>"$work/said"; then echo "$n was removed"; exit 1; fi
    grep -q "Operation not permitted" "$work/said"
done
if setfattr -x user.astra.none f 2>"$work/said"; then echo "there was none"; exit 1; fi
grep -q "No such attribute" "$work/said"
# COLD and ARCHIVE apply when it has been at rest for pin_delay, in every mode of the engine.
mkdir cold
set_ tier ARCHIVE cold
echo x >cold/x
a sync
same "$(get tier cold/x) $(get state cold/x)" "HOT settled"
for _ in $(seq 150); do [ "$(get tier cold/x)" = ARCHIVE ] && break; sleep 0.1; done
same "$(get tier cold/x)" ARCHIVE
# Said of one file it is done at once, when that is in the cloud.
echo x >now
set_ tier COLD now
a sync
a jobs wait
same "$(get tier now)" COLD

# ---- migrate, refresh
set_ migrate azure d/g
a jobs wait
same "$(get cloud "$mnt/azure/d/g") $([ -e d/g ] || echo gone)" "azure gone"
cd /
unmount_it
opts=$opts,metadata_ttl=1h
mount_conf
ls "$mnt/aws" >/dev/null
echo stranger >"$(native aws stranger)"
set_ refresh 1 "$mnt/aws"
same "$(cat "$mnt/aws/stranger")" stranger
unmount_it

# ---- archived files
for mode in error request block:20s; do
    rm -rf "$state/stage"
    mount_conf "recall=$mode"
    cd "$mnt/aws"
    same "$(get state now)" archived
    same "$(stat -c '%s %b' now)" "2 1"
    case $mode in
    block*)
        same "$(timeout 30 cat now)" x ;;
    *)
        start=$(date +%s%N)
        if cat now >"$work/says" 2>&1; then echo "an archived file was read"; exit 1; fi
        grep -q "Input/output error" "$work/says"
        [ $((($(date +%s%N) - start) / 1000000)) -lt 1000 ]
        ;;
    esac
    if [ $mode = error ]; then
        same "$(get state now)" archived
        refused restore nonsense now "Invalid argument"
        set_ restore 7d now
    fi
    if [ $mode = request ]; then same "$(get state now)" restoring; fi
    for _ in $(seq 200); do [ "$(get state now)" = restored ] && break; sleep 0.1; done
    same "$(get state now) $(get storage_class now) $(cat now)" "restored GLACIER x"
    # Until when: for as many days as were asked for.
    until=$(get restored_until now)
    days=$((($(date -d "$until" +%s) - $(date +%s) + 3600) / 86400))
    [ $mode != error ] || same "$days" 7
    a explain now | grep -q "Restored: can be read until ${until%%T*} ..:.. UTC"
    at=$(date -d "$until" '+%Y-%m-%d %H:%M')
    a ls -l | grep -q " restored .* now  (can be read until $at)\$"
    a ls -l | grep " cold/\$" | grep -qv until
    if [ $mode = error ]; then # longer, never shorter
        at=$(date -d "$(a restore /aws/now 30d | sed 's/.* until //')" +%s)
        days=$(((at - $(date +%s) + 3600) / 86400))
        same "$days" 30
        same "$(a restore /aws/now 1d)" "/aws/now: can be read until $(date -d @$at '+%Y-%m-%d %H:%M'), as before: that is longer than was asked for"
        same "$(date -d "$(get restored_until now)" '+%F %R')" "$(date -d @$at '+%F %R')"
    fi
    # It can be replaced and removed without a restore.
    set_ tier AUTO now
    rm now
    echo x >now
    set_ tier COLD now
    a sync
    a jobs wait
    same "$(get state now)" archived
    echo y >cold/x
    same "$(cat cold/x)" y
    if mv now "$mnt/gcp/" 2>/dev/null; then echo "an archived file went to another cloud"; exit 1; fi
    cd /
    unmount_it
done

# ---- an archived file gets another name: its object follows when somebody restores it
mount_conf
mv "$mnt/aws/now" "$mnt/aws/then"
for _ in $(seq 100); do [ "$(get state "$mnt/aws/then")" = renamed-here-only ] && break; sleep 0.05; done
same "$(get state "$mnt/aws/then")" renamed-here-only
for _ in $(seq 100); do a status | grep -q "; 1 parked)" && break; sleep 0.05; done
a status | grep -q "; 1 parked)"
if a status --wait-clean 2>"$work/says"; then echo "clean with an archived file on its way"; exit 1; fi
grep -q "wait for archived objects" "$work/says"
start=$(date +%s)
unmount_it # does not wait for it
[ $(($(date +%s) - start)) -lt 10 ]
mount_conf
getfattr -n user.astra.restored_until "$mnt/aws/then" 2>&1 | grep -q "No such attribute"
a restore /aws/then 1d
same "$(cat "$mnt/aws/then")" x
same "$(get state "$mnt/aws/then")" restored
# somebody wants to read it: it stays, unless it is told
[ -e "$(native aws now)" ]
a jobs retry "$(a jobs --json | python3 -c 'import json, sys
print(*(j["id"] for j in json.load(sys.stdin)["jobs"] if j["kind"] == "relocate" and not j["ended"]))')"
for _ in $(seq 100); do [ ! -e "$(native aws now)" ] && break; sleep 0.1; done
[ ! -e "$(native aws now)" ]
[ -e "$(native aws "then")" ]
unmount_it

# ---- uid, gid and umask hold for what states none of its own, on each mount anew
opts=$conf_opts
mount_conf uid=1234,gid=nogroup,umask=027
same "$(stat -c '%u %a' "$mnt/aws")" "1234 750"
same "$(stat -c '%u %G %a' "$mnt/aws/stranger")" "1234 nogroup 640"
same "$(stat -c '%u' "$mnt/aws/f")" 0
chmod 600 "$mnt/aws/stranger"
unmount_it
mount_conf uid=4321,umask=022
same "$(stat -c '%u %a' "$mnt/aws")" "4321 755"
same "$(stat -c '%u %a' "$mnt/aws/stranger")" "1234 600"
unmount_it
