#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The engine in the background: its modes, its hours, and the cost guard. And jobs as one steers them.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
a() { "$astra" --mount "$mnt" "$@"; }
tier() { getfattr --absolute-names --only-values -n user.astra.tier "$1"; }
up() { "$astrafs" -c "$work/c" -o "state=$state,data=$data,log_level=info,log_file=$work/log,$opts" "$mnt"; }
passes() { # N more of them
    local now
    now=$(a --json status | json 'd["engine"]["passes"]')
    for _ in $(seq 200); do
        [ "$(a --json status | json 'd["engine"]["passes"]')" -ge $((now + $1)) ] && return 0
        sleep 0.05
    done
    echo "the engine makes no pass"; exit 1
}
conf() { printf '[policy]\ninterval = 1s\n%b' "$1" >"$work/c"; }

for mode in off advise act; do
    conf "mode = $mode\n"
    up
    [ -e "$mnt/aws/x.log" ] || { truncate -s 1000000000 "$mnt/aws/x.log"; a sync; }
    passes 2
    a jobs wait
    same "$mode $(tier "$mnt/aws/x.log")" "$mode $([ $mode = act ] && echo COLD || echo HOT)"
    a umount
done
# Outside of its hours it does nothing.
conf "hours = $(date -d '+2 hours' +%H:%M)-$(date -d '+3 hours' +%H:%M)\n"
up
truncate -s 1000000000 "$mnt/aws/y.log"
a sync
sleep 2.5
same "$(tier "$mnt/aws/y.log")" HOT
same "$(a --json status | json 'd["engine"]["passes"]')" 0
a umount
# Fees that are never earned back veto the move, with the reason.
conf "prices = dear\n[prices dear]\naws.COLD.transition = 900\n"
up
passes 2
same "$(tier "$mnt/aws/y.log")" HOT
a explain y.log >"$work/out"
grep -q "Vetoed: moving costs \$0.90 (requests \$0.90), earned back after" "$work/out"
grep -q "Decision: Keep in HOT tier (vetoed: fees)" "$work/out"
a umount

# ---- jobs: seen, waited for, cancelled, tried again
cat >"$work/c" <<'C'
[remote aws]
provider = aws
bucket = astra-aws
[remote gcp]
provider = gcp
bucket = astra-gcp
bandwidth = 8M
fault = head:n=1000000:error=EIO
[policy]
mode = off
C
up
head -c 40000000 /dev/urandom >"$mnt/aws/big"
a sync
s=$(sum "$mnt/aws/big")
mv "$mnt/aws/big" "$mnt/gcp/big"
id=$(a --json jobs | json '[j["id"] for j in d["jobs"] if j["kind"] == "relocate" and not j["ended"]][0]')
a jobs list | grep -q "relocate .* of 40.0 MB .*/aws/big -> /gcp/big"
same "$(sum "$mnt/gcp/big")" "$s"
a jobs cancel "$id"
if a jobs wait "$id" 2>"$work/says"; then echo "a cancelled job ended well"; exit 1; fi
same "$(sum "$mnt/aws/big")" "$s"
[ ! -e "$mnt/gcp/big" ]
settle
[ ! -e "$(native gcp big)" ]
a debug fault gcp 'part_put,put:error=EIO'
mv "$mnt/aws/big" "$mnt/gcp/big"
for _ in $(seq 200); do a jobs | grep -q "relocate *waiting .*try " && break; sleep 0.05; done
id=$(a --json jobs | json '[j["id"] for j in d["jobs"] if j["kind"] == "relocate" and not j["ended"]][0]')
a debug fault gcp ''
a jobs retry "$id"
a jobs wait "$id"
same "$(sum "$mnt/gcp/big")" "$s"
a jobs watch | grep -q "no jobs"
same "$(a --json jobs | json '[j["state"] for j in d["jobs"] if j["id"] == '"$id"']')" "['done']"
a umount
