#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How a mount comes, how it is refused, and how it goes when its daemon crashes: by the command, by
# mount(8), by a user who is not root.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
: >"$work/err"
a() { "$astra" --mount "$mnt" "$@"; }
up() { "$astrafs" -o "state=$state,data=$data,log_file=$work/log,$opts${1:+,$1}" "$mnt"; }
pid_of() { "$astra" --mount "${1:-$mnt}" --json status | sed -n 's/^ *"pid": \([0-9]*\),*/\1/p'; }
says() { # STATUS PATTERN COMMAND...: one line, on standard error, that has the pattern
    local want=$1 pattern=$2 s=0
    shift 2
    "$@" >"$work/out" 2>"$work/says" || s=$?
    same "$s" "$want"
    same "$(wc -l <"$work/says")" 1
    grep -q -- "$pattern" "$work/says" || { echo "no '$pattern' in:"; cat "$work/says"; exit 1; }
}
gone() { # PLACE: nothing is mounted there, soon
    for _ in $(seq 100); do
        grep -q " $1 " /proc/mounts || return 0
        sleep 0.05
    done
    echo "$1 is still mounted"; exit 1
}

# Each way in which a mount cannot be, in one line; and nothing was made.
says 2 "no mount point" "$astrafs"
says 2 "unknown switch: -x" "$astrafs" -x
says 2 "a value is missing behind: -c" "$astrafs" -c
says 2 "more than one mount point: c" "$astrafs" a b c -o "state=$state"
says 2 "more than one mount point: extra" "$astrafs" "$mnt" extra
says 2 "more than one mount point: extra" "$astrafs" -o "state=$state" "$mnt" extra
says 1 "mount point .*missing: No such file" "$astrafs" "$work/missing"
touch "$work/file"
says 1 "it is not a directory" "$astrafs" "$work/file"
says 1 "state directory .*file is no directory" "$astrafs" -o "state=$work/file" "$mnt"
says 1 "cannot open the log file" "$astrafs" -o "state=$state,log_file=$work/no/log" "$mnt"
mkdir "$work/tmpfs"
mount -t tmpfs none "$work/tmpfs"
says 1 "in use: tmpfs is mounted there" "$astrafs" -o "state=$state" "$work/tmpfs"
umount "$work/tmpfs"
says 1 "no usable /dev/fuse" unshare -m sh -c \
    "mount -t tmpfs none /dev && exec '$astrafs' -o 'state=$state' '$mnt'"

# -o and configuration files say no with place, word, and what is allowed.
says 2 "-o stat: unknown option; did you mean 'state'?" "$astrafs" -o stat=x "$mnt"
says 2 "-o state: a value is missing: state=DIR" "$astrafs" -o state "$mnt"
says 2 "cannot read the configuration" "$astrafs" -c "$work/none" "$mnt"
bad() { # TEXT PATTERN
    # shellcheck disable=SC2059
    printf "$1" >"$work/c"
    says 2 "$work/c:$2" "$astrafs" -c "$work/c" -o "state=$state" "$mnt"
}
bad 'cache_siz = 1G\n' "1: cache_siz: unknown key; did you mean 'cache_size'?"
bad '\n[polcy]\nmode = act\n' '2: unknown section \[polcy\]; did you mean \[policy\]?'
bad '[remote]\ntype = local\n' '1: section \[remote\] needs a name'
bad '[remote x]\nbuckt = 1\n' "2: buckt: unknown key of a remote of type local; did you mean 'bucket'?"
bad '[remote x]\ntype = lokal\n' "2: type: .*allowed: local, mem"
bad "[remote x]\npath = $work/nas/x\n" "2: path: the directory '$work/nas/x' cannot be used: No such file"
[ ! -e "$work/nas" ]
bad '[policy]\nmod = act\n' "2: mod: unknown key; did you mean 'mode'?"
bad '[policy]\nprices = nope\n[prices nop]\n' "2: prices: there is no price book 'nope'; did you mean 'nop'?"
bad '[policy]\nmode = run\n' "2: mode: 'run' is not known; allowed: act, advise, off"
bad '[policy]\nhours = 25:00-3:00\n' "2: hours: .*like 22:00-06:00"
bad '[rule x]\nmatch = *\ntier = HOTT\n' "3: tier: 'HOTT' is not a tier"
bad '[rule x]\nmatch = *\n' "1: \[rule x\]: rule 'x' has no tier="
bad '[prices x]\naws.HOT.storge = 1\n' "2: aws.HOT.storge: unknown price 'storge'; did you mean 'storage'?"
bad '[prices x]\naws.HOT.storage = abc\n' "2: aws.HOT.storage: 'abc' is not dollars"
bad 'durability = maybe\n' "1: durability: .*allowed: local, fsync, close"
bad 'recall = block\n' "1: recall: .*allowed: error, request, block:DURATION"
bad 'umask = 9\n' "1: umask: '9' is not octal"
bad 'workers = 1\n' "1: workers: .*allowed: 2 to 512"
bad 'memory_limit = 1Q\n' "1: memory_limit: '1Q' is not a size"
bad 'memory_limit = 1\n' "1: memory_limit: '1' is too small; allowed: 32M or more"
bad 'memory_limit = 32767K\n' "1: memory_limit: '32767K' is too small"
bad '\nmoved = a:b\n[remote a]\n' "2: moved: there is no remote 'b'; allowed: a"
says 2 "-o moved: there is no remote 'NOSUCH'; allowed: aws, gcp, azure" \
    "$astrafs" -o "state=$state,moved=NOSUCH" "$mnt"
