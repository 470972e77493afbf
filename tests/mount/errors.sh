#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No error is silent: a cloud that cannot be listed or read, an archived file. The log says it once a
# minute, status while it lasts.
. "$(dirname "$0")/lib.sh"
fails() { if "$@" >/dev/null 2>&1; then echo "line ${BASH_LINENO[0]}: '$*' did not fail"; exit 1; fi; }
status() { "$astra" --mount "$mnt" status; }
error_of() { # REMOTE
    "$astra" --mount "$mnt" --json status | python3 -c 'import json, sys
for r in json.load(sys.stdin)["remotes"]:
    if r["name"] == sys.argv[1]:
        e = r.get("error")
        print("%s %s %d" % (e["op"], e["key"], e["errno"]) if e else "")' "$1"
}
logged() { grep -c -- "$1" "$work/log" || true; }
fault() { "$astra" --mount "$mnt" debug fault "$1" "$2"; }
ASTRA_CONF=$work/conf
for cloud in aws gcp azure; do
    printf '[remote %s]\nprovider = %s\nbucket = astra-%s\nretries = 0\nfault =\n' $cloud $cloud $cloud
done >"$ASTRA_CONF"
printf '[remote plain]\nbucket = astra-plain\n' >>"$ASTRA_CONF"
mount_it
mkdir -p "$(native aws d)/e" "$(native aws d2)"
echo x >"$(native aws d)/e/x"
echo x >"$(native aws d2)/y"
ls "$mnt/aws" >/dev/null
same "$(status | grep -c ' healthy$')" 4

fault aws 'list:error=EACCES/auth'
fails ls "$mnt/aws/d"
fails ls "$mnt/aws/d"
fails ls "$mnt/aws/d2"
same "$(logged 'warning job: remote aws: /aws/d cannot be listed: fault: list fails')" 1
same "$(logged 'cannot be listed')" 1
same "$(error_of aws)" "list d2/ 13"
same "$(error_of gcp)" ""
status | grep -q '^  aws .* failing$'
status | grep -q '^             [0-9]* s ago: list d2/: fault: list fails$'
# Another cause is another line, and what works again is healthy.
fault aws 'list:error=EIO/final'
fails ls "$mnt/aws/d"
same "$(logged 'cannot be listed')" 2
fault aws ''
sleep 0.1
ls "$mnt/aws/d" "$mnt/aws/d/e" "$mnt/aws/d2" >/dev/null
same "$(error_of aws)" ""
same "$(status | grep -c ' healthy$')" 4

fault aws 'get:error=EACCES/auth'
fails cat "$mnt/aws/d/e/x"
fails cat "$mnt/aws/d/e/x"
same "$(logged 'warning vfs: remote aws: /aws/d/e/x cannot be read: fault: get fails')" 1
same "$(logged 'cannot be read')" 1
same "$(error_of aws)" "get d/e/x 13"
fault aws ''
same "$(cat "$mnt/aws/d/e/x")" x
same "$(error_of aws)" ""

# Faults that are refused: what is allowed is said, and nothing in the log.
refused() { # STATUS TEXT REMOTE RULES
    local s=0
    fault "$3" "$4" >"$work/out" 2>&1 || s=$?
    same "$s" "$1"
    same "$(wc -l <"$work/out")" 1
    grep -qF -- "$2" "$work/out" || { cat "$work/out"; exit 1; }
    same "$(logged "fault rules of $3: '$4'")" 0
}
refused 2 "'wrong': no such operation; allowed: OPERATIONS[:WHEN]...:ACTION" aws 'wrong:error=EIO'
refused 2 "'get': says nothing to do; allowed: " aws get
refused 1 "there is no remote 'nocloud'" nocloud 'get:error=EIO'
refused 1 "has no fault layer" plain 'get:hang'
fault aws 'get:n=9999:error=EIO'
same "$(logged "fault rules of aws: 'get:n=9999:error=EIO'")" 1
fault aws ''

setfattr -n user.astra.tier -v ARCHIVE "$mnt/aws/d2/y"
settle
fails cat "$mnt/aws/d2/y"
fails cat "$mnt/aws/d2/y"
same "$(logged "warning vfs: /aws/d2/y is archived: reading it fails before 'astra restore /aws/d2/y'")" 1
unmount_it

# A disk that is nearly full is not an index that is.
mkdir "$work/small"
mount -t tmpfs -o size=64M none "$work/small"
state=$work/small/state
mount_it
"$astra" --mount "$mnt" doctor | grep -q "^ok *index *has room"
fallocate -l $(($(stat -f -c '%a*%S' "$work/small") - 8000000)) "$work/small/filler"
sleep 0.5
"$astra" --mount "$mnt" doctor >"$work/out" || true
grep -Eq "^error *index .*disk of $state is nearly full: 8 MB free; until it has 16.8 MB" "$work/out" ||
    { cat "$work/out"; exit 1; }
rm "$work/small/filler"
unmount_it
umount "$work/small"
