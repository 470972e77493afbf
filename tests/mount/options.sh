#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Mount options that change what calls do, and remotes whose buckets are directories.
. "$(dirname "$0")/lib.sh"
get() { getfattr --absolute-names --only-values -n "user.astra.$1" "$2"; }
as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
chmod 755 "$work"

# ---- allow_other, and modes that hold for others
mount_it
echo x >"$mnt/aws/f"
if as_nobody cat "$mnt/aws/f" 2>/dev/null; then echo "another user came in"; exit 1; fi
unmount_it
mount_it allow_other
same "$(as_nobody cat "$mnt/aws/f")" x
if as_nobody sh -c 'echo y >"$1"' sh "$mnt/aws/f" 2>/dev/null; then echo "another user wrote"; exit 1; fi
chmod 600 "$mnt/aws/f"
if as_nobody cat "$mnt/aws/f" 2>/dev/null; then echo "mode 600 means nothing"; exit 1; fi
settle
unmount_it

# ---- ro
mount_it ro
same "$(cat "$mnt/aws/f")" x
for cmd in "touch $mnt/aws/n" "rm $mnt/aws/f" "mkdir $mnt/aws/d" "chmod 644 $mnt/aws/f" \
    "mv $mnt/aws/f $mnt/aws/g" "ln -s x $mnt/aws/l" "truncate -s 0 $mnt/aws/f" \
    "setfattr -n user.x -v 1 $mnt/aws/f" "setfattr -n user.astra.tier -v COLD $mnt/aws/f"; do
    # shellcheck disable=SC2086
    if $cmd 2>"$work/says"; then echo "done on a read-only mount: $cmd"; exit 1; fi
    grep -q "Read-only file system" "$work/says"
done
unmount_it

# ---- durability: what is in the cloud when a call returns
for d in local fsync close; do
    mount_it "durability=$d,upload_delay=1h,drain_timeout=5s"
    dd if=/dev/zero of="$mnt/aws/$d.fsync" bs=1k count=1 conv=fsync status=none
    dd if=/dev/zero of="$mnt/aws/$d.close" bs=1k count=1 status=none
    same "$d $(ls "$(native aws "")" | grep "^$d" | tr '\n' ' ')" "$d $(case $d in
        fsync) echo "fsync.fsync " ;;
        close) echo "close.close close.fsync " ;;
        esac)"
    unmount_it
done

# ---- metadata_ttl
mount_it metadata_ttl=1h
ls "$mnt/aws" >/dev/null
echo theirs >"$(native aws theirs)"
ls "$mnt/aws" >/dev/null
sleep 0.3
[ ! -e "$mnt/aws/theirs" ]
unmount_it
mount_it metadata_ttl=100ms
ls "$mnt/aws" >/dev/null
for _ in $(seq 100); do ls "$mnt/aws" | grep -q theirs && break; sleep 0.05; done
same "$(cat "$mnt/aws/theirs")" theirs
unmount_it

# ---- drain_timeout: the rest is for the next mount
cat >"$work/c" <<'C'
[remote slow]
bucket = b
fault = put:hang
[remote whole]
provider = aws
[remote part]
bucket = one
prefix = deep/er
C
"$astrafs" -c "$work/c" -o "state=$work/s2,data=$work/d2,upload_delay=0s,drain_timeout=1s,log_file=$work/log" "$mnt"
echo kept >"$mnt/slow/f"
start=$(date +%s)
status=0
"$astra" --mount "$mnt" umount 2>"$work/says" || status=$?
same "$status" 6
grep -q "drain_timeout (1 s) was too short; /slow/f: upload, " "$work/says"
[ $(($(date +%s) - start)) -lt 15 ]
sed -i 's/^fault.*//' "$work/c"
"$astrafs" -c "$work/c" -o "state=$work/s2,data=$work/d2,upload_delay=100ms,log_file=$work/log" "$mnt"
settle
same "$(cat "$work/d2/slow/b/f")" kept
"$astra" --mount "$mnt" umount

# ---- a second signal ends what drains; at the place of the mount may be another one by then
sed -i 's/^bucket = b$/&\nfault = put:hang/' "$work/c"
"$astrafs" -f -c "$work/c" -o "state=$work/s2,data=$work/d2,upload_delay=0s,drain_timeout=1h,log_file=$work/log" \
    "$mnt" 2>>"$work/err" &
pid=$!
for _ in $(seq 300); do mountpoint -q "$mnt" && break; sleep 0.05; done
echo kept >"$mnt/slow/g"
kill -TERM "$pid"
for _ in $(seq 300); do mountpoint -q "$mnt" || break; sleep 0.05; done
mount -t tmpfs tmpfs "$mnt"
kill -TERM "$pid"
wait "$pid"
mountpoint -q "$mnt"
umount "$mnt"
sed -i 's/^fault.*//' "$work/c"
"$astrafs" -c "$work/c" -o "state=$work/s2,data=$work/d2,upload_delay=100ms,log_file=$work/log" "$mnt"
settle
same "$(cat "$work/d2/slow/b/g")" kept

# ---- a remote without bucket shows its buckets; a prefix is hidden
mkdir "$mnt/whole/bkt"
[ -d "$work/d2/whole/bkt" ]
if echo x 2>/dev/null >"$mnt/whole/file"; then echo "a file among buckets"; exit 1; fi
echo x >"$mnt/whole/bkt/f"
settle
same "$(get bucket "$mnt/whole/bkt/f") $(get key "$mnt/whole/bkt/f")" "bkt f"
if rmdir "$mnt/whole/bkt" 2>/dev/null; then echo "a full bucket was removed"; exit 1; fi
if mv "$mnt/whole/bkt" "$mnt/whole/other" 2>/dev/null; then echo "a bucket was renamed"; exit 1; fi
mv "$mnt/whole/bkt/f" "$mnt/part/"
settle
same "$(get key "$mnt/part/f")" deep/er/f
same "$(cat "$work/d2/part/one/deep/er/f")" x
rmdir "$mnt/whole/bkt"
[ ! -e "$work/d2/whole/bkt" ]
if rmdir "$mnt/part" 2>/dev/null || mkdir "$mnt/new" 2>/dev/null; then echo "remotes were changed"; exit 1; fi
"$astra" --mount "$mnt" umount
