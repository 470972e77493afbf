#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The worked examples, through the mount and the astra command, to the printed digit. Files that
# were never accessed are objects that somebody else put into the cloud; all are sparse.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
a() { "$astra" --mount "$mnt" "$@"; }
get() { getfattr --absolute-names --only-values -n "user.astra.$1" "$2"; }
object() { truncate -s "$2" "$(native aws "$1")"; } # NAME BYTES
tiers() { a --json ls /aws | json '" ".join(i["name"] + "=" + i["tier"] for i in d["items"])'; }
has() { # FILE LINES...: these lines, in this order, whatever lies between
    python3 - "$@" <<'P'
import sys
lines = [l.strip() for l in open(sys.argv[1])]
at = 0
for want in sys.argv[2:]:
    if want not in lines[at:]:
        sys.exit("not there, or not in this order: '%s'\n%s" % (want, "\n".join(lines)))
    at = lines.index(want, at) + 1
P
}
start() { # another state and other clouds
    data=$work/data$1 state=$work/state$1
    mount_it metadata_ttl=0s
}

# ---- 1. one backup: 15 GB, 120 days, 2 accesses
start 1
object backup_database_2023.zip 15000000000
ls "$mnt/aws" >/dev/null
a simulate-access --filename backup_database_2023.zip --count 2 >/dev/null
a age-file --filename backup_database_2023.zip --days 120 >/dev/null
f=$mnt/aws/backup_database_2023.zip
same "$(get cost "$f") $(get cost_if.COLD "$f") $(get savings "$f")" "0.345 0.06 0.285"
same "$(get tier_expected "$f"), $(get recommendation "$f")" "COLD, Migrate to GLACIER"
a run-engine >"$work/out"
has "$work/out" "aws/backup_database_2023.zip" "Cloud: AWS" \
    "Current Tier: HOT (STANDARD) - \$0.345/month" \
    "Access Stats: 2 accesses, 120 days since last access" "File Size: 15 GB" \
    "Age factor: 120 days -> Suggests COLD" \
    "Access count: 2 (0 in the last 30 days) -> Low usage confirms COLD" \
    "Cost impact: \$0.345 -> \$0.060/month (82.6% savings)" \
    "Decision: Migrate to GLACIER" "Monthly savings: \$0.285" \
    "Total Savings: \$0.285/month (82.6% reduction)"
same "$(get storage_class "$f") $(get tier "$f")" "GLACIER COLD"
unmount_it

# ---- 2. the four files
start 2
object backup_archive.zip 10000000000
object customer_data.csv 2500000000
object monthly_report_2024.pdf 500000000
object temp_logs.log 100000000
ls "$mnt/aws" >/dev/null
a simulate-access --filename customer_data.csv --count 15 >/dev/null
a simulate-access --filename monthly_report_2024.pdf --count 3 >/dev/null
for age in backup_archive.zip:120 customer_data.csv:2 monthly_report_2024.pdf:45 temp_logs.log:220; do
    a age-file --filename "${age%:*}" --days "${age#*:}" >/dev/null
done
a --json run-engine --dry-run | json '[(i["path"], i["cost"], i["cost_after"], i["saving"],
    i["recommendation"], i["action"], i["accesses"], i["age_days"]) for i in d["items"]]' >"$work/out"
same "$(cat "$work/out")" "[('aws/backup_archive.zip', '0.23', '0.04', '0.19', 'COLD', 'move', 0, 120), \
('aws/customer_data.csv', '0.0575', '0.0575', '0', 'HOT', 'keep', 15, 2), \
('aws/monthly_report_2024.pdf', '0.0115', '0.00625', '0.00525', 'WARM', 'move', 3, 45), \
('aws/temp_logs.log', '0.0023', '0.000099', '0.002201', 'ARCHIVE', 'move', 0, 220)]"
a run-engine >"$work/out"
has "$work/out" "aws/backup_archive.zip" "Current Tier: HOT (STANDARD) - \$0.230/month" \
    "Access Stats: 0 accesses, 120 days since creation" "File Size: 10 GB" \
    "Age factor: 120 days -> Suggests COLD" "Access count: 0 -> Low usage confirms COLD" \
    'Filename heuristic: "*archive*" -> COLD tier optimal (rarely accessed archives)' \
    "Cost impact: \$0.230 -> \$0.040/month (82.6% savings)" "Decision: Migrate to GLACIER" \
    "Monthly savings: \$0.190"