says 2 "-o moved: there is no remote 'NOSUCH'" "$astrafs" --conf -o moved=aws:NOSUCH
bad 'upload_delay = soon\n' "1: upload_delay: 'soon' is not a duration"
s3='[remote a]\ntype = s3\nendpoint = http://127.0.0.1:1\n'
bad "${s3}path_style = maybe\n" "4: path_style: 'maybe' is not a yes or no"
bad "${s3}path_style = yes\naddressing = path\n" "4: path_style: addressing says it already"
# A path that is not absolute stays in the data directory; a bucket is one name.
bad '[remote x]\npath = ../x\n' "2: path: '../x' leads out of the data directory; allowed: an absolute path"
bad '[remote x]\npath = y/./x\n' "2: path: 'y/./x' leads out of"
bad '[remote x]\nbucket = ..\n' "2: bucket: '..' cannot be a bucket; allowed: one name"
bad '[remote x]\nbucket = a/b\n' "2: bucket: 'a/b' cannot be a bucket; .*prefix= shows a part"
bad "${s3}bucket = a/b\n" "4: bucket: 'a/b' cannot be a bucket"
# Two that show the same objects would take each other for somebody else.
twice() { # SECTION SECTION: their keys, as printf has them
    bad "[remote a]\n$1[remote b]\n$2" ".*\[remote a\] and \[remote b\] show the same objects"
}
once() {
    # shellcheck disable=SC2059
    printf "[remote a]\n$1[remote b]\n$2" >"$work/c"
    same "$("$astrafs" --conf -c "$work/c")" "the configuration is in order"
}
mkdir -p "$work/some/dir"
ln -s dir "$work/some/link"
twice 'path = x\n' 'path = x/\n'
twice 'path = b\n' ''
twice 'path = x\nbucket = m\n' 'path = x\n'
twice 'path = x\nbucket = m\nprefix = p\n' 'path = x\nbucket = m\nprefix = p/q/\n'
twice "path = $work/some/dir\n" "path = $work/some/link\n"
twice "path = $work/some\n" "path = $work/some/dir\n"
once 'path = x\nbucket = m\n' 'path = x\nbucket = n\n'
once 'path = x\nbucket = m\nprefix = p\n' 'path = x\nbucket = m\nprefix = pq\n'
once 'type = mem\n' 'type = mem\n'
s3='type = s3\nbucket = m\n'
twice "$s3" "${s3}profile = other\n"
twice "$s3" "type = s3\n"
once "$s3" "type = s3\nprofile = other\n"
once "$s3" "${s3}endpoint = http://127.0.0.1:1\n"
once "type = s3\nbucket = m\n" "type = s3\nbucket = mn\n"
twice 'type = azure\naccount = one\nbucket = mm1\n' 'type = azure\naccount = one\n'
once 'type = azure\naccount = one\nbucket = mm1\n' 'type = azure\naccount = two\nbucket = mm1\n'
bad 'just text\n' "1: neither 'key = value' nor"
[ ! -e "$state" ]

# --conf looks at the configuration alone.
same "$("$astrafs" --conf -o "state=$state")" "the configuration is in order"
says 2 "$work/c:1: neither" "$astrafs" --conf -c "$work/c"

# It is there when the command returns, for its owner alone.
up
grep " $mnt " /proc/mounts | grep -q "nosuid,nodev,.*default_permissions"
same "$(stat -c %a "$state")" 700
same "$(stat -c %a "$data")" 700
same "$(stat -c %a "$ASTRA_RUNTIME_DIR")" 700
same "$(stat -c %a "$ASTRA_RUNTIME_DIR"/*.sock)" 600
same "$(find "$state" -perm /077 | wc -l)" 0
says 1 "in use: another astrafs is mounted there" up
mkdir "$work/mnt2"
says 1 "in use by another astrafs (process $(pid_of))" \
    "$astrafs" -o "state=$state,lock_wait=100ms" "$work/mnt2"

