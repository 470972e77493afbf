#!/usr/bin/env bash
# Tiers as attributes, the engine's demo of the brief, archived objects.
. "$(dirname "$0")/lib.sh"
mount_it
cd "$mnt/aws"
echo data >f; settle
setfattr -n user.astra.tier -v COLD f
settle
same "$(getfattr --only-values -n user.astra.storage_class f)" GLACIER
if setfattr -n user.astra.tier -v TEPID f 2>/dev/null; then echo "a bad tier was taken"; exit 1; fi
truncate -s 10000000000 backup_archive.zip
truncate -s 2500000000 customer_data.csv
truncate -s 500000000 monthly_report_2024.pdf
truncate -s 100000000 temp_logs.log
rm f
settle
"$astra" --mount "$mnt" age-file --filename backup_archive.zip --days 100
"$astra" --mount "$mnt" age-file --filename temp_logs.log --days 200
"$astra" --mount "$mnt" run-engine >"$work/engine"
settle
cat "$work/engine"
same "$(getfattr --only-values -n user.astra.tier backup_archive.zip)" COLD
same "$(getfattr --only-values -n user.astra.tier temp_logs.log)" ARCHIVE
same "$(getfattr --only-values -n user.astra.tier monthly_report_2024.pdf)" WARM
same "$(getfattr --only-values -n user.astra.tier customer_data.csv)" HOT
grep -q '\$0.230' "$work/engine"
grep -q '82.6' "$work/engine"
# a renamed directory with an archived file: the rest follows, sync says what it leaves out
mkdir d
echo cold >d/x; echo warm >d/y
settle
setfattr -n user.astra.tier -v ARCHIVE d/x
settle
mv d e
for _ in $(seq 100); do [ ! -e "$(native aws e/y)" ] || [ -e "$(native aws d/y)" ] || break; sleep 0.1; done
same "$(cat "$(native aws e/y)")" warm
[ -e "$(native aws d/x)" ]
same "$(stat -c %s e/x)" 5
status=0
timeout 20 "$astra" --mount "$mnt" sync --timeout 15s e 2>"$work/says" || status=$?
same "$status" 1
grep -q "not everything has its key in the clouds yet: waiting for restore of /aws/e/x (archived); 'astra restore'" "$work/says"
timeout 20 sync e
"$astra" --mount "$mnt" sync --timeout soon 2>/dev/null && exit 1
"$astra" --mount "$mnt" sync /aws/e/y
"$astra" --mount "$mnt" restore e/x >/dev/null
same "$(cat e/x)" cold
"$astra" --mount "$mnt" jobs | grep -q "/aws/e/x is restored and can be read: its object follows at 20"
rm -r e
settle
# an order for a file that is not in the cloud yet is carried out behind its upload, without more ado
echo new >fresh
"$astra" --mount "$mnt" tier fresh ARCHIVE >"$work/says"
grep -q "goes to ARCHIVE when it is uploaded" "$work/says"
settle
same "$(getfattr --only-values -n user.astra.state fresh)" archived
# but not while somebody has it open: what he writes then goes up as well
exec 7>open
echo one >&7
setfattr -n user.astra.tier -v ARCHIVE open
sync open
settle
same "$(getfattr --only-values -n user.astra.state open)" settled
echo two >&7
exec 7>&-
settle
same "$(getfattr --only-values -n user.astra.state open)" archived
same "$(cat "$(native aws open)")" "one
two"
cd /
unmount_it
