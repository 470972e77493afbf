#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the astra command says, to somebody who has not read its manual: figures of moves, and each
# way in which it says no.
. "$(dirname "$0")/lib.sh"
mount_it
a() { "$astra" --mount "$mnt" "$@"; }
has() { grep -qF -- "$1" "$work/out" || { echo "no '$1' in:"; cat "$work/out"; exit 1; }; }
says() { # STATUS TEXT COMMAND...
    local want=$1 text=$2 s=0
    shift 2
    "$@" >"$work/out" 2>&1 || s=$?
    same "$s" "$want"
    has "$text"
}

# A directory's figures are those of all that is in it.
mkdir -p "$mnt/aws/pile/deep"
head -c 1834000 /dev/urandom >"$work/bytes"
for i in $(seq 30); do head -c 20000 "$work/bytes" >"$mnt/aws/pile/$i"; done
for i in $(seq 5); do head -c 10000 "$work/bytes" >"$mnt/aws/pile/deep/$i"; done
a sync
says 0 "Directory: aws/pile (35 files, 0.65 MB)" a mv /aws/pile /gcp/
has "Files Transferred: 35"
has "AWS Storage Savings: \$0.000015/month"
has "GCP Storage Cost: \$0.000013/month"
a jobs >"$work/jobs"
grep -q "dirmove *done *35 of 35 files, 650 kB of 650 kB" "$work/jobs"
a --json mv /gcp/pile /azure/ >"$work/j"
same "$(json 'd["plan"]["files"], d["plan"]["size"]' <"$work/j")" "(35, 650000)"
same "$(json 'd["report"]["files"], d["report"]["size"], d["report"]["parts"]' <"$work/j")" \
    "(35, 650000, 35)"
same "$(json 'd["report"]["cost"]["storage_before"]' <"$work/j")" 0.000013
same "$(json 'd["report"]["cost"]["storage_after"]' <"$work/j")" 0.00001352
mkdir "$mnt/gcp/pin"
echo x >"$mnt/gcp/pin/x"
a sync
says 0 "Directory: gcp/pin (1 file, 2 bytes)" a mv /gcp/pin /azure/
has ", as of the last moves"
has "Files Transferred: 1"
has "Cost Analysis"
same "$(a --json mv /azure/pin /azure/pin2 | json 'd["plan"]')" "{'across': False}"
a jobs | grep -q "dirmove *done *1 of 1 file, 2 bytes of 2 bytes"
mkdir "$mnt/aws/new"
echo x >"$mnt/aws/new/x"
a sync
unmount_it
mount_it upload_delay=1h # y stays here
echo y >"$mnt/aws/new/y"
says 0 "Directory: aws/new (2 files, 4 bytes)" a mv /aws/new /gcp/
has "Files Transferred: 1"
has "Not moved with it: 1 file (in no cloud yet, or archived)"
unmount_it
mount_it

# What raises the bill never pays, however small.
says 0 "Net Savings: >-\$0.000001/month" a mv /azure/pin2 /aws/
has "Pay-back: never"
dd if=/dev/zero of="$mnt/azure/large" bs=1M count=0 seek=1000 2>/dev/null
a sync
a --json mv /azure/large /aws/ >"$work/j"
same "$(json 'd["report"]["cost"]["payback_months"]' <"$work/j")" None

# The tier of a directory is for what comes; the top has none.
mkdir "$mnt/aws/warm"
echo x >"$mnt/aws/warm/x"
a sync
says 0 "/aws/warm: what is made in it from now on goes to WARM; what is in it stays as it is" \
    a tier /aws/warm WARM
same "$(getfattr --absolute-names --only-values -n user.astra.tier "$mnt/aws/warm/x")" HOT
says 0 "/aws/warm: what is made in it from now on is the engine's; what is in it stays as it is" \
    a tier /aws/warm AUTO
says 1 "nothing is made in / itself" a tier / HOT
says 1 "nothing is made in / itself" a tier "$mnt" HOT
says 0 "/aws/warm/x: in WARM, and stays there" a tier /aws/warm/x WARM
same "$(a --json tier /aws/warm COLD | json 'd["kind"], "job" in d')" "('dir', False)"

