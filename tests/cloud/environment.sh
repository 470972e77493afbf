#!/usr/bin/env bash
# No configuration, only the variables of the clouds' own tools: aws, gcp and azure are the real ones
# (here versitygw, our stub and our fake), with their buckets as directories.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
start_versitygw
start_gcs_stub stub http
start_fake_azure fake
export XDG_CONFIG_HOME=$work/none
export AWS_ACCESS_KEY_ID=$vgw_access AWS_SECRET_ACCESS_KEY=$vgw_secret AWS_REGION=eu-west-1
export AWS_ENDPOINT_URL_S3=$vgw_url STORAGE_EMULATOR_HOST=$gcs_url
export AZURE_STORAGE_CONNECTION_STRING="AccountName=fake;AccountKey=$FAKE_KEY;BlobEndpoint=$fake_url/fake;"
mount_it
same "$(cd "$mnt" && echo *)" "aws azure gcp"

echo "-- mkdir and rmdir make and remove buckets, and nothing else is there beside them"
for c in aws gcp azure; do
    mkdir "$mnt/$c/of-$c" "$mnt/$c/empty"
    rmdir "$mnt/$c/empty"
    same "$(ls "$mnt/$c")" "of-$c"
    if echo x 2>/dev/null >"$mnt/$c/file"; then echo "a file beside buckets"; exit 1; fi
    echo "to $c" >"$mnt/$c/of-$c/f"
done
settle
same "$(cat "$work/versitygw.buckets/of-aws/f")" "to aws"
same "$(curl -sf "$gcs_url/storage/v1/b/of-gcp/o/f?alt=media")" "to gcp"

echo "-- between all of them"
for from in aws gcp azure; do
    for to in aws gcp azure; do
        [ "$from" != "$to" ] || continue
        echo "$from to $to" >"$mnt/$from/of-$from/$to"
        mv "$mnt/$from/of-$from/$to" "$mnt/$to/of-$to/from-$from"
    done
done
settle
unmount_it
rm -rf "$state"
mount_it
for from in aws gcp azure; do
    same "$(ls "$mnt/$from")" "of-$from"
    for to in aws gcp azure; do
        [ "$from" = "$to" ] || same "$(cat "$mnt/$to/of-$to/from-$from")" "$from to $to"
    done
done

echo "-- which is told, with the identities"
"$astra" --mount "$mnt" doctor >"$work/said" || true
grep -q "remote aws .*$vgw_url, region eu-west-1, with the key $vgw_access of the environment): answers" \
    "$work/said"
grep -q "remote gcp .*$gcs_url, as nobody: anonymous): answers" "$work/said"
grep -q "remote azure .*$fake_url/fake, with the key of account fake): answers" "$work/said"
if grep -F -e "$vgw_secret" -e "$FAKE_KEY" "$work/said" "$work/log"; then exit 1; fi
unmount_it

echo "-- an endpoint that is none ends the mount with its variable's name"
if AWS_ENDPOINT_URL_S3=somewhere timeout 30 "$astrafs" -f -o "state=$state" "$mnt" 2>"$work/says"; then
    exit 1
fi
grep -q "AWS_ENDPOINT_URL_S3: " "$work/says"
