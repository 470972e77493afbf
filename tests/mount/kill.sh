#!/usr/bin/env bash
# kill -9 under writers and movers: what was acknowledged is there after the next mount.
. "$(dirname "$0")/lib.sh"
runs=${ASTRA_KILLS:-12}
seed=${ASTRA_SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed
mount_it
for run in $(seq "$runs"); do
    ( n=0
      while :; do
          n=$((n + 1))
          f=$mnt/aws/r$run-$n
          echo "content $run $n" >"$f" 2>/dev/null || exit 0
          echo "r$run-$n aws" >>"$work/acked"
          if [ $((n % 3)) = 0 ]; then
              echo "r$run-$n gcp?" >>"$work/acked"
              mv "$f" "$mnt/gcp/" 2>/dev/null || exit 0
              echo "r$run-$n gcp" >>"$work/acked"
          fi
      done ) &
    writer=$!
    sleep "0.$((RANDOM % 9 + 1))"
    kill -9 "$pid"; wait "$pid" 2>/dev/null || true
    wait $writer 2>/dev/null || true
    umount -l "$mnt" 2>/dev/null || true
    mount_it
done
settle
python3 - "$work/acked" "$mnt" <<'P'
import os, sys
last = {}
for line in open(sys.argv[1]):
    name, where = line.split()
    last[name] = where
bad = 0
for name, where in last.items():
    want = "content %s %s\n" % tuple(name[1:].split("-"))
    places = [c for c in ("aws", "gcp") if os.path.exists(f"{sys.argv[2]}/{c}/{name}")]
    ok = len(places) == 1 and (where.endswith("?") or places[0] == where)
    if ok:
        ok = open(f"{sys.argv[2]}/{places[0]}/{name}").read() == want
    if not ok:
        bad += 1
        print("lost or wrong:", name, where, places)
print(len(last), "files checked")
sys.exit(bad != 0)
P
unmount_it
