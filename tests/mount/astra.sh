#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The astra command against a mount: every verb, its exit status, its JSON; and how astrafs says no.
. "$(dirname "$0")/lib.sh"
: >"$work/err"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
a() { "$astra" --mount "$mnt" "$@"; }
status_of() { # COMMAND... -> its exit status
    local s=0
    "$@" >"$work/out" 2>&1 || s=$?
    echo $s
}

# Nothing is mounted.
same "$(status_of "$astra" status)" 3
same "$(status_of "$astra" statu)" 2
grep -q "did you mean 'status'" "$work/out"
same "$(status_of "$astra" tier x)" 2
for verb in $("$astra" --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p'); do
    "$astra" "$verb" --help | grep -q "^usage: astra .*$verb"
done

# One clear line for each way in which a mount cannot be.
says() { # STATUS PATTERN COMMAND...
    local want=$1 pattern=$2
    shift 2
    same "$(status_of "$@")" "$want"
    same "$(wc -l <"$work/out")" 1
    grep -q -- "$pattern" "$work/out" || { echo "no '$pattern' in:"; cat "$work/out"; exit 1; }
}
says 1 "No such file" "$astrafs" "$work/missing"
touch "$work/file"
says 1 "not a directory" "$astrafs" "$work/file"
printf 'cache_siz = 1G\n' >"$work/c"
says 2 "$work/c:1: cache_siz: unknown key; did you mean 'cache_size'" "$astrafs" -c "$work/c" "$mnt"
printf '[remote x]\ntype = lokal\n' >"$work/c"
says 2 "$work/c:2" "$astrafs" -c "$work/c" -o "state=$state" "$mnt"

# In the background: usable when the command returns.
"$astrafs" -o "state=$state,data=$data,log_file=$work/log,$opts" "$mnt"
same "$(ls "$mnt" | tr '\n' ' ')" "aws azure gcp "
says 1 "in use" "$astrafs" "$mnt"
mkdir "$work/mnt2"
says 1 "in use by another astrafs" "$astrafs" -o "state=$state,lock_wait=100ms" "$work/mnt2"

same "$("$astra" --json status | json 'd["mountpoint"]')" "$mnt"
a doctor | grep -q "^ok .*configuration .*the configuration is in order"
a doctor | grep -q "^ok *remote gcp *gcp astra-gcp (embedded, in $data/gcp): answers"
a init-cloud | grep -q "astra-aws"

# The ageing demonstration: the same four files, by bare name and by path.
truncate -s 10000000000 "$mnt/aws/backup_archive.zip"
truncate -s 2500000000 "$mnt/aws/customer_data.csv"
truncate -s 500000000 "$mnt/aws/monthly_report_2024.pdf"
truncate -s 100000000 "$mnt/aws/temp_logs.log"
a sync
same "$(a --json status | json 'd["clean"]')" True
a age-file --filename backup_archive.zip --days 100
a age-file --filename=/aws/temp_logs.log --days=200
(cd "$mnt/aws" && a simulate-access --filename customer_data.csv --count 14)
a engine run --dry-run | grep -q "Migrations Planned: 3"
same "$(a --json engine run --dry-run /aws | json 'len(d["items"])')" 4
a run-engine >"$work/run.txt"
grep -q "Migrations Performed: 3" "$work/run.txt"
grep -q 'Cost impact: $0.230 -> $0.040/month (82.6% savings)' "$work/run.txt"
tiers() { a --json ls /aws | json '" ".join(i["tier"] for i in d["items"])'; }
same "$(tiers)" "COLD HOT WARM ARCHIVE"
a show-dashboard | grep -q "Monthly Savings: \$0.197 (65.5% reduction)"
same "$(a --json cost | json 'd["files"], d["bytes"]')" "(4, 13100000000)"
a explain customer_data.csv | grep -q "Keep in HOT tier (optimal)"
a ls -l /aws | grep -q "DEEP_ARCHIVE .*100 MB .*\$0.0001 .*archived .*temp_logs.log"
same "$(a ls "$mnt" | tr '\n' ' ')" "aws/ azure/ gcp/ "

# Pins, moves, restores.
a tier customer_data.csv cold
same "$(tiers)" "COLD COLD WARM ARCHIVE"
a tier /aws/customer_data.csv AUTO
a restore temp_logs.log 90s >"$work/out"
until=$(getfattr --only-values -n user.astra.restored_until "$mnt/aws/temp_logs.log" 2>/dev/null)
same "$(cat "$work/out")" "/aws/temp_logs.log: can be read until $(date -d "$until" '+%Y-%m-%d %H:%M') (clouds count whole days)"
[ "$(date -d "$until" +%s)" -gt $(($(date +%s) + 86000)) ]
a restore temp_logs.log 1d | grep -q "can be read until [-0-9: ]*$"
same "$(dd if="$mnt/aws/temp_logs.log" bs=1 count=1 status=none | wc -c)" 1
echo one >"$mnt/aws/one"
a mv /aws/one /gcp/
same "$(cat "$mnt/gcp/one")" one
# What is said of a file that no cloud has is so when it is said, though nothing had it uploaded yet.
exec 7>"$mnt/aws/held"
echo held >&7
a mv /aws/held /gcp/ >"$work/out"
grep -q "has been uploaded to its new place" "$work/out"
same "$(cat "$(native gcp held)")" held
exec 7>&-
rm "$mnt/gcp/held"
same "$(status_of a mv /aws/one /gcp/two)" 1
a jobs wait
a jobs >/dev/null
a jobs watch | grep -q "no jobs"
same "$(status_of a jobs cancel 999999)" 1
same "$(status_of a jobs cancel x)" 2

# A bare name that is not unique, or of nothing.
echo two >"$mnt/azure/one"
same "$(status_of a explain one)" 4
same "$(status_of a explain nothing-of-this-name)" 1
same "$(status_of a age-file --filename one)" 2

a db check | grep -q "in order"
a db dump >"$work/dump"
# The state of a mount that runs is in use, which is said soon, and by whom.
start=$(date +%s)
for verb in check dump load; do
    same "$(status_of "$astra" db $verb --state "$state")" 1
    grep -q "in use by another astrafs (process $(a --json status | json 'd["pid"]')): end that first" "$work/out"
done
[ $(($(date +%s) - start)) -lt 15 ]
same "$(status_of a db rebuild)" 2

# A mount may be named by a relative path, or through symbolic links.
ln -s mnt "$work/link"
ln -s "$work/link" "$work/link2"
for name in mnt ./mnt/ link link2/ "../${work##*/}/link2" "$work/link2"; do
    cd "$work"
    same "$("$astra" --mount "$name" --json status | json 'd["mountpoint"]')" "$mnt"
    same "$("$astra" --mount "$name" db check)" "the index is in order"
    "$astra" --mount "$name" db dump >"$work/out"
    grep -q "temp_logs.log" "$work/out"
    same "$(status_of "$astra" --mount "$name" db rebuild)" 2
    same "$(status_of "$astra" --mount "$name" db load)" 2
    cd /
done
same "$(status_of "$astra" --mount "$work/nowhere" status)" 3

# The name of a remote is that remote, wherever one is.
cd /etc
same "$(a ls gcp)" "$(a ls /gcp)"
same "$(a --json cost aws | json 'd["files"]')" 4
a engine run --dry-run aws >"$work/out"
a sync azure
a tier azure AUTO >"$work/out"
echo moved >"$mnt/aws/moved"
a mv /aws/moved azure
same "$(cat "$mnt/azure/moved")" moved
rm "$mnt/azure/moved"
cd /

# Several mounts: --mount chooses, or where one is.
"$astrafs" -o "state=$work/state2,log_file=$work/log2" "$work/mnt2"
same "$(status_of "$astra" status)" 4
same "$(cd "$mnt" && "$astra" --json status | json 'd["mountpoint"]')" "$mnt"
same "$("$astra" ls "$work/mnt2/aws")" ""
"$astra" --mount "$work/mnt2" umount
same "$(status_of "$astra" --mount "$work/mnt2" status)" 3

# It ends when the verb returns: the state is free and clean at once.
a umount
! mountpoint -q "$mnt"
"$astrafs" --check -o "state=$state,lock_wait=0s" | grep -q "in order"
"$astra" db dump --state "$state" >/dev/null
"$astra" db load --state "$work/state3" <"$work/dump"
"$astra" db check --state "$work/state3" | grep -q "in order"
same "$("$astra" --json db check --state "$work/state3" | json 'd["faults"], d["lines"]')" \
    "(0, ['the index is in order'])"
same "$(status_of "$astra" db check --state "$work/none")" 1

# No state is made where none was: by another name, and where the mount's would be if it had not been
# told where.
export XDG_STATE_HOME=$work/usual
mkdir "$work/plain"
for verb in check dump rebuild load; do
    for where in "--mount $mnt db $verb" "db $verb --state $work/none" "db $verb --state $work/plain"; do
        [ "$verb" != load ] || [ "${where%db*}" != "" ] || continue
        s=0
        # shellcheck disable=SC2086
        "$astra" $where <"$work/dump" >"$work/out" 2>"$work/says" || s=$?
        same "$s" 1
        grep -q "no state directory at /.*: give the one of the mount" "$work/says"
        same "$(ls -A "$work/plain")" ""
        [ ! -e "$work/usual" ]
        [ ! -e "$work/none" ]
    done
done
unset XDG_STATE_HOME

# The index made anew from the clouds.
printf 'data = %s\n' "$data" >"$work/c"
"$astrafs" --rebuild -c "$work/c" -o "state=$state" 2>"$work/out"
grep -q "6 files" "$work/out"
grep -q "owner, times and extended attributes of directories are in no cloud" "$work/out"
printf 'state = %s\n' "$state" >>"$work/c"
"$astra" db check -c "$work/c" | grep -q "in order"
"$astrafs" -o "state=$state,data=$data,log_file=$work/log,$opts" "$mnt"
same "$(tiers)" "COLD COLD WARM ARCHIVE"

# A crash leaves a dead mount, which the next one cleans.
kill -9 "$(a --json status | json 'd["pid"]')"
"$astrafs" -o "state=$state,data=$data,log_file=$work/log,$opts" "$mnt"
same "$(cat "$mnt/gcp/one")" one
"$astra" umount
