#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves the basics of cutfs: what was not synced can be lost and can survive, what was synced is
# never lost, a rename is all or nothing, the order of names holds. usage: test_cutfs.sh [CUTFS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cutfs=${1:-${CUTFS:-}}
work=$(mktemp -d "${TMPDIR:-/tmp}/cutfs-test.XXXXXX")
trap 'fusermount3 -uzq "$work/m" 2>/dev/null || :; rm -rf "$work"' EXIT
if [ ! -c /dev/fuse ]; then
	echo "SKIP: no /dev/fuse"
	exit 77
fi
if [ -z "$cutfs" ]; then
	cutfs=$work/cutfs
	# shellcheck disable=SC2046
	gcc -std=gnu17 -D_GNU_SOURCE -O2 -g -o "$cutfs" "$here/cutfs.c" \
		$(pkg-config --cflags --libs fuse3)
fi
python3 - "$cutfs" "$work" <<'PY'
import collections, ctypes, errno, fcntl, mmap, os, shutil, subprocess, sys, time

cutfs, work = sys.argv[1:]
back, m = work + "/b", work + "/m"
P = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
seen = collections.defaultdict(collections.Counter)

def start():
    shutil.rmtree(back, ignore_errors=True)
    os.makedirs(back)
    os.makedirs(m, exist_ok=True)
    p = subprocess.Popen([cutfs, back, m, "-f"], stderr=subprocess.DEVNULL)
    for _ in range(500):
        if os.path.ismount(m):
            return p
        time.sleep(0.01)
    raise SystemExit("cutfs did not mount")

def stop(p, clean=False):
    subprocess.run(["fusermount3", "-uz", m], check=True)
    if not clean:           # files are still open: it would wait for them
        p.kill()
    p.wait(10)

def cut(p, seed):
    with open(m + "/.cutfs-cut", "w") as f:
        f.write(str(seed))
    try:
        os.stat(m + "/never-looked-up")
        raise SystemExit("alive after the cut")
    except OSError as e:
        assert e.errno == errno.EIO, e
    stop(p)
    assert not os.path.exists(back + "/.cutfs-trash")

def put(name, data, sync=False, mode="wb"):
    with open(m + "/" + name, mode) as f:
        f.write(data)
        f.flush()
        if sync:
            os.fsync(f.fileno())

