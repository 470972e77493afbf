#!/usr/bin/env bash
# cp inside one cloud moves no bytes: told by the counters of its store, also for trees, for what
# is only in the cloud, for files over 4 GiB, and after a kill; and copies are copies.
. "$(dirname "$0")/lib.sh"
export XDG_CONFIG_HOME=$work/config
conf=$XDG_CONFIG_HOME/astrafs/astrafs.conf
mkdir -p "${conf%/*}"
cat >"$conf" <<'EOF'
[remote aws]
type=local
provider=aws
bucket=astra-aws
fault=head:n=999999999:error=EIO
[remote gcp]
type=local
provider=gcp
bucket=astra-gcp
EOF
sent() { # bytes that went through us to or from aws, and copies by the store
    "$astra" --mount "$mnt" status --json | python3 -c '
import json, sys
ops = [r["ops"] for r in json.load(sys.stdin)["remotes"] if r["name"] == "aws"][0]
n = lambda f, *names: sum(ops.get(k, {f: 0})[f] for k in names)
print(n("bytes", "put", "get", "part_put"), n("calls", "copy"))'
}
mount_it
cd "$mnt/aws"

# Here and in the cloud.
mkdir -p tree/sub
dd if=/dev/urandom of=big bs=1M count=100 status=none
for i in $(seq 40); do head -c $((i * 999)) /dev/urandom >"tree/sub/f$i"; done
: >tree/empty
settle
before=$(sent)
cp big copy
same "$(getfattr --only-values -n user.astra.state copy)" settled
cp -a tree tree2
cp --reflink=auto -p big copy2
settle
# shellcheck disable=SC2086
set -- $before $(sent)
same "$3" "$1"
[ $(($4 - $2)) = 42 ] || { echo "$(($4 - $2)) copies by the store, not 42"; exit 1; }
cmp big copy
diff -r tree tree2
cmp big "$(native aws copy)"
cmp big "$(native aws copy2)"
diff -r tree "$(native aws tree2)"
same "$(stat -c %Y copy2)" "$(stat -c %Y big)"

# Written after: each for itself.
printf X | dd of=copy bs=1 seek=50000000 conv=notrunc status=none
printf Y | dd of=big bs=1 seek=1 conv=notrunc status=none
truncate -s 1000000 copy2
settle
for f in big copy copy2; do cmp "$f" "$(native aws $f)"; done
same "$(dd if=copy bs=1 skip=50000000 count=1 status=none)" X
! cmp -s -n 2 big copy

# Only in the cloud, and larger than one request of the kernel.
truncate -s 5G "$(native aws far)"
printf far | dd of="$(native aws far)" bs=1 seek=$((4 << 30)) conv=notrunc status=none
head -c 3000 /dev/urandom >"$(native aws near)"
setfattr -n user.astra.refresh -v 1 .
before=$(sent)
cp far far2
cp near near2
settle
# shellcheck disable=SC2086
set -- $before $(sent)
same "$3" "$1"
same "$(stat -c %s far2)" $((5 << 30))
same "$(stat -c %s "$(native aws far2)")" $((5 << 30))
same "$(dd if=far2 bs=1 skip=$((4 << 30)) count=3 status=none)" far
cmp near near2

# To another cloud bytes have to go.
cp near "$mnt/gcp/near"
cmp near "$mnt/gcp/near"

# Killed while the store copies, and before a small copy was sent.
cd /
unmount_it
sed -i 's/^fault=.*/fault=copy:delay=700/' "$conf"
mount_it
head -c 20000 /dev/urandom >"$mnt/aws/small"
settle
cp "$mnt/aws/big" "$mnt/aws/killed" 2>/dev/null &
cp=$!
sleep 0.4
cp "$mnt/aws/small" "$mnt/aws/small2"
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
wait $cp && { echo "cp was not told"; exit 1; }
umount -l "$mnt" 2>/dev/null || true
sed -i 's/^fault=.*//' "$conf"
mount_it
cmp "$mnt/aws/small" "$mnt/aws/small2"
size=$(stat -c %s "$mnt/aws/killed" 2>/dev/null || echo 0)
[ "$size" = 0 ] || cmp "$mnt/aws/big" "$mnt/aws/killed"
before=$(sent)
settle
same "$(sent | cut -d' ' -f1)" "${before% *}"
cmp "$mnt/aws/small" "$(native aws small2)"
same "$(stat -c %s "$(native aws killed)")" "$size"
cp "$mnt/aws/big" "$mnt/aws/killed"
cmp "$mnt/aws/big" "$mnt/aws/killed"
same "$(find "$mnt" "$data" -name '*conflict*' | wc -l)" 0
unmount_it
