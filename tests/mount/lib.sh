# shellcheck shell=bash
# Sourced by the cases: a private mount with its own state. At the end, also at Ctrl-C, nothing of it
# is left: no mount, no process, no file. What a sanitizer says about the daemon, which has no
# terminal, or about astra is a failure. Exit status 77 = skipped, with the reason.
# ASTRA_CONF: a configuration with other clouds, whose buckets are directories in ASTRA_NATIVE.
set -eu
build=$(realpath "${ASTRA_BUILD:-build}")
astrafs=$build/astrafs
astra=$build/astra
[ -c /dev/fuse ] || { echo "skipped: no /dev/fuse"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
[ -x "$astrafs" ] || { echo "skipped: $astrafs is not built"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/astra-mount.XXXXXX")
mnt=$work/mnt state=$work/state data=$work/data
mkdir "$mnt"
opts=upload_delay=100ms,drain_timeout=20s${ASTRA_OPTS:+,$ASTRA_OPTS}
# A letter in Latin 1: names are bytes, but for clouds whose keys must be UTF-8.
odd_e='\351'
[ -z "${ASTRA_CONF:-}" ] || odd_e='\303\251'
pid=
for san in ASAN LSAN UBSAN TSAN; do
    export "${san}_OPTIONS=$(printenv ${san}_OPTIONS || true):log_path=$work/san"
done
export UBSAN_OPTIONS=$UBSAN_OPTIONS:print_stacktrace=1

mount_it() { # [OPTIONS]
    "$astrafs" ${ASTRA_CONF:+-c "$ASTRA_CONF"} -f -o "state=$state,data=$data,log_level=info,log_file=$work/log,$opts${1:+,$1}" \
        "$mnt" 2>>"$work/err" &
    pid=$!
    for _ in $(seq 300); do
        mountpoint -q "$mnt" && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    echo "the mount did not come up"; cat "$work/err" "$work/log" 2>/dev/null; exit 1
}
unmount_it() {
    umount "$mnt" || umount -l "$mnt"
    wait "$pid" || { echo "the daemon ended with status $?"; tail -n 20 "$work/log" "$work/err"; return 1; }
    pid=
}
settle() { "$astra" --mount "$mnt" status --wait-clean >/dev/null; }
native() { # CLOUD KEY -> path of the object's file
    echo "${ASTRA_NATIVE:-$data/$1}/astra-$1/$2"
}
# What this case started, and what that started, by the environment that it got: a program that only
# has one of our paths among its arguments is somebody else's.
export ASTRA_CASE=$$:$work
ours() {
    (
        unset ASTRA_CASE
        grep -slzxF "ASTRA_CASE=$$:$work" /proc/[0-9]*/environ | cut -d/ -f3
    )
}
stop_ours() {
    local n
    grep -F " $work/" /proc/self/mounts | cut -d' ' -f2 | while read -r at; do umount -l "$at"; done
    for n in $(seq 200); do
        [ -n "$(ours)" ] || return 0
        [ "$n" != 100 ] || kill -9 $(ours) 2>/dev/null || true
        sleep 0.1
    done
    echo "still running: $(ours)"
    return 1
}
finish() {
    status=$?
    if grep -s "is not in the matrix" "$work/log"; then status=1; fi
    trap - EXIT
    cd /
    [ -z "$(jobs -p)" ] || [ "$status" = 0 ] || kill $(jobs -p) 2>/dev/null || true
    stop_ours || status=1
    if ls "$work"/san.* >/dev/null 2>&1; then cat "$work"/san.*; status=1; fi
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        echo "--- log"
        tail -40 "$work/log" 2>/dev/null || true
        cat "$work/err" 2>/dev/null || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
same() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: '$1' is not '$2'"; exit 1; }; }
# What a document says: an expression in Python, where it is d.
json() { python3 -c 'import json,sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
# A configuration with two embedded clouds, aws and gcp; `astra debug fault` may set faults of aws.
two_clouds() { # [LINE of aws...]
    {
        printf 'data = %s\n[remote aws]\nprovider = aws\nbucket = astra-aws\nfault =\n' "$data"
        [ $# = 0 ] || printf '%s\n' "$@"
        printf '[remote gcp]\nprovider = gcp\nbucket = astra-gcp\n'
    } >"$work/c"
    ASTRA_CONF=$work/c
}
# Files of the default mount go to ARCHIVE, and are there.
archive() { # FILE...
    local f
    settle || true
    for f in "$@"; do setfattr -n user.astra.tier -v ARCHIVE "$f"; done
    for f in "$@"; do
        for _ in $(seq 100); do [ "$(getfattr --only-values -n user.astra.state "$f")" = archived ] && break; sleep 0.1; done
        same "$(getfattr --only-values -n user.astra.state "$f")" archived
    done
}
live() { # jobs that live: KIND SOURCE DESTINATION NOTE
    "$astra" --mount "$mnt" jobs --json | python3 -c 'import json, sys
for j in json.load(sys.stdin)["jobs"]:
    if not j["ended"]:
        print(j["kind"], j["source"], j["destination"], j["note"], sep="|")'
}
live_are() { # COUNT, within a few seconds
    for _ in $(seq 100); do [ "$(live | wc -l)" = "$1" ] && return; sleep 0.1; done
    live
    same "$(live | wc -l)" "$1"
}
sum() { sha256sum <"$1" | cut -c1-64; }