has "$work/out" "aws/customer_data.csv" "Current Tier: HOT (STANDARD) - \$0.058/month" \
    "Access Stats: 15 accesses, 2 days since last access" "File Size: 2.5 GB" \
    "Access count: 15 -> High usage detected" "Recent access: 2 days ago -> Active file" \
    'Business critical pattern detected: "customer_*"' "Decision: Keep in HOT tier (optimal)" \
    "No changes needed"
has "$work/out" "aws/monthly_report_2024.pdf" "Current Tier: HOT (STANDARD) - \$0.0115/month" \
    "Access Stats: 3 accesses, 45 days since last access" "File Size: 0.5 GB" \
    "Cost impact: \$0.0115 -> \$0.006/month (45.7% savings)" "Decision: Migrate to STANDARD_IA"
has "$work/out" "aws/temp_logs.log" "Current Tier: HOT (STANDARD) - \$0.0023/month" \
    "Access Stats: 0 accesses, 220 days since creation" "File Size: 0.1 GB" \
    "Age factor: 220 days -> Suggests ARCHIVE" "Decision: Migrate to DEEP_ARCHIVE" \
    "Monthly savings: \$0.0022"
has "$work/out" "TIERING ENGINE SUMMARY" "Files Analyzed: 4" "Migrations Performed: 3" \
    "Files Optimized: 3" "Files Already Optimal: 1" "Previous Monthly Cost: \$0.301" \
    "New Monthly Cost: \$0.104" "Total Savings: \$0.197/month (65.5% reduction)" \
    "Annual Savings: \$2.37"
grep -Eq '^Execution Time: [0-9]+\.[0-9] seconds$' "$work/out"
a show-dashboard >"$work/out"
has "$work/out" "Total Files: 4" "Total Size: 13.1 GB" "Total Accesses: 18" \
    "HOT (STANDARD):           1 file (2.5 GB) - \$0.058/month" \
    "WARM (STANDARD_IA):       1 file (0.5 GB) - \$0.006/month" \
    "COLD (GLACIER):           1 file (10 GB) - \$0.040/month" \
    "ARCHIVE (DEEP_ARCHIVE):   1 file (0.1 GB) - \$0.0001/month" \
    "Total Monthly Cost: \$0.104 (vs \$0.301 in all-HOT)" \
    "Monthly Savings: \$0.197 (65.5% reduction)" \
    "Files in archive tiers: 2 files (10.1 GB)"
same "$(a --json cost | json 'd["cost_all_hot"], d["cost"], d["saving_all_hot"]')" \
    "('0.3013', '0.103849', '0.197451')"
unmount_it

# ---- 3. the same four, made through the mount, age
start 3
for f in backup_archive.zip:10000000000 customer_data.csv:2500000000 \
    monthly_report_2024.pdf:500000000 temp_logs.log:100000000; do
    truncate -s "${f#*:}" "$mnt/aws/${f%:*}"
done
a sync
same "$(tiers)" "backup_archive.zip=HOT customer_data.csv=HOT monthly_report_2024.pdf=HOT temp_logs.log=HOT"
a age-file --filename backup_archive.zip --days 100 >/dev/null
a age-file --filename temp_logs.log --days 200 >/dev/null
a run-engine >"$work/out"
same "$(tiers)" "backup_archive.zip=COLD customer_data.csv=HOT monthly_report_2024.pdf=WARM temp_logs.log=ARCHIVE"
has "$work/out" "Files Analyzed: 4" "Migrations Performed: 3" "Files Optimized: 3" \
    "Files Already Optimal: 1"
unmount_it

# ---- 4. ingest, tier, migrate; on a terminal the migration draws a bar
start 4
a ingest-sample >"$work/out"
has "$work/out" "5 files, 25 GB in all, are in /aws"
same "$(a --json cost /aws | json 'd["files"], d["bytes"], d["cost"]')" "(5, 25000000000, '0.575')"
[ "$(du -sm "$data" | cut -f1)" -lt 50 ]
a run-engine >"$work/out"
same "$(tiers)" "application_server.log=COLD backup_database_2024.zip=WARM backup_media_2024.tar=WARM \
customer_data.csv=HOT transaction_history.csv=HOT"
has "$work/out" "Files Analyzed: 5" "Migrations Performed: 3" "Previous Monthly Cost: \$0.575" \
    "New Monthly Cost: \$0.340" "Total Savings: \$0.236/month (41.0% reduction)"
