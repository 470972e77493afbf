#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The brakes on mistakes and bills: delete_guard with its undo, request_budget.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
a() { "$astra" --mount "$mnt" "$@"; }
objects() { find "$data" -path '*/.astra' -prune -o -type f -print | wc -l; }

# ---- 30 removals where 10 a minute are allowed
held() { a --json jobs | json '"\n".join("%s %s" % (j["id"], j["source"]) for j in d["jobs"] if j["held"])'; }
mount_it delete_guard=10,undo_window=1h
mkdir "$mnt/aws/d" "$mnt/aws/d/sub"
for i in $(seq 10); do echo "$i" >"$mnt/aws/d/$i"; done
for i in $(seq 11 30); do echo "$i" >"$mnt/aws/d/sub/$i"; done
for f in "$mnt"/aws/d/[0-9]* "$mnt"/aws/d/sub/*; do
    setfattr -n user.mine -v "$(basename "$f")" "$f"
done
settle
stat -c '%n %i' "$mnt"/aws/d/[0-9]* "$mnt"/aws/d/sub/* >"$work/inos"
same "$(objects)" 30
rm -rf "$mnt/aws/d"
[ ! -e "$mnt/aws/d" ]
for _ in $(seq 100); do [ "$(objects)" = 20 ] && break; sleep 0.05; done
sleep 0.5
same "$(objects)" 20
grep -q "more than 10 removals within a minute" "$work/log"
a jobs | grep -q "held by the delete guard"
same "$(held | wc -l)" 20
# Nobody waits for them: neither a sync, nor an unmount; they are held over a remount.
timeout 20 "$astra" --mount "$mnt" sync
start=$(date +%s)
unmount_it
[ $(($(date +%s) - start)) -lt 10 ]
mount_it delete_guard=10,undo_window=1h
sleep 0.5
same "$(objects)" 20
held >"$work/held"
same "$(wc -l <"$work/held")" 20
# A name that is used again has no undo: its object goes first.
again=$(sed -n '1s/^[0-9]* //p' "$work/held")
mkdir -p "$mnt/aws/d/sub"
echo new >"$mnt$again"
sync "$mnt$again"
same "$(cat "$(native aws "${again#/aws/}")")" new
same "$(held | wc -l)" 19
# One by its number, with all that it had.
id=$(sed -n '2s/ .*//p' "$work/held")
back=$(sed -n '2s/^[0-9]* //p' "$work/held")
a jobs cancel "$id"
for _ in $(seq 100); do [ -e "$mnt$back" ] && break; sleep 0.05; done
same "$(cat "$mnt$back")" "$(basename "$back")"
same "$(getfattr --absolute-names --only-values -n user.mine "$mnt$back")" "$(basename "$back")"
grep -qx "$mnt$back $(stat -c %i "$mnt$back")" "$work/inos"
# All others; one whose name has been taken since comes back beside it.
taken=$(sed -n '3s/^[0-9]* //p' "$work/held")
exec 5>"$mnt$taken"
a jobs cancel --held | grep -q "18 removals are taken back"
exec 5>&-
same "$(find "$mnt/aws/d" -type f | wc -l)" 21
same "$(cat "$mnt$taken".undeleted-*)" "$(basename "$taken")"
sed -n '4,$s/^[0-9]* //p' "$work/held" | while read -r f; do same "$(cat "$mnt$f")" "$(basename "$f")"; done
settle
same "$(objects)" 21
unmount_it
# The window ends: what was not taken back goes.
mount_it delete_guard=1,undo_window=2s
rm -r "$mnt/aws/d"
[ "$(objects)" -gt 5 ]
for _ in $(seq 300); do [ "$(objects)" = 0 ] && break; sleep 0.1; done
same "$(objects)" 0
settle
unmount_it

# ---- 12 requests a minute: the first files arrive, the others wait, and somebody is told
now=$(date +%S)
[ "${now#0}" -lt 45 ] || sleep $((61 - ${now#0})) # within one minute of the clock
mount_it request_budget=12/min+100000/day,metadata_ttl=1h
for i in $(seq 30); do echo "$i" >"$mnt/gcp/$i"; done
for _ in $(seq 100); do grep -q "request budget of this minute is used up" "$work/log" && break; sleep 0.1; done
same "$(grep -c "request budget of this minute is used up" "$work/log")" 1
same "$(a --json status | json 'd["budget"]["minute"]')" 12
[ "$(objects)" -lt 13 ]
# What is here can be used all the same.
same "$(cat "$mnt/gcp/30")" 30
stat "$mnt/gcp/1" >/dev/null
kill "$pid"; wait "$pid" || true; pid=
mount_it
settle
same "$(objects)" 30
unmount_it
if "$astrafs" -o "state=$state,request_budget=5/hour" "$mnt" 2>"$work/says"; then exit 1; fi
grep -q "'5/hour' is no budget; allowed: N/min, N/day, \$N/day" "$work/says"
