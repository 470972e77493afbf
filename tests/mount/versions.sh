#!/usr/bin/env bash
# Changes of an object's metadata or class make another version of it. When the answer is lost, the
# change is found to be ours: the file is readable, and the next write makes no conflict copy.
. "$(dirname "$0")/lib.sh"
cat >"$work/conf" <<T
[remote aws]
type = local
provider = aws
bucket = astra-aws
retry_delay = 5ms
fault = set_meta:every=2:delay=300:lost; set_tier:every=2:delay=300:lost; get:key=slow:delay=2000
T
"$astrafs" -f -c "$work/conf" -o "state=$state,data=$data,$opts,cache_size=1M,log_level=info,log_file=$work/log" \
    "$mnt" 2>>"$work/err" &
pid=$!
for _ in $(seq 300); do mountpoint -q "$mnt" && break; sleep 0.05; done
cd "$mnt/aws"
for i in 1 2 3 4; do
    { echo "bytes of $i"; head -c 200K /dev/zero | tr '\0' x; } >f$i
    settle
    chmod 60$i f$i
    settle
    setfattr -n user.astra.tier -v WARM f$i
    settle
    head -c 900K /dev/urandom >fill # puts f$i out of the cache
    settle
    rm fill
    echo 3 >/proc/sys/vm/drop_caches
    same "$(head -n 1 f$i)" "bytes of $i"
    same "$(stat -c %a f$i)" "60$i"
    same "$(getfattr --only-values -n user.astra.storage_class f$i)" STANDARD_IA
    echo more >>f$i
    settle
    same "$(head -n 1 "$(native aws f$i)")" "bytes of $i"
    same "$(tail -c 5 "$(native aws f$i)")" more
done
same "$(ls)" "f1
f2
f3
f4"
# what comes behind in the queue goes on from the new version
for i in 1 2 3 4; do
    chmod 640 f$i
    sleep 0.4
    mv f$i g$i
    settle
    same "$(head -n 1 "$(native aws g$i)")" "bytes of $i"
    [ ! -e f$i ]
    [ ! -e "$(native aws f$i)" ]
    same "$(getfattr --only-values -n user.astra.state g$i)" settled
done
# a longer version comes while the shorter one is being fetched
head -c 17857 /dev/zero | tr '\0' a >"$work/short"
head -c 21185 /dev/zero | tr '\0' b >"$work/long"
cp "$work/short" "$(native aws slow)"
setfattr -n user.astra.refresh -v 1 .
(cat slow >/dev/null 2>&1 || true) &
reader=$!
sleep 0.5
cp "$work/long" "$work/new"
mv "$work/new" "$(native aws slow)"
setfattr -n user.astra.refresh -v 1 .
same "$(timeout 20 cat slow | sha256sum)" "$(sha256sum <"$work/long")"
wait $reader
cd /
unmount_it