a ls -l /aws | grep -q '^WARM .*STANDARD_IA .*7.00 GB .*\$0.088 .*settled .*backup_media_2024.tar$'
python3 - "$astra" "$mnt" >"$work/tty" <<'P'
import os, pty, sys
status = pty.spawn([sys.argv[1], "--mount", sys.argv[2], "mv", "backup_media_2024.tar", "/gcp/"])
sys.exit(os.waitstatus_to_exitcode(status))
P
grep -q '\[=* *>* *\] *[0-9]* %  .* of 7.00 GB' "$work/tty"
grep -q "MIGRATION SUCCESSFUL" "$work/tty"
same "$(get cloud "$mnt/gcp/backup_media_2024.tar") $(get tier "$mnt/gcp/backup_media_2024.tar")" "gcp WARM"
same "$(get storage_class "$mnt/gcp/backup_media_2024.tar")" NEARLINE
[ -f "$(native gcp backup_media_2024.tar)" ]
[ ! -e "$(native aws backup_media_2024.tar)" ]
unmount_it

# ---- 5. a migration's report: here with 1.5 GB, a tenth of the example's
cat >"$work/c" <<'C'
[remote aws]
provider = aws
bucket = astra-aws
[remote gcp]
provider = gcp
bucket = astra-gcp
fault = part_put:n=7:error=EIO
[policy]
prices = list
[prices list]
aws.egress = 0.02
C
"$astrafs" -c "$work/c" -o "state=$work/state5,data=$work/data5,log_file=$work/log,$opts" "$mnt"
truncate -s 1500000000 "$mnt/aws/backup_database.zip"
a sync
a mv /aws/backup_database.zip /gcp/ >"$work/out" 2>"$work/progress"
has "$work/out" "CROSS-CLOUD MIGRATION" "Source: AWS (us-east-1)" "Destination: GCP (us-central1)" \
    "File: aws/backup_database.zip (1.5 GB)" "Pre-Migration Analysis:" "Source exists: yes" \
    "Destination accessible: yes" "Estimated transfer time: not known" "Transfer complete" \
    "Integrity verified (CRC-32C match)" "Source cleanup completed" "Migration Statistics:" \
    "Chunks Transferred: 287 of 5120 KiB" "Retries: 1" "Success Rate: 99.7%" "Cost Analysis:" \
    "Transfer Cost: \$0.03 (requests \$0.00, retrieval \$0.00, egress \$0.03, early removal \$0.00)" \
    "AWS Storage Savings: \$0.035/month" "GCP Storage Cost: \$0.030/month" \
    "Net Savings: \$0.0045/month" "Pay-back: after 1 month of AWS's bill, 7 months net" \
    "MIGRATION SUCCESSFUL"
grep -Eq '^   Transfer Time: [0-9]+\.[0-9] seconds$' "$work/out"
grep -Eq '^   Average Speed: [0-9.]+ [MG]B/s$' "$work/out"
# The next one has an estimate.
truncate -s 150000000 "$mnt/aws/next"
a sync
a mv /aws/next /gcp/ 2>/dev/null >"$work/out"
grep -Eq '^   Estimated transfer time: about [0-9]+\.[0-9] seconds$' "$work/out"
# Checks that fail stop it before it begins.
truncate -s 1000 "$mnt/aws/late"
a sync
a tier late ARCHIVE >/dev/null
if a mv /aws/late /gcp/ >"$work/out" 2>"$work/says"; then echo "an archived file was moved"; exit 1; fi
grep -q "Source exists: yes, but DEEP_ARCHIVE is archived: restore it first" "$work/out"
grep -q "not begun: the source cannot be read" "$work/says"
"$astra" --mount "$mnt" debug fault gcp 'list:error=EIO'
truncate -s 1000 "$mnt/aws/later"
a sync
if a mv /aws/later /gcp/ >"$work/out" 2>"$work/says"; then echo "moved to a dead cloud"; exit 1; fi
grep -q "Destination accessible: no, " "$work/out"
[ -e "$mnt/aws/later" ]
"$astra" --mount "$mnt" debug fault gcp ''
# The examples of the manual work as they stand there.
here=$(realpath "$(dirname "$0")")
cd "$mnt"
sed -n '/^.SH EXAMPLES/,/^.SH "SEE/{/^astra /{s/\\-/-/g;s/ | jq .$//;p}}' "$here/../../docs/man/astra.1" >"$work/examples"
[ "$(wc -l <"$work/examples")" -gt 5 ]
while read -r example; do
    PATH=$build:$PATH sh -ec "$example" </dev/null >"$work/out" 2>&1 || { echo "$example"; cat "$work/out"; exit 1; }
done <"$work/examples"
cd /
"$astra" --mount "$mnt" umount
