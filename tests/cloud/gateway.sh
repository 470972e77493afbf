#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What an S3 gateway over a file system does other than a cloud: a directory has to be empty before it
# can be removed, files that did not come through it have no ETag, and are overwritten, and an object has
# no place where a directory is with something in it, or below an object.
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

# Put into the directory of the gateway by hand: not shown, never overwritten, and what is beside it is
# as ever. The gateway itself takes them for absent, also where the condition is that they be.
b=$work/versitygwgw.buckets/astra-aws/kept d=$mnt/aws/kept
echo ours >"$d/ours"
settle
echo theirs >"$b/new"
echo theirs >"$b/moved"
setfattr -n user.astra.refresh -v 1 "$d"
same "$(ls "$d")" ours
mv "$d/ours" "$d/moved" 2>/dev/null || true
echo ours >"$d/new"
for _ in $(seq 100); do
    grep -q "error job: upload .*/kept/new.* is there, and has no ETag" "$work/log" &&
        grep -q "relocate .*/kept/moved.* is there, and has no ETag.*; trying on" "$work/log" && break
    sleep 0.1
done
grep -q "error job: upload .*'/aws/kept/new': astra-aws/kept/new is there, and has no ETag" "$work/log"
grep -q "relocate .*astra-aws/kept/moved is there, and has no ETag.*; trying on" "$work/log"
same "$(cat "$b/new" "$b/moved" | tr '\n' ' ')" "theirs theirs "
same "$(cat "$d/new" "$d/moved" | tr '\n' ' ')" "ours ours "

# Ours waits until it gets another name, or theirs has gone; a move that was given up is taken back.
mv "$d/new" "$d/another"
mv "$b/moved" "$work/"
settle
same "$(ls "$d" | tr '\n' ' ')" "another ours "
same "$(cat "$b/another" "$b/ours" "$b/new" | tr '\n' ' ')" "ours ours theirs "

# A file where the gateway keeps a directory, for what somebody else has put into it; and one below what
# somebody else has made an object. Told soon, to whoever waits as well; kept; and in the cloud as soon
# as there is a place for it.
setfattr -n user.astra.refresh -v 1 "$mnt/aws"
mkdir "$mnt/aws/e" "$mnt/aws/g"
settle
boto put astra-aws e/x "$work/x"
boto remove astra-aws e/
boto remove astra-aws g/
boto put astra-aws g "$work/x"
rmdir "$mnt/aws/e"
start=$(date +%s)
echo ours >"$mnt/aws/e"
echo ours >"$mnt/aws/g/y"
! a sync 2>"$work/says" || exit 1
for f in e g/y; do
    for _ in $(seq 200); do
        grep -q "there is no place for '$f'" "$work/log" && break
        sleep 0.1
    done
done
[ $(($(date +%s) - start)) -le 40 ] || { echo "took $(($(date +%s) - start)) s"; exit 1; }
for f in e g/y; do
    same "$(getfattr --only-values -n user.astra.state "$mnt/aws/$f")" upload-failed
    same "$(cat "$mnt/aws/$f")" ours
done
a --json jobs --all | json '[j["note"] for j in d["jobs"] if j["kind"] == "upload" and j["state"] == "failed"]' >"$work/got"
grep -q ExistingObjectIsDirectory "$work/got"
says() { python3 -c 'import errno, os, sys
try:
    os.fsync(os.open(sys.argv[1], os.O_RDONLY))
except OSError as e:
    print(errno.errorcode[e.errno])' "$1"; }
same "$(says "$mnt/aws/e")" EISDIR
same "$(says "$mnt/aws/g/y")" ENOTDIR
same "$(grep -c "warning job: remote aws: there is no place for 'e': .*409 ExistingObjectIsDirectory: .*, request [A-Z0-9]*; .* rename it, or remove" "$work/log")" 1
same "$(grep -c "warning job: remote aws: there is no place for 'g/y': .*409 ObjectParentIsFile: .*, request [A-Z0-9]*; .* rename it, or remove" "$work/log")" 1
boto remove astra-aws e/x
boto remove astra-aws g
sync "$mnt/aws/e" "$mnt/aws/g/y"
same "$(cat "$b/../e" "$b/../g/y" | tr '\n' ' ')" "ours ours "
settle
unmount_it