def got(name):
    try:
        with open(back + "/" + name, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None

def pages(b):
    return [b[i:i + P] for i in range(0, len(b), P)]

def note(what, value):
    seen[what][value] += 1

def one(seed):
    p = start()
    put("synced", b"S" * 5000, True)
    put("over", b"O" * P * 8, True)
    put("mapped", b"0" * P * 4, True)
    put("cutoff", b"C" * P * 6, True)
    put("punched", b"H" * P * 4, True)
    put("f", b"old" * 2000, True)
    put("g", b"old" * 2000, True)
    put("gone", b"G" * 9000, True)
    put("x", b"x", True)
    os.setxattr(m + "/x", "user.a", b"1")
    fd = os.open(m + "/x", os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    os.mkdir(m + "/d1")
    put("order", b"", True)                 # everything above is durable now
    with open(m + "/over", "r+b") as f:     # unsynced overwrite and growth
        f.write(b"N" * P * 10)
    f = open(m + "/mapped", "r+b")
    mm = mmap.mmap(f.fileno(), 0)
    mm[0:P] = b"1" * P
    mm.flush()                              # msync
    mm[P:2 * P] = b"2" * P                  # may be lost
    os.truncate(m + "/cutoff", P + 100)
    fd = os.open(m + "/punched", os.O_RDWR)
    assert libc.fallocate(fd, 3, P, P) == 0     # fallocate(1) would fsync
    os.close(fd)
    put("f.tmp", b"new" * 3000, True)       # the right way to replace
    os.rename(m + "/f.tmp", m + "/f")
    put("g.tmp", b"new" * 3000)             # the wrong way
    os.rename(m + "/g.tmp", m + "/g")
    keep = open(m + "/gone", "rb")
    os.unlink(m + "/gone")
    assert keep.read() == b"G" * 9000 and os.fstat(keep.fileno()).st_nlink == 0
    os.setxattr(m + "/x", "user.a", b"2")
    os.setxattr(m + "/x", "user.b", b"3")
    os.rename(m + "/d1", m + "/d2")
    os.symlink("t", m + "/d2/l")
    put("d2/n1", b"1")
    os.link(m + "/d2/n1", m + "/d2/hard")
    for i in range(10):
        put("n%d" % i, b"n")
    for i in range(10):
        os.unlink(m + "/n%d" % i)
    cut(p, seed)
    mm.close(); f.close(); keep.close()

    assert got("synced") == b"S" * 5000
    o = got("over")
    assert len(o) in (P * 8, P * 10), len(o)
    for i, pg in enumerate(pages(o)):
        want = (b"O" * P, b"N" * P) if i < 8 else (b"\0" * P, b"N" * P)
        assert pg in want, (i, pg[:8])
        note("over", pg == b"N" * P)
    note("over mixed", len(set(o)) > 1)
    note("over size", len(o))
    mp = pages(got("mapped"))
    assert mp[0] == b"1" * P and mp[1] in (b"0" * P, b"2" * P) and mp[2:] == [b"0" * P] * 2
    c = got("cutoff")
    note("cutoff", len(c))
    assert len(c) in (P + 100, P * 6)
    assert c[:P + 100] == b"C" * (P + 100)
    if len(c) == P * 6:
        assert c[P + 100:2 * P] in (b"C" * (P - 100), b"\0" * (P - 100)) and c[2 * P:] == b"C" * P * 4
    h = pages(got("punched"))
    assert h[0] == b"H" * P and h[1] in (b"H" * P, b"\0" * P) and h[2:] == [b"H" * P] * 2
    note("punched", h[1] == b"H" * P)
    assert got("f") in (b"old" * 2000, b"new" * 3000)
    note("f", got("f")[:3])
    gg = got("g")
    assert gg is not None
    note("g", "old" if gg == b"old" * 2000 else "new" if gg == b"new" * 3000 else "lost")
    note("gone", got("gone"))
    assert got("gone") in (None, b"G" * 9000)
    xa = {k: os.getxattr(back + "/x", k) for k in os.listxattr(back + "/x")}
    assert xa in ({"user.a": b"1"}, {"user.a": b"2", "user.b": b"3"}), xa
    note("xattr", xa["user.a"])
    assert os.path.isdir(back + "/d1") != os.path.isdir(back + "/d2")
    note("d", os.path.isdir(back + "/d1"))
    assert os.path.isdir(back + "/d1") or got("g") != b"old" * 2000   # prefix of the name log
    nn = [os.path.exists(back + "/n%d" % i) for i in range(10)]
    made = sum(nn)
    assert nn == [True] * made + [False] * (10 - made) or nn == [False] * (10 - made) + [True] * made, nn
    note("n", 0 < made < 10)

for seed in range(1, 61):
    try:
        one(seed)
    except AssertionError:
        print("seed", seed, file=sys.stderr)
        raise
for what in ("over", "over mixed", "over size", "cutoff", "f", "gone", "xattr", "d", "n", "punched"):
    assert len(seen[what]) == 2, (what, seen[what])
assert len(seen["g"]) == 3, seen["g"]

# fsync of a file or of a directory makes all names before it durable; EXCHANGE and NOREPLACE
for seed in range(1, 21):
    p = start()
    os.mkdir(m + "/a"); os.mkdir(m + "/a/b")
    put("a/b/c", b"c")
    os.rename(m + "/a", m + "/z")
    if seed % 2:
        fd = os.open(m + "/z/b", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    else:
        put("other", b"o", True)
    put("late", b"l")
    cut(p, seed)
    assert got("z/b/c") in (b"c", b"", b"\0"), got("z/b/c")
    assert not os.path.exists(back + "/a")

# fdatasync keeps data but not a rename
names = collections.Counter()
for seed in range(1, 31):
    p = start()
    put("a", b"1" * P, True)
    os.rename(m + "/a", m + "/b")
    with open(m + "/b", "r+b") as f:
        f.write(b"2" * P)
        f.flush()
        os.fdatasync(f.fileno())
    cut(p, seed)
    names[got("a") is not None] += 1
    assert (got("a") or got("b")) == b"2" * P
assert len(names) == 2, names

# a cut at the N-th change; a clean unmount loses nothing
for n in range(1, 8):
    p = start()
    with open(m + "/.cutfs-cut", "w") as f:
        f.write("%d %d" % (n, n))
    err = 0
    try:
        for i in range(10):
            os.mkdir(m + "/%d" % i)
            err += 1
    except OSError as e:
        assert e.errno == errno.EIO
    assert err == n - 1, (err, n)
    assert open(m + "/.cutfs-cut").read().startswith("cut ")
    stop(p)
p = start()
put("k", b"kept"); os.rename(m + "/k", m + "/k2"); put("q", b""); os.unlink(m + "/q")
fd = os.open(m + "/k2", os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
assert os.lseek(fd, 0, os.SEEK_DATA) == 0 and os.lseek(fd, 0, os.SEEK_HOLE) == 4
os.close(fd)
try:
    os.open(m, os.O_TMPFILE | os.O_RDWR)
    raise SystemExit("O_TMPFILE worked")
except OSError as e:
    assert e.errno == errno.EOPNOTSUPP, e
stop(p, True)
assert sorted(os.listdir(back)) == ["k2"] and got("k2") == b"kept"
print("cutfs: ok", dict(seen["g"]))
PY
