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
cd /
unmount_it
