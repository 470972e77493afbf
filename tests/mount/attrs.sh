#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Attributes live with the object: a mount that knows nothing finds mode, owner, times and the
# user's extended attributes again, after uploads, changes, renames and moves between clouds; what
# others have put on an object stays; what an object cannot hold is refused.
. "$(dirname "$0")/lib.sh"
a() { "$astra" --mount "$mnt" "$@"; }
get() { getfattr --absolute-names --only-values -n "$1" "$2"; }
shown() { # all files' attributes that are to last
    python3 - "$1" <<'PY'
import os, sys
for dirpath, dirs, files in os.walk(sys.argv[1]):
    dirs.sort()
    for f in sorted(files):
        p = os.path.join(dirpath, f)
        if os.path.islink(p):
            print(os.path.relpath(p, sys.argv[1]), "->", os.readlink(p))
            continue
        s = os.stat(p)
        x = {n: os.getxattr(p, n) for n in os.listxattr(p) if not n.startswith(("user.astra.", "trusted."))}
        print(os.path.relpath(p, sys.argv[1]), oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, sorted(x.items()))
PY
}
forget() { # a mount with a new state directory
    cd /
    unmount_it
    rm -rf "$state"
    mount_it
}

mount_it
for cloud in aws gcp azure; do
    t=$mnt/$cloud
    mkdir "$t/d"
    echo one >"$t/one"
    head -c 20000000 /dev/urandom >"$t/d/large"
    : >"$t/empty"
    ln -s d/large "$t/link"
    python3 - "$t" <<'PY'
import os, sys
t = sys.argv[1]
os.setxattr(t + "/one", "user.text", b"some words")
os.setxattr(t + "/one", "user.bytes", bytes(range(256)))
os.setxattr(t + "/one", "user.nothing", b"")
os.setxattr(t + "/one", b"user.odd \xff\xe9%41\\\",:{}\n+/=", b"x")
os.setxattr(t + "/one", b"user." + b"n" * 250, b"long name")
os.setxattr(t + "/d/large", "user.large", b"l" * 700)
os.setxattr(t + "/empty", "user.e", b"\0")
PY
    chmod 640 "$t/one"
    chown 12:34 "$t/d/large"
    touch -d '2001-02-03 04:05:06.789' "$t/d/large"
    touch -d '1969-12-31 23:59:58.5 UTC' "$t/empty"
done
a sync
shown "$mnt" >"$work/before"
grep -q "some words" "$work/before"
same "$(stat -c %.1Y "$mnt/aws/empty")" "-1.5"

echo "-- a mount that knows nothing finds them again"
forget
shown "$mnt" >"$work/after"
cmp "$work/before" "$work/after"

echo "-- and what was changed since the upload"
for cloud in aws gcp azure; do
    t=$mnt/$cloud
    setfattr -n user.text -v others "$t/one"
    setfattr -x user.bytes "$t/one"
    setfattr -n user.more -v more "$t/d/large"
    setfattr -x user.e "$t/empty"
    chmod 600 "$t/empty"
    touch -d '2011-02-03' "$t/d/large"
done
a sync
shown "$mnt" >"$work/before"
same "$(get user.astra.state "$mnt/aws/one")" settled
forget
shown "$mnt" >"$work/after"
cmp "$work/before" "$work/after"
same "$(get user.text "$mnt/gcp/one") $(get user.more "$mnt/azure/d/large")" "others more"
if getfattr -n user.bytes "$mnt/aws/one" 2>/dev/null; then echo "it is there again"; exit 1; fi

echo "-- renames inside a cloud, moves between clouds, copies"
mv "$mnt/aws/one" "$mnt/aws/renamed"
mv "$mnt/aws/d" "$mnt/aws/dir"
mv "$mnt/gcp/d/large" "$mnt/azure/from-gcp"
mv "$mnt/azure/d" "$mnt/gcp/from-azure"
cp -a "$mnt/aws/dir/large" "$mnt/aws/copy"
a sync
shown "$mnt" >"$work/before"
forget
shown "$mnt" >"$work/after"
cmp "$work/before" "$work/after"
same "$(get user.text "$mnt/aws/renamed") $(get user.more "$mnt/aws/dir/large")" "others more"
same "$(get user.more "$mnt/azure/from-gcp") $(get user.more "$mnt/gcp/from-azure/large")" "more more"
same "$(get user.more "$mnt/aws/copy") $(stat -c '%u %g' "$mnt/aws/copy")" "more 12 34"

echo "-- changed while its bytes go up, and while it moves"
head -c 30000000 /dev/urandom >"$mnt/aws/up"
for i in $(seq 40); do
    setfattr -n user.count -v "$i" "$mnt/aws/up"
    chmod "$(((i & 1) ? 600 : 640))" "$mnt/aws/up"
    sleep 0.02
done
mv "$mnt/aws/up" "$mnt/gcp/up"
setfattr -n user.last -v 1 "$mnt/gcp/up"
a sync
forget
same "$(get user.count "$mnt/gcp/up") $(get user.last "$mnt/gcp/up") $(stat -c %a "$mnt/gcp/up")" "40 1 640"

echo "-- what an object cannot hold is refused, and nothing changes"
f=$mnt/aws/renamed
python3 - "$f" <<'PY'
import errno, os, sys
f = sys.argv[1]
before = {n: os.getxattr(f, n) for n in os.listxattr(f) if not n.startswith("user.astra.")}
for size in (7000, 60000):
    try:
        os.setxattr(f, "user.big", b"b" * size)
        sys.exit("%d bytes were taken" % size)
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
n = 0
try:
    while n < 2000:
        os.setxattr(f, "user.many%d" % n, b"0123456789")
        n += 1
except OSError as e:
    assert e.errno == errno.ENOSPC, e
assert 10 < n < 500, n
for i in range(n):
    os.removexattr(f, "user.many%d" % i)
assert before == {n: os.getxattr(f, n) for n in os.listxattr(f) if not n.startswith("user.astra.")}
# a directory has no object of its own
os.setxattr(os.path.dirname(f), "user.big", b"b" * 60000)
PY

if command -v rsync >/dev/null; then
    echo "-- rsync -aX finds nothing to do, also when the mount has forgotten everything"
    mkdir -p "$work/tree/sub"
    for i in $(seq 20); do
        echo "$i" >"$work/tree/sub/f$i"
        touch -d "2020-01-01 +$i days" "$work/tree/sub/f$i"
        setfattr -n user.n -v "$i" "$work/tree/sub/f$i" 2>/dev/null || true
    done
    rsync -aX "$work/tree/" "$mnt/gcp/tree/"
    a sync
    for round in warm cold; do
        [ $round = warm ] || forget
        rsync -aXi "$work/tree/" "$mnt/gcp/tree/" >"$work/says"
        if grep '^.f' "$work/says"; then echo "rsync changed something, $round"; exit 1; fi
    done
    rsync -aXci --dry-run "$work/tree/" "$mnt/gcp/tree/" >"$work/says"
    if grep '^.f' "$work/says"; then echo "they are not the same"; exit 1; fi
fi
unmount_it
