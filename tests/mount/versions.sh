#!/usr/bin/env bash
# A change of an object's class makes another version of it at Google, one of its metadata at Azure.
# When the answer is lost, the change is found to be ours: the file is readable, and the next write
# makes no conflict copy.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
start_gcs_stub stub http
start_fake_azure fake --mirror "$work/blobs"
lost='set_meta:every=3:delay=300:lost; set_tier:every=3:delay=300:lost'
{
    cat <<T
[remote gcp]
type = gcs
endpoint = $gcs_url
credentials = none
bucket = astra-gcp
create_bucket = yes
retry_delay = 5ms
fault = $lost; get:key=slow:delay=2000
T
    fake_azure_section az "retry_delay = 5ms" "fault = $lost"
} >"$work/conf"
export ASTRA_CONF=$work/conf
there() { # KEY -> what the cloud that we are in has by that name
    case $PWD in
    */gcp) curl -sf "$gcs_url/storage/v1/b/astra-gcp/o/$1?alt=media" ;;
    *) cat "$work/blobs/astra-az/$1" ;;
    esac
}
attr() { getfattr --only-values -n "user.astra.$1" "$2"; }
mount_it cache_size=1M,log_level=debug

changes() { # CLASS: in the working directory
    local i before
    for i in 1 2 3 4; do
        { echo "bytes of $i"; head -c 200K /dev/zero | tr '\0' x; } >f$i
        settle
        before=$(attr etag f$i)
        chmod 60$i f$i
        settle
        setfattr -n user.astra.tier -v WARM f$i
        settle
        [ "$(attr etag f$i)" != "$before" ] || { echo "f$i is still version $before"; exit 1; }
        head -c 900K /dev/urandom >fill # puts f$i out of the cache
        settle
        rm fill
        echo 3 >/proc/sys/vm/drop_caches
        same "$(head -n 1 f$i)" "bytes of $i"
        same "$(stat -c %a f$i)" "60$i"
        same "$(attr storage_class f$i)" "$1"
        echo more >>f$i
        settle
        same "$(there f$i | head -n 1)" "bytes of $i"
        same "$(there f$i | tail -c 5)" more
    done
    # nothing that looks at the cloud comes between a change and the next write
    for i in 1 2 3 4; do
        echo first >f$i
        settle
        setfattr -n user.astra.tier -v COLD f$i
        settle
        echo second >f$i
        settle
        same "$(there f$i)" second
        chmod 64$i f$i
        settle
        echo "bytes of $i" >f$i
        settle
        same "$(there f$i)" "bytes of $i"
    done
    same "$(ls | tr '\n' ' ')" "f1 f2 f3 f4 "
    # what comes behind in the queue goes on from the new version
    for i in 1 2 3 4; do
        chmod 640 f$i
        sleep 0.4
        mv f$i g$i
        settle
        same "$(there g$i)" "bytes of $i"
        [ ! -e f$i ]
        if there f$i >/dev/null 2>&1; then echo "f$i is still there"; exit 1; fi
        same "$(attr state g$i)" settled
    done
    same "$(ls | tr '\n' ' ')" "g1 g2 g3 g4 "
}
cd "$mnt/gcp"
changes NEARLINE
cd "$mnt/az"
changes Cool
for what in set_meta set_tier; do
    grep -q "the answer of $what was lost" "$work/log" || { echo "no answer of $what was lost"; exit 1; }
done
if grep -F "changed by somebody else" "$work/log"; then echo "a change of ours was not known"; exit 1; fi

# a version that is overtaken while it is fetched: who waits for it gets the longer one, whole
cd "$mnt/gcp"
theirs() { # LETTER BYTES
    head -c "$2" /dev/zero | tr '\0' "$1" >"$work/slow"
    curl -sf -o /dev/null --data-binary @"$work/slow" \
        "$gcs_url/upload/storage/v1/b/astra-gcp/o?uploadType=media&name=slow"
    setfattr -n user.astra.refresh -v 1 .
}
theirs a 17857
cat slow >"$work/read" &
reader=$!
sleep 0.5
theirs b 21185
same "$(timeout 20 cat slow | sha256sum)" "$(sha256sum <"$work/slow")"
wait $reader
cmp "$work/read" "$work/slow"
grep -q "get failed (stale): .*/slow" "$work/log" || { echo "nothing was overtaken"; exit 1; }
cd /
unmount_it
