#!/usr/bin/env bash
# A mount with two S3 servers, Azurite and our stub of Google's storage: what astrafs writes rclone
# reads (bytes, checksums, times, modes, attributes, classes), what rclone writes shows in the mount,
# and neither has anything to do after the other.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
command -v rsync >/dev/null || skip "no rsync"
rclone_tool
start_versitygw
start_moto
start_azurite
start_gcs_stub stub http
export AZURITE_KEY=$azurite_key
{
    s3_section vgw "$vgw_url" "bucket = astra-vgw" "create_bucket = yes" "class.WARM =" \
        "class.COLD =" "class.ARCHIVE =" "read_metadata = yes"
    s3_section moto "$moto_url" "checksum = off" "bucket = astra-moto" "create_bucket = yes" \
        "read_metadata = yes"
    printf '[remote azure]\ntype = azure\nendpoint = %s\naccount = %s\n' "$azurite_url" \
        "$azurite_account"
    printf 'account_key_env = AZURITE_KEY\nbucket = astra-azure\ncreate_bucket = yes\n'
    printf '[remote gcs]\ntype = gcs\nendpoint = %s\ncredentials = none\n' "$gcs_url"
    printf 'bucket = astra-gcs\ncreate_bucket = yes\n'
} >"$work/conf"
export ASTRA_CONF=$work/conf
{
    for s3 in vgw moto; do
        url=${s3}_url
        printf '[%s]\ntype = s3\nprovider = Other\nregion = eu-west-1\nendpoint = %s\n' "$s3" \
            "${!url}"
        printf 'no_check_bucket = true\naccess_key_id = %s\nsecret_access_key = %s\n' "$vgw_access" "$vgw_secret"
    done
    printf '[azure]\ntype = azureblob\naccount = %s\nkey = %s\nendpoint = %s\n' \
        "$azurite_account" "$azurite_key" "$azurite_url"
    printf '[gcs]\ntype = google cloud storage\nanonymous = true\nbucket_policy_only = true\n'
    printf 'endpoint = %s/storage/v1/\n' "$gcs_url"
} >"$work/rclone.conf"
rc() {
    timeout 60 "$rclone" --config "$work/rclone.conf" --retries 1 --low-level-retries 3 \
        --s3-upload-cutoff 5M --s3-chunk-size 5M --s3-directory-markers \
        --azureblob-directory-markers --gcs-directory-markers "$@"
}
no_work() { # OPTIONS FROM TO: it would copy nothing, remove nothing, and set no time
    rc sync --dry-run -v "$@" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
    if grep 'Skipped ' "$work/said"; then return 1; fi
}
attr() { getfattr --absolute-names --only-values -n "user.astra.$1" "$2"; }
refresh() { # DIR: and all below
    find "$1" -type d -exec setfattr -n user.astra.refresh -v 1 {} ';'
    find "$1" >/dev/null
}
shown() { # DIR FORMAT: what find prints of its files
    (cd "$1" && find . -type f -printf "$2 %P\n" | sort)
}
equal() { # DIR DIR [MODE]: names, bytes, times to the nanosecond, modes
    diff -r --no-dereference "$1" "$2" >&2
    diff <(shown "$1" "%s %T@ ${3:-}") <(shown "$2" "%s %T@ ${3:-}")
}

# Names, sizes and times of all kinds; the directories' own times are not in any cloud.
tree=$work/tree
mkdir -p "$tree/a/deep/er/d i r" "$tree/%41"
printf x >"$tree/one"
: >"$tree/a/empty"
head -c 12000001 /dev/urandom >"$tree/a/large"
head -c 4096 /dev/urandom >"$tree/a/deep/er/d i r/odd name + %41 ä & <x> 日本"
echo per >"$tree/%41/100%"
setfattr -n user.colour -v grün "$tree/one"
chmod 600 "$tree/one"
chmod 750 "$tree/a/empty"
find "$tree" -type f -exec touch -d '2001-02-03 04:05:06.123456789 UTC' {} +
touch -d '1969-12-31 23:59:58.25 UTC' "$tree/a/empty"
mount_it

# What rclone makes of user.colour is metadata of its own, colour, and Azure takes ASCII only there.
theirs=$work/theirs
cp -a "$tree" "$theirs"
setfattr -n user.colour -v green "$theirs/one"

declare -A class=([vgw]=STANDARD [moto]=STANDARD_IA [azure]=Cool [gcs]=NEARLINE)
declare -A tiers=([vgw]=HOT [moto]=WARM [azure]=WARM [gcs]=WARM)
declare -A set_class=([moto]=--s3-storage-class=STANDARD_IA [azure]=--azureblob-access-tier=Cool
    [gcs]=--gcs-storage-class=NEARLINE)
declare -A ours=([vgw]=tier=STANDARD [moto]=tier=STANDARD [azure]=tier=Hot)
# On Google rclone has no metadata but the time.
declare -A modes=([vgw]=%m [moto]=%m [azure]=%m)

