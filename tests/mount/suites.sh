#!/usr/bin/env bash
# Public suites on the mount, from package registries: pjdfstest and fsx by cargo, fio from the
# distribution. What cannot be had is named; skipped when nothing could be had.
# Programs are kept in $ASTRA_TOOLS (default: build-suites beside the build directory).
. "$(dirname "$0")/lib.sh"
tools=${ASTRA_TOOLS:-$build/../build-suites}
mkdir -p "$tools"
missing= ran=0
have() { # NAME VERSION: $tools/bin/NAME, built when need be
    [ -x "$tools/bin/$1" ] && return 0
    command -v cargo >/dev/null || { missing="$missing $1 (no cargo)"; return 1; }
    timeout 900 cargo install -q --root "$tools" "$1@$2" >"$tools/$1.log" 2>&1 ||
        { missing="$missing $1 (cargo: $(tail -1 "$tools/$1.log"))"; return 1; }
}
mount_it allow_other
dir=$mnt/aws/suites
mkdir "$dir"
chmod 755 "$work" "$dir"

# Calls and their errors. Refused on purpose (docs/SEMANTICS.md): hard links, FIFOs, sockets and
# devices, and so the cases of other calls that begin by making one; paths of more than 1024 bytes,
# which no object can have as its key, and so the cases that begin by making one of 4095.
refused='^(link|mkfifo|mknod)::|::(fifo|socket|block|char) |::enametoolong_path |^open::(fifo_|socket_)'
# These make hard links of a regular file.
refused="$refused|^(unlink::(unchanged_ctime_failed|update_ctime_success)|rename::(preserve_metadata|to_multiply_linked))::regular "
# Its last open is O_RDONLY | O_TRUNC of a running program: the kernel asks whether it runs only after
# the mount has emptied the file, and the answer depends on whether the program still lives then.
refused="$refused|^open::etxtbsy "
if have pjdfstest 0.2.2; then
    mkdir -m 777 "$work/second" # of another file system
    cat >"$work/pjd.toml" <<EOF
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.01
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
EOF
    (cd "$dir" && timeout 300 "$tools/bin/pjdfstest" -c "$work/pjd.toml" -p "$dir" -s "$work/second") \
        >"$work/pjd" 2>&1 || true
    grep '^Summary:' "$work/pjd" || { cat "$work/pjd"; exit 1; }
    if grep -E '^[a-z_0-9]+::.* FAILED$' "$work/pjd" | tr -s ' ' | grep -Ev "$refused"; then
        exit 1
    fi
    ran=$((ran + 1))
fi

# One file, random operations, every byte compared.
if have fsx 0.3.2; then
    weights() { # FLEN OPSIZE TRUNCATE MAP HOLES
        cat >"$work/fsx.toml" <<EOF
flen = $1
[opsize]
max = $2
[weights]
close_open = 1
read = 8
write = 10
truncate = $3
fsync = 1
fdatasync = 1
mapread = $4
mapwrite = $4
invalidate = $(($4 > 0))
punch_hole = $5
posix_fallocate = $5
copy_file_range = $5
sendfile = 1
posix_fadvise = 0
EOF
    }
    seed=${SEED:-$(date +%s)}
    echo "fsx: seed $seed"
    for kind in "262144 65536 1 0 0" "262144 65536 2 10 0" "262144 65536 2 0 3" \
        "33554432 4194304 1 3 0"; do
        # shellcheck disable=SC2086
        weights $kind
        ops=3000
        [ "${kind%% *}" -lt 1000000 ] || ops=200
        timeout 240 "$tools/bin/fsx" -q -f "$work/fsx.toml" -N $ops -S "$seed" -P "$work" \
            "$dir/fsx" || { echo "fsx: '$kind', seed $seed"; exit 1; }
        rm -f "$dir/fsx"
    done
    ran=$((ran + 1))
fi

# Written, and read back with checksums.
if command -v fio >/dev/null; then
    job() { # NAME OPTIONS...
        timeout 120 fio --directory="$dir" --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
            --output-format=terse --fallocate=none --name="$1" "${@:2}" >"$work/fio" 2>&1 ||
            { echo "fio $*"; cat "$work/fio"; exit 1; }
    }
    job seq --rw=write --bs=1m --size=48m --ioengine=psync --end_fsync=1
    job mixed --rw=randrw --bsrange=512-128k --bs_unaligned=1 --size=8m --ioengine=psync
    job map --rw=randwrite --bs=4k --size=8m --ioengine=mmap
    job direct --rw=randwrite --bs=4k --size=8m --ioengine=psync --direct=1
    job aio --rw=randwrite --bs=16k --size=4m --ioengine=libaio --iodepth=16 --numjobs=3
    job files --rw=write --bs=4k --filesize=4k-32k --nrfiles=100 --size=2m --openfiles=20
    ran=$((ran + 1))
else
    missing="$missing fio"
fi
rm -rf "$dir"
unmount_it
[ -z "$missing" ] || echo "not run:$missing"
[ $ran -gt 0 ] || { echo "skipped: none of pjdfstest, fsx, fio could be had"; exit 77; }
