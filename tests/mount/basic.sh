#!/usr/bin/env bash
# The daily operations through the kernel, and that they are the same after a remount.
. "$(dirname "$0")/lib.sh"
mount_it
same "$(ls "$mnt" | tr '\n' ' ')" "aws azure gcp "
cd "$mnt/aws"
echo hello >a
same "$(cat a)" hello
echo more >>a
same "$(cat a)" "hello
more"
mkdir -p d/e
dd if=/dev/urandom of=d/e/big bs=1M count=20 status=none
s=$(sum d/e/big)
printf X | dd of=d/e/big bs=1 seek=5000000 conv=notrunc status=none
printf X | dd of=d/e/big bs=1 seek=5000001 conv=notrunc status=none
[ "$(sum d/e/big)" != "$s" ]
s=$(sum d/e/big)
truncate -s 5000 a
same "$(stat -c %s a)" 5000
chmod 640 a
same "$(stat -c %a a)" 640
touch -d '2020-01-02 03:04:05.123456789' a
same "$(stat -c %y a | cut -c1-29)" "2020-01-02 03:04:05.123456789"
ln -s a link
same "$(readlink link)" a
mv d/e/big d/big2
same "$(sum d/big2)" "$s"
echo one >x
echo two >y
mv x y
same "$(cat y)" one
[ ! -e x ]
exec 5<y
rm y
same "$(cat <&5)" one
exec 5<&-
rmdir d/e
if rmdir d 2>/dev/null; then echo "rmdir of a full directory"; exit 1; fi
setfattr -n user.mine -v value a
same "$(getfattr --only-values -n user.mine a)" value
same "$(getfattr --only-values -n user.astra.cloud a)" aws
sync d/big2
[ -f "$(native aws d/big2)" ]
same "$(sum "$(native aws d/big2)")" "$s"
settle
same "$(getfattr --only-values -n user.astra.tier a)" HOT
# Where attributes cannot be changed for nothing they wait for the next write.
is=$(getfattr --only-values -n user.astra.state a)
[ "$is" = meta-local ] && [ -n "${ASTRA_CONF:-}" ] || same "$is" settled
ino=$(stat -c %i d/big2)
cd /
unmount_it
mount_it
cd "$mnt/aws"
same "$(sum d/big2)" "$s"
same "$(stat -c %i d/big2)" "$ino"
same "$(stat -c %a a)" 640
same "$(getfattr --only-values -n user.mine a)" value
same "$(readlink link)" a
same "$(ls | tr '\n' ' ')" "a d link "
cd /
unmount_it
# The whole from the clouds alone: another state directory over the same data.
state=$work/state2
mount_it
same "$(sum "$mnt/aws/d/big2")" "$s"
same "$(stat -c %s "$mnt/aws/a")" 5000
unmount_it