for c in vgw moto azure gcs; do
    at=$mnt/$c to=$c:astra-$c set=${set_class[$c]:-} mode=${modes[$c]:-}

    echo "-- $c: what we write, rclone reads"
    mkdir "$at/ours"
    rsync -aX "$tree/" "$at/ours/"
    ln -s "../one" "$at/link"
    settle
    # Parts have no MD5: S3's ETag is another one, and nobody states one at Azure and Google.
    rc lsjson -R -M --hash --files-only "$to/ours" |
        python3 "$here/witness_rclone.py" "$tree" --no-md5 8388608 ${mode:+--meta ${ours[$c]}}
    rc check --download "$tree" "$to/ours" 2>"$work/said" || { cat "$work/said"; exit 1; }
    same "$(rc cat "$to/link")" ../one
    no_work "$tree" "$to/ours"
    no_work --checksum "$tree" "$to/ours"
    # On S3 the mode is decimal, as s3fs has it there, and rclone -M takes it for octal.
    rc copy -M "$to/ours" "$work/back"
    if [ "$c" = azure ]; then equal "$tree" "$work/back" %m; else equal "$tree" "$work/back"; fi
    rm -r "$work/back"

    echo "-- $c: what rclone writes, we read"
    rc copy -M $set "$theirs" "$to/theirs"
    rc copyto -M --metadata-set colour=green "$theirs/one" "$to/theirs/two"
    rc mkdir "$to/theirs/nothing/in it"
    refresh "$at"
    [ -d "$at/theirs/nothing/in it" ]
    rmdir "$at/theirs/nothing/in it" "$at/theirs/nothing"
    cp -a "$theirs" "$work/$c"
    setfattr -x user.colour "$work/$c/one" # it becomes metadata that is not an attribute
    cp -a "$work/$c/one" "$work/$c/two"
    equal "$work/$c" "$at/theirs" "$mode"
    same "$(attr storage_class "$at/theirs/a/large")" "${class[$c]}"
    same "$(attr tier "$at/theirs/a/large")" "${tiers[$c]}"
    rsync -rtni "$work/$c/" "$at/theirs/" >"$work/said"
    same "$(grep -v '^\.d' "$work/said")" "" # directories' times are ours alone
    settle
    no_work "$work/$c" "$to/theirs"

    echo "-- $c: what rclone moves, overwrites, touches and removes"
    rc moveto "$to/theirs/%41/100%" "$to/theirs/b/ü %25"
    mkdir "$work/$c/b"
    mv "$work/$c/%41/100%" "$work/$c/b/ü %25"
    rmdir "$work/$c/%41"
    echo changed >"$work/$c/one"
    rc copyto -M "$work/$c/one" "$to/theirs/one"
    case $c in
    azure | gcs) # on S3 the object has the same ETag, and is one that we know
        touch -d '2010-11-12 13:14:15.5 UTC' "$work/$c/two"
        rc touch -t 2010-11-12T13:14:15.5 "$to/theirs/two"
        ;;
    esac
    rc deletefile "$to/theirs/a/large"
    rm "$work/$c/a/large"
    refresh "$at"
    [ ! -d "$at/theirs/%41" ] || rmdir "$at/theirs/%41" # where its marker has stayed
    equal "$work/$c" "$at/theirs" "$mode"

    echo "-- $c: we change what is rclone's"
    touch -d '2020-01-02 03:04:05.000000001 UTC' "$work/$c/two" "$at/theirs/two"
    chmod 640 "$work/$c/two" "$at/theirs/two"
    mv "$at/theirs/b" "$at/theirs/c"
    mv "$work/$c/b" "$work/$c/c"
    "$astra" --mount "$mnt" sync >/dev/null
    no_work "$work/$c" "$to/theirs"
    # What was copied has an ETag of parts on S3.
    rc lsjson -R -M --hash --files-only "$to/theirs" >"$work/said"
    python3 "$here/witness_rclone.py" "$work/$c" --no-md5 0 ${mode:+--meta} <"$work/said"
    [ -z "$mode" ] || grep '"Path":"two".*"colour":"green"' "$work/said" >/dev/null
done

echo "-- moves between clouds take the times along, in each one's form"
mv "$mnt/moto/ours" "$mnt/azure/from moto"
mv "$mnt/azure/ours" "$mnt/gcs/from azure"
mv "$mnt/gcs/ours" "$mnt/moto/from gcs"
settle
for to in "azure:astra-azure/from moto" "gcs:astra-gcs/from azure" "moto:astra-moto/from gcs"; do
    no_work "$tree" "$to"
done

echo "-- and all of it comes back from the clouds alone"
unmount_it
state=$work/state2
mount_it
for c in vgw moto azure gcs; do same "$(readlink "$mnt/$c/link")" ../one; done
for at in "vgw/ours" "azure/from moto" "gcs/from azure" "moto/from gcs"; do
    equal "$tree" "$mnt/$at" %m
    same "$(getfattr --absolute-names --only-values -n user.colour "$mnt/$at/one")" grün
done
unmount_it
