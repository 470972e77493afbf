#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A remote of a known name that is another store is refused, by a mount and by a rebuild, and nothing
# is touched; one that is the same in other words is not.
. "$(dirname "$0")/lib.sh"
export XDG_CONFIG_HOME=$work/none
far=$work/far
mkdir "$far" "$work/other"
# Those without path are below the data directory.
conf() { # LINE...: of remote x
    printf '[remote keep]\nbucket = b\n[remote x]\n' >"$work/conf"
    printf '%s\n' "$@" >>"$work/conf"
}
content() { find "$state" "$data" "$far" -type f ! -name lock ! -name '*-lock' -exec sha256sum {} + | sort; }
places() { find "$state" "$data" "$far" "$work/other" | sort; }
refused() { # PATTERN
    local s before cmd
    before=$(places; content)
    for cmd in "-f" "--rebuild"; do
        s=0
        timeout 60 "$astrafs" $cmd -c "$work/conf" -o "state=$state,data=$data,log_file=$work/log" \
            "$mnt" 2>"$work/says" || s=$?
        same "$s" 1
        same "$(wc -l <"$work/says")" 1
        grep -q -- "remote 'x' was '$1 now: give it another name, or another state=DIR; moved=x" "$work/says" ||
            { cat "$work/says"; exit 1; }
        same "$(places; content)" "$before"
    done
}
ASTRA_CONF=$work/conf
conf "path = $far" "bucket = a" "prefix = p"
mount_it drain_timeout=0s,upload_delay=1h
echo one >"$mnt/x/one"
unmount_it
[ ! -e "$far/a/p/one" ]

was="local $far, bucket a, prefix p/' in this state directory and is"
conf "path = $far" "bucket = other" "prefix = p"
refused "$was 'local $far, bucket other, prefix p/'"
conf "path = $far" "bucket = a" "prefix = q"
refused "$was 'local $far, bucket a, prefix q/'"
conf "path = $work/other" "bucket = a" "prefix = p"
refused "$was 'local $work/other, bucket a, prefix p/'"
conf "type = mem" "bucket = a" "prefix = p"
refused "$was 'mem, bucket a, prefix p/'"
conf "type = s3" "endpoint = http://127.0.0.1:9" "bucket = a" "prefix = p"
refused "$was 's3 of 127.0.0.1, bucket a, prefix p/'"
conf "type = gcs" "endpoint = http://127.0.0.1:9" "bucket = a" "prefix = p"
refused "$was 'gcs of 127.0.0.1, bucket a, prefix p/'"
conf "type = azure" "account = one" "credentials = none" "bucket = a" "prefix = p"
refused "$was 'azure of one, bucket a, prefix p/'"

# The default clouds of a state that had a configuration with the same names.
printf '[remote aws]\nbucket = mine\n' >"$work/aws"
(
    state=$work/state-aws data=$work/state-aws/data
    ASTRA_CONF=$work/aws
    mount_it
    echo f >"$mnt/aws/f"
    unmount_it
    if "$astra" db rebuild --state "$state" 2>"$work/says"; then exit 1; fi
    grep -q "remote 'aws' was 'local data/aws, bucket mine' in .* is 'local data/aws, bucket astra-aws' now" "$work/says"
    [ -z "$(ls -d "$state"/old-* 2>/dev/null)" ]
    # It may go elsewhere as a whole.
    mv "$state" "$work/state-new"
    state=$work/state-new data=$work/state-new/data
    mount_it
    same "$(cat "$mnt/aws/f")" f
    unmount_it
)

# The same directory, by a link; what waited reaches it.
ln -s "$far" "$work/link"
conf "path = $work/link/" "bucket = a" "prefix = p/"
mount_it
settle
same "$(cat "$mnt/x/one" "$far/a/p/one" | tr '\n' ' ')" "one one "
unmount_it

# It has moved, and somebody says so: from then on it is there.
mv "$far/a" "$work/other/a"
conf "path = $work/other" "bucket = a" "prefix = p"
refused "$was 'local $work/other, bucket a, prefix p/'"
mount_it moved=x
same "$(cat "$mnt/x/one")" one
unmount_it
mount_it
same "$(cat "$mnt/x/one")" one
unmount_it

# A state of before this was remembered takes what it finds.
"$astra" db dump --state "$state" | sed 's/"kv","key":"ident:/"kv","key":"none:/' >"$work/dump"
grep -q '"kv","key":"none:x"' "$work/dump"
rm -r "$state/index"
"$astra" db load --state "$state" <"$work/dump"
conf "path = $far" "bucket = a" "prefix = p"
mount_it
unmount_it
conf "path = $work/other" "bucket = a" "prefix = p"
refused "$was 'local $work/other, bucket a, prefix p/'"

# What the mount would hide.
hidden() { # WHAT OPTIONS
    local s=0
    timeout 20 "$astrafs" -f -c "$work/conf" -o "$2" "$mnt" 2>"$work/says" || s=$?
    same "$s" 2
    same "$(cat "$work/says")" "astrafs: $1, is at or below the mount point $mnt, which would hide it: name a directory elsewhere"
    [ -z "$(ls "$mnt")" ] || [ "$(ls "$mnt")" = store ]
}
conf "bucket = b"
ln -s "$mnt" "$work/to-mnt"
hidden "the state directory, $mnt" "state=$mnt"
hidden "the state directory, $mnt/no/where" "state=$mnt/no/where"
hidden "the state directory, $work/to-mnt/s" "state=$work/to-mnt/s"
hidden "the data directory, $mnt/d" "state=$work/state-3,data=$mnt/d"
mkdir "$mnt/store"
conf "path = $mnt/store"
hidden "the directory of remote x, $mnt/store" "state=$work/state-3"
rmdir "$mnt/store"
[ ! -e "$work/state-3" ]
