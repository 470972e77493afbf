#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What an S3 gateway over a file system does other than a cloud: a directory has to be empty before it
# can be removed.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/mount_lib.sh"
python_tools
start_versitygw gw
ASTRA_CONF=$work/conf
s3_section aws "$vgw_url" "bucket = astra-aws" "create_bucket = yes" >"$ASTRA_CONF"
d=$mnt/aws/d
boto() { "$tools/venv/bin/python" "$here/witness_s3.py" "$vgw_url" "$@"; }
a() { timeout 60 "$astra" --mount "$mnt" "$@"; }
echo theirs >"$work/x"
mount_it

# Somebody has put something there that is not known here, and removed the marker: the directory of
# the gateway stays. Nobody waits for it for long, nothing is lost, and the log says so once.
mkdir "$d" "$mnt/aws/kept"
settle
boto put astra-aws d/x "$work/x"
boto remove astra-aws d/
rmdir "$d"
[ ! -e "$d" ]
start=$(date +%s)
a status --wait-clean 2>"$work/says"
grep -q "^waits for 1 job: /aws/d/: it is not empty there, .* 400 ErrDirectoryNotEmpty" "$work/says"
[ $(($(date +%s) - start)) -le 30 ] || { echo "took $(($(date +%s) - start)) s"; exit 1; }
same "$(grep -c "warning job: remote aws: 'd/' was removed here, and is not empty there: .* 400 ErrDirectoryNotEmpty: .*, request [A-Z0-9]*; .* remove what is in it" "$work/log")" 1
same "$(grep -cE " (warning|error) " "$work/log")" 1
a --json jobs --all | json '[j["note"] for j in d["jobs"] if j["kind"] == "unmark" and j["state"] == "failed"][0]' >"$work/got"
grep -q "ErrDirectoryNotEmpty" "$work/got"
setfattr -n user.astra.refresh -v 1 "$mnt/aws"
same "$(cat "$d/x")" theirs
same "$(boto keys astra-aws | tr '\n' ' ')" "d/x kept/ "

# What is in it first, as the log says.
rm "$d/x"
rmdir "$d"
settle
same "$(boto keys astra-aws)" kept/
unmount_it
