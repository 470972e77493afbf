#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What status and jobs show while something goes on: the same words in both, and in the manual.
. "$(dirname "$0")/lib.sh"
a() { "$astra" --mount "$mnt" "$@"; }
until_true() { for _ in $(seq 200); do "$@" && return 0; sleep 0.05; done; echo "never: $*"; exit 1; }
two_clouds 'max_requests = 1'
mount_it

# The engine's last pass is also one that somebody asked for, of all files and in earnest.
a status | grep -q "last pass -"
truncate -s 1000000000 "$mnt/aws/x.log"
a sync
a engine run --dry-run >"$work/out"
grep -q "^Files To Be Optimized: 1$" "$work/out"
a engine run /aws/x.log >/dev/null
a status | grep -q "last pass -"
truncate -s 1000000000 "$mnt/aws/y.log"
a sync
a engine run >"$work/out"
grep -q "^Files Optimized: 1$" "$work/out"
a status >"$work/out"
grep -q "last pass $(date +%Y)-.*; 2 files, 1 move (\$0.019 a month)" "$work/out"

# A directory that moves shows how far it is, to who waits for a clean mount, and for a sync.
for d in d e; do
    mkdir "$mnt/aws/$d"
    for i in $(seq 12); do echo "$i" >"$mnt/aws/$d/$i"; done
done
a sync
a debug fault aws 'get:delay=400'
shows() { # DIRECTORY VERB...
    mv "$mnt/aws/$1" "$mnt/gcp/"
    "$astra" --mount "$mnt" "${@:2}" 2>"$work/says"
    grep -Eq "^ *[0-9]+ %  [0-9]+ of 12 files, .* /aws/$1" "$work/says" || { cat "$work/says"; exit 1; }
}
shows d status --wait-clean
shows e sync

# Queued is what has not begun, waiting what has: in the list, and in the counts.
a debug fault aws 'put:error=EIO/retry'
echo one >"$mnt/aws/one"
waits() { a --json jobs | json 'any(j["state"] == "waiting" for j in d["jobs"])' | grep -q True; }
until_true waits
says() { a jobs | grep -Eq "upload +waiting +[0-9a-z ]+  /aws/one  \(try"; }
until_true says # it runs for a moment at each try
same "$(a --json jobs | json '[(j["source"], j["destination"]) for j in d["jobs"] if j["kind"] == "upload" and not j["ended"]]')" "[('/aws/one', '/aws/one')]"
mv "$mnt/aws/one" "$mnt/aws/two" # behind the upload
counts() { # state by state, and what status has
    a --json jobs >"$work/j"
    same "$(json '[sum(j["state"] == s for j in d["jobs"]) for s in ("queued", "waiting")] == [d["stat"]["queued"], d["stat"]["waiting"]]' <"$work/j")" True
    json 'd["stat"]["queued"], d["stat"]["live"] - d["stat"]["active"]' <"$work/j" | grep -qx "(1, 2)"
}
until_true counts
both() { a status | grep -q "^Jobs:  *2 live (1 queued, 0 running, 1 waiting; 0 parked), "; }
until_true both

# Who watches sees how each one ends.
a jobs watch >"$work/watch" &
watch=$!
sleep 1
a debug fault aws ''
a jobs retry "$(a --json jobs | json '[j["id"] for j in d["jobs"] if j["kind"] == "upload" and not j["ended"]][0]')" >/dev/null
wait $watch
grep -Eq "upload +waiting " "$work/watch"
same "$(grep -Ec "upload +done .*/aws/one" "$work/watch")" 1
same "$(grep -Ec "relocate +done .*/aws/one -> /aws/two" "$work/watch")" 1
same "$(a jobs watch)" "no jobs"
unmount_it