# A crash: the mount goes by itself, also right after it was used; what was answered is kept.
echo kept >"$mnt/aws/f"
ls -la "$mnt" "$mnt/aws" >/dev/null
kill -9 "$(pid_of)"
gone "$mnt"
up
same "$(cat "$mnt/aws/f")" kept
# ... and where that could not be, the next one cleans it, while the kernel's cache still answers.
pid=$(pid_of)
kill -9 "$(pgrep -P "$pid")"
ls -la "$mnt" "$mnt/aws" >/dev/null
kill -9 "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
pid=
says 3 "has died; 'astrafs $mnt' mounts it anew, 'fusermount3 -u $mnt' only" a status
ln -s mnt "$work/link"
cd "$work"
says 3 "the mount at $mnt has died" "$astra" --mount link status
cd /
up
same "$(cat "$mnt/aws/f")" kept
# One that hangs does not keep who asks.
hung=$(pid_of)
kill -STOP "$hung"
says 3 "the mount at $mnt does not answer" timeout 60 "$astra" --mount "$work/link" status
kill -CONT "$hung"
# Who unmounts is told what he waits for.
exec 9<"$mnt/aws/f"
: >"$work/waits"
a umount 2>"$work/waits" 9<&- &
pid=$!
for _ in $(seq 100); do [ ! -s "$work/waits" ] || break; sleep 0.05; done
grep -q "umount: $mnt is busy: 1 open .*, by .*($$).*; waiting up to 20 s" "$work/waits"
kill -0 "$pid"
exec 9<&-
wait "$pid"
pid=
same "$(wc -l <"$work/waits")" 1
gone "$mnt"
"$astrafs" --check -o "state=$state,lock_wait=0s" | grep -q "in order"

