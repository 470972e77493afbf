#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How many requests it takes to remove 2,000 files, counted in the log of requests: few where the
# server holds the condition of each of many that are removed in one (SeaweedFS), one each where it
# reads past it (versitygw). What somebody else wrote meanwhile stays.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
n=2000
python_tools
start_seaweed
start_versitygw gw
ASTRA_CONF=$work/conf
# Far away: a request takes its time.
for server in "weed $weed_url" "gw $vgw_url"; do
    s3_section "${server% *}" "${server#* }" "bucket = astra-${server% *}" "create_bucket = yes" \
        "fault = remove,remove_many:delay=20"
done >"$ASTRA_CONF"
opts=$opts,debug=net
sent() { grep -cE -- " > $1" "$work/log" || true; } # METHOD URL-PART: requests
s3() { # URL PYTHON: with a client of others
    "$tools/venv/bin/python" - "$1" "$vgw_access" "$vgw_secret" <<P
import sys, boto3
c = boto3.client("s3", endpoint_url=sys.argv[1], aws_access_key_id=sys.argv[2],
    aws_secret_access_key=sys.argv[3], region_name="eu-west-1")
$2
P
}

mount_it log_level=debug
for cloud in weed gw; do
    d=$mnt/$cloud/d
    mkdir "$d"
    for i in $(seq "$n"); do echo "content $i"; done | (cd "$d" && split -l 1 -a 4 -d - f)
    settle
    same "$(find "$d" -type f | wc -l)" "$n"
done
# Of what it lists a moment before, so that the removal finds another version.
s3 "$weed_url" 'c.put_object(Bucket="astra-weed", Key="d/f0042", Body=b"theirs")'
for cloud in weed gw; do
    url=$weed_url
    [ $cloud = weed ] || url=$vgw_url
    left="['d/f0042']"
    [ $cloud = weed ] || left="[]"
    : >"$work/log"
    rm -r "$mnt/$cloud/d"
    settle
    same "$(s3 "$url" "print([o['Key'] for o in c.list_objects_v2(Bucket='astra-$cloud').get('Contents', ())])")" \
        "$left"
    many=$(sent 'POST [^ ]*\?delete=') one=$(sent 'DELETE ')
    echo "$cloud: $many requests for many, $one for one"
    if [ $cloud = weed ]; then
        [ "$many" -ge 1 ]
        [ $((many + one)) -le $((n / 8)) ]
    else
        [ "$many" -le 1 ] # a server is asked once what it holds
        same "$(sent 'DELETE [^ ]*/d/f.* If-Match: ')" "$n"
    fi
done
