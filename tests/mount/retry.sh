#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `astra jobs retry`: jobs that live, jobs that failed, and what cannot be tried again.
. "$(dirname "$0")/lib.sh"
a() { "$astra" --mount "$mnt" "$@"; }
says() { # STATUS TEXT COMMAND...
    local want=$1 text=$2 s=0
    shift 2
    "$@" >"$work/out" 2>&1 || s=$?
    same "$s" "$want"
    grep -qF -- "$text" "$work/out" || { echo "no '$text' in:"; cat "$work/out"; exit 1; }
}
job() { # KIND STATE -> the number of the newest one
    a --json jobs --all | json '[j["id"] for j in sorted(d["jobs"], key=lambda j: -j["id"]) if j["kind"] == "'"$1"'" and j["state"] == "'"$2"'"][0]'
}
fails() { a debug fault aws "$1:error=EACCES/final"; }
works() { a debug fault aws ''; }
tier_of() { getfattr --absolute-names --only-values -n user.astra.tier "$1"; }
two_clouds
mount_it upload_delay=1h # what is not tried again stays as it is

# An upload: it goes on as another job.
fails put
echo x >"$mnt/aws/x"
if sync "$mnt/aws/x" 2>/dev/null; then echo "an upload that fails is no error"; exit 1; fi
id=$(job upload failed)
works
says 0 "job $id is tried again, as job " a jobs retry "$id"
as=$(sed 's/.* as job //' "$work/out")
a jobs wait "$as"
same "$(cat "$(native aws x)")" x
says 1 "job $id cannot be tried again: the file has been uploaded since" a jobs retry "$id"
says 1 "job $as cannot be tried again: it is done" a jobs retry "$as"

# A change of class: not where the file is pinned elsewhere by now, nor where it is there.
fails set_tier
says 1 "" a tier /aws/x COLD
id=$(job transition failed)
works
a tier /aws/x WARM >/dev/null
says 1 "job $id cannot be tried again: the file is pinned to WARM since" a jobs retry "$id"
fails set_tier
says 1 "" a tier /aws/x COLD
id=$(job transition failed)
works
a --json jobs retry "$id" >"$work/out"
same "$(json 'd["items"][0]["id"]' <"$work/out")" "$id"
a jobs wait "$(json 'd["items"][0]["as"]' <"$work/out")"
same "$(a --json ls -l /aws | json 'd["items"][0]["tier"]')" COLD
says 1 "job $id cannot be tried again: the file is in COLD" a jobs retry "$id"

# A restore.
a tier /aws/x ARCHIVE >/dev/null
fails restore
says 1 "" a restore /aws/x
id=$(job restore failed)
works
says 0 "job $id is tried again, as job " a jobs retry "$id"
a jobs wait "$(sed 's/.* as job //' "$work/out")"
same "$(cat "$mnt/aws/x")" x
says 1 "job $id cannot be tried again: the file can be read" a jobs retry "$id"

# A move was taken back: who moved can move again.
echo y >"$mnt/aws/y"
sync "$mnt/aws/y"
fails copy
mv "$mnt/aws/y" "$mnt/aws/z"
for _ in $(seq 100); do [ ! -e "$mnt/aws/y" ] || break; sleep 0.05; done
id=$(job relocate failed)
works
says 1 "job $id cannot be tried again: what could not follow has its old name again: move that anew" a jobs retry "$id"
same "$(cat "$mnt/aws/y")" y

# What is gone, what nobody knows.
fails put
echo w >"$mnt/aws/w"
if sync "$mnt/aws/w" 2>/dev/null; then exit 1; fi
id=$(job upload failed)
works
rm "$mnt/aws/w"
says 1 "job $id cannot be tried again: the file has been removed" a jobs retry "$id"
says 1 "job 99999 cannot be tried again: it is not known, or ended too long ago to be remembered" a jobs retry 99999

# One that waits to be tried goes on at once.
a debug fault aws 'put:times=3:error=EIO/retry'
echo v >"$mnt/aws/v"
sync "$mnt/aws/v" &
for _ in $(seq 100); do
    id=$(a --json jobs | json '"".join(str(j["id"]) for j in d["jobs"] if j["state"] == "waiting")')
    [ -z "$id" ] || break
    sleep 0.02
done
if [ -n "$id" ]; then
    a jobs retry "$id" >"$work/out" 2>&1 || grep -q "it is done" "$work/out"
    grep -q "job $id " "$work/out"
fi
wait $!
same "$(cat "$(native aws v)")" v
unmount_it
