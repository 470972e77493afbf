#!/usr/bin/env bash
# A mount with two S3 servers: what astrafs writes Amazon's aws command reads (bytes, checksums, class,
# metadata), what it writes, copies and moves shows in the mount, and its sync finds nothing to do.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
aws_tool
start_versitygw
start_moto
{
    s3_section vgw "$vgw_url" "bucket = astra-vgw" "create_bucket = yes" "class.WARM =" \
        "class.COLD =" "class.ARCHIVE ="
    s3_section moto "$moto_url" "checksum = off" "bucket = astra-moto" "create_bucket = yes"
} >"$work/conf"
export ASTRA_CONF=$work/conf
export AWS_CONFIG_FILE=$work/aws.config AWS_SHARED_CREDENTIALS_FILE=$work/none AWS_PAGER=
printf '[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n' >"$AWS_CONFIG_FILE"
printf '  multipart_threshold = 8MB\n  multipart_chunksize = 6MB\n' >>"$AWS_CONFIG_FILE"
aws() { # SERVER WORDS...
    local url=${1}_url
    shift
    AWS_ACCESS_KEY_ID=$vgw_access AWS_SECRET_ACCESS_KEY=$vgw_secret \
        timeout 60 "$aws_command" --endpoint-url "${!url}" "$@"
}
head_of() { # SERVER KEY FIELD
    aws "$1" s3api head-object --bucket "astra-$1" --key "$2" --checksum-mode ENABLED \
        --query "$3" --output text
}
refresh() { setfattr -n user.astra.refresh -v 1 "$1"; }
odd='odd name + %41 ä & <x>'
mkdir -p "$work/in/sub" "$work/theirs/deep"
for size in 0 1 70000 8388608 20000001; do head -c "$size" /dev/urandom >"$work/in/f$size"; done
cp "$work/in/f70000" "$work/in/sub/$odd"
head -c 20000001 /dev/urandom >"$work/theirs/deep/large"
head -c 5000 /dev/urandom >"$work/theirs/$odd"
: >"$work/theirs/empty"
mount_it

for s in vgw moto; do
    d=$mnt/$s
    echo "-- $s: what we write, aws reads"
    cp -r "$work/in" "$d/in"
    setfattr -n user.note -v hello "$d/in/f70000"
    settle
    aws "$s" s3 cp --quiet --recursive "s3://astra-$s/in" "$work/got-$s"
    diff -r "$work/in" "$work/got-$s"
    aws "$s" s3 sync --dryrun --size-only "s3://astra-$s/in" "$work/in" >"$work/said"
    same "$(cat "$work/said")" ""
    same "$(head_of "$s" in/f20000001 ContentLength)" 20000001
    same "$(head_of "$s" in/f70000 Metadata.uid)" "$(stat -c %u "$d/in/f70000")"
    same "$(aws "$s" s3api list-multipart-uploads --bucket "astra-$s" --query 'length(Uploads || `[]`)')" 0

    echo "-- $s: what aws writes, we read"
    aws "$s" s3 cp --quiet --recursive --metadata colour=green "$work/theirs" "s3://astra-$s/theirs"
    refresh "$d"
    diff -r "$work/theirs" "$d/theirs"
    aws "$s" s3 mv --quiet "s3://astra-$s/in/f1" "s3://astra-$s/in/moved"
    aws "$s" s3 cp --quiet "s3://astra-$s/in/f20000001" "s3://astra-$s/in/copied"
    aws "$s" s3 rm --quiet "s3://astra-$s/in/f0"
    refresh "$d/in"
    same "$(cd "$d/in" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" \
        "./copied ./f20000001 ./f70000 ./f8388608 ./moved ./sub/$odd "
    cmp "$d/in/copied" "$work/in/f20000001"
    cmp "$d/in/moved" "$work/in/f1"
    chmod 600 "$d/theirs/$odd" # theirs stays beside ours
    mv "$d/theirs/$odd" "$d/renamed"
    settle
    same "$(head_of "$s" renamed Metadata.colour)" green
    same "$(head_of "$s" renamed Metadata.mode)" $((0100600))
    aws "$s" s3 cp --quiet "s3://astra-$s/renamed" - | cmp - "$work/theirs/$odd"
done

echo "-- checksums and classes"
same "$(head_of vgw in/f70000 ETag)" "\"$(md5sum <"$work/in/f70000" | cut -c1-32)\""
[ "$(head_of vgw in/f70000 '[ChecksumCRC64NVME, ChecksumCRC32C]')" != "None	None" ]
aws moto s3 cp --quiet --storage-class STANDARD_IA "$work/in/f70000" s3://astra-moto/warm
refresh "$mnt/moto"
same "$(getfattr --absolute-names --only-values -n user.astra.storage_class "$mnt/moto/warm")" STANDARD_IA
mv "$mnt/moto/warm" "$mnt/moto/warmer"
settle
same "$(head_of moto warmer StorageClass)" STANDARD_IA
unmount_it