# A value is missing, or is none; a switch is not known.
says 2 "astra sync: --timeout needs a value" a sync --timeout
says 2 "astra sync: --timeout needs a value" a sync --timeout --json
says 2 "astra status: --timeout needs a value" a status --timeout
says 2 "astra status: --timeout is for --wait-clean" a status --timeout 5s
says 2 "astra jobs: --timeout needs a value" a jobs wait --timeout
says 2 "'soon' is not a duration" a jobs wait --timeout soon
says 2 "unknown switch '--timeout'" a jobs cancel --timeout 5s 1
says 2 "astra age-file: --filename needs a value" a age-file --days 3 --filename
says 2 "astra age-file: --filename needs a value" a age-file --filename --days 3
says 2 "astra db: --state needs a value" a db check --state
says 2 "astra: --mount needs a value" "$astra" --mount
says 2 "astra: --mount needs a value" "$astra" status --mount
says 2 "astra: unknown switch '--statu'" "$astra" --statu
says 2 "'99999999999' is not a whole number from 0 to 36500" a age-file --filename x --days 99999999999
says 2 "'0' is not a whole number from 1 to 1000000" a simulate-access --filename x --count 0
says 2 "'x' is not a whole number" a age-file --filename x --days x
says 2 "'soon' is not a duration" a restore /aws/warm/x soon
says 2 "'9999d' is not a duration" a restore /aws/warm/x 9999d
says 2 "'0' is not the number of a job" a jobs wait 0
says 2 "'99999999999999999999' is not the number" a jobs cancel 99999999999999999999

# Help, in whatever way it is asked for.
says 0 "astra " "$astra" -V
"$astra" --help >"$work/help"
says 0 "Verbs:" "$astra" help
same "$(cat "$work/out")" "$(cat "$work/help")"
says 0 "usage: astra [--mount DIR] [--json] tier FILE" "$astra" help tier
says 2 "unknown verb 'tie'; did you mean 'tier'?" "$astra" help tie

# Places that are not in the mount.
says 1 "astra tier: /etc/passwd is not in the mount at $mnt" a tier /etc/passwd HOT
cd /etc
says 1 "astra ls: ./passwd is not in the mount at $mnt" a ls ./passwd
same "$(a ls | tr '\n' ' ')" "aws/ azure/ gcp/ "
cd "$mnt/aws/warm"
same "$(a ls)" x
same "$(a ls ..)" "$(a ls /aws)"
cd "$mnt"
same "$(a ls | tr '\n' ' ')" "aws/ azure/ gcp/ "
cd /
says 1 "there is no remote 'nocloud' in the mount at $mnt" a ls /nocloud/x
says 1 "there is no remote 'nocloud' in the mount" a cost /nocloud
says 1 "there is no remote 'nocloud' in the mount" a sync /nocloud
says 1 "there is no remote 'nocloud' in the mount" a engine run --dry-run /nocloud

echo x >"$mnt/gcp/plain"
# Moves that cannot be are refused before anything else is said.
refused() { # TEXT SOURCE DESTINATION
    says 1 "$1" a mv "$2" "$3"
    same "$(wc -l <"$work/out")" 1
}
refused "/aws/warm/x is /aws/warm/x already" /aws/warm/x "$mnt/aws/warm/x"
refused "/aws/warm/x is /aws/warm/x already" /aws/warm/x /aws/warm/
refused "/aws/warm cannot be moved into itself, as /aws/warm/warm" /aws/warm /aws/warm
refused "there is no remote 'nocloud' in the mount" /aws/warm/x /nocloud/
refused "there is no remote 'nocloud' in the mount" /aws/warm/x /nocloud
refused "there is no remote 'x'" /aws/warm/x /
refused "/aws cannot be moved, only what is in it: it is a remote" /aws /gcp/aws
refused "/ cannot be moved" / /gcp/
refused "No such file" /aws/none /gcp/
refused "/aws/warm/x -> /gcp/nodir/x: No such file" /aws/warm/x /gcp/nodir/x
refused "/aws/warm/x -> /gcp/plain/x: Not a directory" /aws/warm/x /gcp/plain/x
mkdir -p "$mnt/gcp/full/warm/x" "$mnt/gcp/full/x"
refused "/aws/warm -> /gcp/full/warm: Directory not empty" /aws/warm /gcp/full
refused "/aws/warm/x -> /gcp/full/x: Is a directory" /aws/warm/x /gcp/full