# The configuration: /etc, then that of the user, then -o; or the file of -c alone.
mkdir -p "$work/xdg/astrafs" "$work/etc"
printf '[astrafs]\ncache_size = 30M\n[remote one]\n[remote two]\nprovider = gcp\n' >"$work/etc/astrafs.conf"
printf 'cache_size = 20M\n[remote two]\nprovider = azure\nbucket = b\n' >"$work/xdg/astrafs/astrafs.conf"
printf '[remote three]\n' >"$work/c"
# shellcheck disable=SC2016
unshare -m bash -euc '
    mkdir "$1/over"
    mount -t tmpfs none "$1/over"
    mkdir "$1/over/up" "$1/over/wk"
    mount -t overlay none -o "lowerdir=/etc,upperdir=$1/over/up,workdir=$1/over/wk" /etc
    mkdir -p /etc/astrafs
    cp "$1/etc/astrafs.conf" /etc/astrafs/
    XDG_CONFIG_HOME=$1/xdg
    export XDG_CONFIG_HOME
    a() { "$3" --mount "$4" "$@"; }
    see() { "$3" --mount "$4" --json status | python3 -c "
import json, sys
d = json.load(sys.stdin)
print(d[\"stage\"][\"quota_bytes\"] >> 20, [(r[\"name\"], r[\"provider\"], r[\"bucket\"]) for r in d[\"remotes\"]])"; }
    "$2" -o "state=$1/s1" "$4"
    see "$@" >"$1/seen"
    "$3" --mount "$4" umount
    "$2" -o "state=$1/s1,cache_size=10M" "$4"
    see "$@" >>"$1/seen"
    "$3" --mount "$4" umount
    "$2" -c "$1/c" -o "state=$1/s2" "$4"
    see "$@" >>"$1/seen"
    "$3" --mount "$4" umount' conf "$work" "$astrafs" "$astra" "$mnt"
same "$(cat "$work/seen")" "20 [('one', 'local', ''), ('two', 'azure', 'b')]
10 [('one', 'local', ''), ('two', 'azure', 'b')]
10240 [('three', 'local', '')]"

# mount(8): as fuse.astrafs and as astrafs, from the command line and from fstab.
in_ns() { # SCRIPT, with astrafs and its helper where mount(8) looks for them
    # shellcheck disable=SC2016
    unshare -m bash -euc 'mkdir -p "$1/up" "$1/wk"
        mount -t tmpfs none "$1/up"
        mkdir "$1/up/up" "$1/up/wk"
        mount -t overlay none -o "lowerdir=/usr/sbin,upperdir=$1/up/up,workdir=$1/up/wk" /usr/sbin
        ln -s "$2" /usr/sbin/astrafs
        ln -s "$2" /usr/sbin/mount.astrafs
        eval "$3"' in_ns "$work" "$astrafs" "$1"
}
export mnt state data astra work
own="state=$state,data=$data"
export own
if in_ns true 2>"$work/err"; then
    # shellcheck disable=SC2016
    in_ns '
        mount -t fuse.astrafs -o "$own,noatime,ro" main "$mnt"
        grep -q "^main $mnt fuse.astrafs ro,nosuid,nodev,noatime" /proc/mounts
        if touch "$mnt/aws/x" 2>/dev/null; then exit 1; fi
        "$astra" --mount "$mnt" umount
        for type in astrafs fuse.astrafs; do
            echo "main $mnt $type defaults,noauto,nofail,_netdev,x-y.z=1,comment=c,$own 0 0" >"$work/fstab"
            mount --fstab "$work/fstab" "$mnt"
            grep -q "^main $mnt fuse.astrafs rw,nosuid,nodev" /proc/mounts
            [ "$(cat "$mnt/aws/f")" = kept ]
            umount "$mnt"
        done
        ! mount -t astrafs -o stat=1 main "$mnt" 2>"$work/says"
        grep -q "did you mean" "$work/says"
        mount -t astrafs -s -o "$own,fromautomounter" main "$mnt"
        "$astra" --mount "$mnt" umount
        mount -t astrafs -f -o "$own" main "$mnt"
        ! grep -q " $mnt " /proc/mounts'
else
    echo "no overlay in a mount name space: mount(8) was not tried"
fi

# A user who is not root: the same, through fusermount3.
mkdir "$work/user" "$work/user/m"
chown -R nobody "$work/user"
chmod 755 "$work"
cat >"$work/user.sh" <<'U'
set -eu
cd "$1"
export HOME=$1 ASTRA_RUNTIME_DIR=$1/run
"$2" m
echo mine >m/aws/f
[ "$(stat -c %U m/aws/f)" = nobody ]
pid=$("$3" --json status | sed -n 's/^ *"pid": \([0-9]*\),*/\1/p')
ls -la m m/aws >/dev/null
kill -9 "$pid"
n=0
while grep -q " $1/m " /proc/mounts; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.05; done
"$2" m
[ "$(cat m/aws/f)" = mine ]
[ "$(stat -c %a .local/state/astrafs/*)" = 700 ]
fusermount3 -u m
"$2" m
"$3" umount
U
# shellcheck disable=SC2016
unshare -m bash -euc 'mount -t tmpfs none /dev
    mknod -m 666 /dev/fuse c 10 229; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9
    exec setpriv --reuid=nobody --regid=nogroup --clear-groups sh "$1/user.sh" "$1/user" "$2" "$3"' \
    user "$work" "$astrafs" "$astra"

# The same user without a session, as cron has it: a private directory in /tmp, which astra finds
# with and without one; where that is somebody else's, it says so.
cat >"$work/cron.sh" <<'U'
set -eu
cd "$1"
export HOME=$1
unset ASTRA_RUNTIME_DIR XDG_RUNTIME_DIR
run=/tmp/astrafs-$(id -u)
"$3" doctor | grep -q "^ok .*runtime directory .*$run.* can be made"
"$2" m
[ "$(stat -c '%a %U' "$run")" = "700 nobody" ]
"$3" status | grep -q "^Mount: .*$1/m"
mkdir -p "$1/session"
XDG_RUNTIME_DIR=$1/session "$3" umount
"$2" m
XDG_RUNTIME_DIR=$1/nowhere "$3" umount
for bad in link mode; do
    rm -rf "$run"
    if [ $bad = link ]; then ln -s "$1/session" "$run"; else mkdir -m 755 "$run"; fi
    if "$2" m 2>says; then exit 1; fi
    grep -q "$run.* of its user alone .*ASTRA_RUNTIME_DIR or XDG_RUNTIME_DIR" says
    "$3" doctor | grep "^error .*runtime directory" | grep -q ASTRA_RUNTIME_DIR
    XDG_RUNTIME_DIR=$1/session "$2" m
    XDG_RUNTIME_DIR=$1/session "$3" umount
done
rm -rf "$run"
U
if [ -e "/tmp/astrafs-$(id -u nobody)" ]; then
    echo "/tmp/astrafs-$(id -u nobody) is there: a mount without a session was not tried"
else
    # shellcheck disable=SC2016
    unshare -m bash -euc 'mount -t tmpfs none /dev
        mknod -m 666 /dev/fuse c 10 229; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9
        if [ -d /run/user ]; then mount -t tmpfs none /run/user; fi
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups sh "$1/cron.sh" "$1/user" "$2" "$3"' \
        cron "$work" "$astrafs" "$astra"
fi
