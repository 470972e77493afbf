# Sourced by the cases: a private mount with its own state, taken down by process id at the end.
# Exit status 77 = skipped, with the reason.
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
opts=${ASTRA_OPTS:-upload_delay=100ms,drain_timeout=20s}
pid=

mount_it() { # [OPTIONS]
    "$astrafs" -f -o "state=$state,data=$data,log_level=info,log_file=$work/log,$opts${1:+,$1}" \
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
    wait "$pid" || { echo "the daemon ended with status $?"; tail -20 "$work/log" "$work/err"; return 1; }
    pid=
}
settle() { "$astra" --mount "$mnt" status --wait-clean >/dev/null; }
native() { # CLOUD KEY -> path of the object's file
    echo "$data/$1/astra-$1/$2"
}
finish() {
    status=$?
    [ "$status" = 0 ] || { echo "--- log"; tail -40 "$work/log" 2>/dev/null || true; cat "$work/err" 2>/dev/null || true; }
    if mountpoint -q "$mnt" 2>/dev/null; then umount -l "$mnt" || true; fi
    if [ -n "$pid" ]; then
        for _ in $(seq 200); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
same() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: '$1' is not '$2'"; exit 1; }; }
sum() { sha256sum <"$1" | cut -c1-64; }