# The last ten jobs that ended, or all; a header for people alone.
for i in $(seq 15); do echo "$i" >"$mnt/aws/warm/$i"; done
a sync
same "$(a jobs | wc -l)" 10
same "$(a --json jobs list | json 'len(d["jobs"])')" 10
[ "$(a jobs --all | wc -l)" -gt 14 ]
same "$(a jobs list --all | wc -l)" "$(a jobs --all | wc -l)"
says 2 "'--all' is too much" a jobs watch --all
if a jobs | grep -q "KIND"; then echo "a header in a pipe"; exit 1; fi
script -qec "'$astra' --mount '$mnt' jobs" /dev/null >"$work/out"
has "ID  KIND       STATE        PROGRESS"
says 1 "there is no job 99999, or it ended long ago" a jobs wait 99999
last=$(a --json jobs | json 'd["jobs"][0]["id"]')
a jobs wait --timeout 5s "$last"

# What somebody cancels has not failed, and is no error in the log.
dd if=/dev/urandom of="$mnt/aws/brake" bs=1M count=40 status=none
a sync
unmount_it
printf 'data = %s\n[remote aws]\nbucket = astra-aws\nbandwidth = 1M\n[remote gcp]\nprovider = gcp\nbucket = astra-gcp\n[remote azure]\nprovider = azure\nbucket = astra-azure\nfault =\n' "$data" >"$work/c"
ASTRA_CONF=$work/c
mount_it
mv "$mnt/aws/brake" "$mnt/gcp/" &
mv=$!
id=
for _ in $(seq 100); do
    id=$(a --json jobs | json '"".join(str(j["id"]) for j in d["jobs"] if j["kind"] == "relocate")')
    [ -n "$id" ] && break
    sleep 0.05
done
says 5 "astra jobs: not all of them had ended when the time was over" a jobs wait --timeout 1s "$id"
says 5 "not all of them had ended" a jobs wait --timeout=1s
says 0 "job $id is cancelled" a jobs cancel "$id"
says 1 "1 failed, or cancelled" a jobs wait "$id"
wait $mv || true
same "$(a --json status | json 'd["jobs"]["failed"], d["jobs"]["cancelled"]')" "(0, 1)"
says 0 "0 failed, 1 cancelled" a status
grep "relocate $id " "$work/log" | grep -q " notice job: .*cancelled"
if grep -q " error " "$work/log"; then echo "a cancel is an error"; exit 1; fi
# What fails before anybody can wait for it has failed.
echo cold >"$mnt/azure/cold"
a sync
a tier /azure/cold ARCHIVE >/dev/null
a debug fault azure 'restore:error=EACCES/final'
for _ in $(seq 5); do
    says 1 "astra restore: it failed: fault: restore fails" a restore /azure/cold
done
grep -q " error job: restore [0-9]* '/azure/cold': fault: restore fails" "$work/log"
# What it waits for as well does not hide that.
mv "$mnt/azure/cold" "$mnt/azure/colder"
for _ in $(seq 5); do says 1 "astra restore: it failed: fault: restore fails" a restore /azure/colder; done
grep -q " error job: restore [0-9]* '/azure/colder' (object 'cold'): fault: restore fails" "$work/log"
rm "$mnt/azure/colder"
a sync
# One is one.
says 0 "/aws/warm/1 has 1 access more" a simulate-access --filename /aws/warm/1 --count 1
says 0 "/aws/warm/1 is 1 day older now" a age-file --filename /aws/warm/1 --days 1
rm "$mnt/gcp/new/y"
for _ in $(seq 100); do
    a ls -l /gcp >"$work/out"
    grep -q " 1 file " "$work/out" && break
    sleep 0.05
done
has " 1 file "
echo x >"$mnt/gcp/once"
a sync
says 0 " 1 time " a ls -l /gcp/once
printf x >"$mnt/gcp/once"
says 0 " 1 byte " a ls -l /gcp/once
# What is in a directory that was not listed yet nobody knows.
mkdir -p "$(native gcp far)"
echo x >"$(native gcp far/x)"
setfattr -n user.astra.refresh -v 1 "$mnt/gcp"
a ls -l /gcp | grep -q "^  *-  *- files .* far/\$"
same "$(a --json ls -l /gcp | json '[(i["files"], i["bytes"]) for i in d["items"] if i["name"] == "far"]')" "[(None, None)]"
ls "$mnt/gcp/far" >"$work/out"
has x
for _ in $(seq 100); do
    a ls -l /gcp >"$work/out"
    grep -q " 2 bytes  *1 file .* far/\$" "$work/out" && break
    sleep 0.05
done
grep -q " 2 bytes  *1 file .* far/\$" "$work/out"
unmount_it
