# SPDX-License-Identifier: MIT
"""What programs expect of a local file system, call by call: posix.py DIRECTORY [NAME...]

Each test runs in an empty directory of its own below DIRECTORY; run it as root. Tests of what a
file system may refuse say with refused() which errors are honest.
"""
import ctypes
import ctypes.util
import errno
import fcntl
import mmap
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
tests = []


def test(fn):
    tests.append(fn)
    return fn


class Refused(Exception):
    pass


class fails:
    """with fails(errno.X, ...): the body must fail with one of these."""

    def __init__(self, *codes):
        self.codes = codes

    def __enter__(self):
        return self

    def __exit__(self, kind, e, tb):
        assert kind is not None, "nothing failed, %s was expected" % [
            errno.errorcode[c] for c in self.codes]
        if not issubclass(kind, OSError):
            return False
        assert e.errno in self.codes, "%s, not %s" % (
            errno.errorcode[e.errno], [errno.errorcode[c] for c in self.codes])
        return True


def refused(e, *codes):
    """An honest refusal ends the test as passed; anything else is a failure."""
    if e.errno in codes:
        raise Refused(errno.errorcode[e.errno])
    raise e


def call(name, *args):
    f = getattr(libc, name)
    f.restype = ctypes.c_int
    r = f(*args)
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), name)
    return r


def renameat2(a, b, flags):
    call("renameat2", AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags)


def fallocate(fd, mode, off, n):
    call("fallocate", fd, mode, ctypes.c_long(off), ctypes.c_long(n))


def put(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def same(a, b):
    assert a == b, "%.200r is not %.200r" % (a, b)


def child(fn):
    """fn in another process; its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            fn()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def as_user(uid, fn):
    def run():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        fn()

    return child(run)


# ---- open ----

@test
def open_flags():
    with fails(errno.ENOENT):
        os.open("f", os.O_RDWR)
    fd = os.open("f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
    with fails(errno.EEXIST):
        os.open("f", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.write(fd, b"hello")
    r = os.open("f", os.O_RDONLY)
    with fails(errno.EBADF):
        os.write(r, b"x")
    w = os.open("f", os.O_WRONLY)
    with fails(errno.EBADF):
        os.read(w, 1)
    same(os.read(r, 10), b"hello")
    t = os.open("f", os.O_WRONLY | os.O_TRUNC)
    same(os.fstat(fd).st_size, 0)
    same(os.pread(r, 10, 0), b"")
    os.close(t)
    os.mkdir("d")
    with fails(errno.EISDIR):
        os.open("d", os.O_RDWR)
    with fails(errno.EISDIR):
        os.open("d", os.O_CREAT | os.O_RDWR)
    with fails(errno.ENOTDIR):
        os.open("f", os.O_RDONLY | os.O_DIRECTORY)
    with fails(errno.ENOTDIR):
        os.open("f/x", os.O_RDONLY)
    os.symlink("f", "l")
    with fails(errno.ELOOP):
        os.open("l", os.O_RDONLY | os.O_NOFOLLOW)
    with fails(errno.EEXIST):
        os.open("l", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    p = os.open("f", os.O_PATH)
    same(os.fstat(p).st_ino, os.stat("f").st_ino)
    os.symlink("through", "l2")
    os.close(os.open("l2", os.O_CREAT | os.O_RDWR, 0o600))
    same(os.stat("through").st_size, 0)
    os.close(os.open("f", os.O_RDONLY | os.O_NOATIME | os.O_NONBLOCK | os.O_CLOEXEC))
    for fd in (fd, r, w, p):
        os.close(fd)


@test
def open_tmpfile():
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as e:
        refused(e, errno.EOPNOTSUPP)
    os.write(fd, b"x")
    os.close(fd)


@test
def open_sync():
    for flag in (os.O_SYNC, os.O_DSYNC):
        fd = os.open("f%d" % flag, os.O_CREAT | os.O_RDWR | flag, 0o600)
        same(os.write(fd, b"12345"), 5)
        os.close(fd)
        same(get("f%d" % flag), b"12345")


@test
def open_direct():
    fd = os.open("f", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
    m = mmap.mmap(-1, 65536)
    m.write(b"D" * 65536)
    same(os.writev(fd, [m]), 65536)
    m.seek(0)
    m.write(b"\0" * 65536)
    os.lseek(fd, 4096, 0)
    same(os.readv(fd, [memoryview(m)[:8192]]), 8192)
    same(bytes(m[:8192]), b"D" * 8192)
    os.close(fd)


@test
def append():
    fd = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    other = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for i in range(50):
        os.write(fd, b"a%03d\n" % i)
        os.write(other, b"b%03d\n" % i)
    os.lseek(fd, 0, 0)
    os.write(fd, b"last\n")
    os.close(fd)
    os.close(other)
    lines = get("log").split(b"\n")
    same(len(lines), 102)
    same(lines[:2] + lines[100:101], [b"a000", b"b000", b"last"])

    def writer(c):
        f = os.open("many", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        for _ in range(200):
            os.write(f, c * 37 + b"\n")
        os.close(f)

    pids = []
    for c in (b"x", b"y", b"z"):
        pid = os.fork()
        if pid == 0:
            writer(c)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        same(os.waitpid(pid, 0)[1], 0)
    lines = get("many").split(b"\n")
    same(len(lines), 601)
    for line in lines[:-1]:
        assert line in (b"x" * 37, b"y" * 37, b"z" * 37), line


# ---- size ----

@test
def truncate():
    put("f", b"0123456789")
    os.truncate("f", 4)
    same(get("f"), b"0123")
    os.truncate("f", 8)
    same(get("f"), b"0123\0\0\0\0")
    os.truncate("f", 10000)
    os.truncate("f", 3)
    os.truncate("f", 6000)
    same(get("f"), b"012" + bytes(5997))
    fd = os.open("f", os.O_RDWR)
    os.ftruncate(fd, 2)
    same(os.pread(fd, 10, 0), b"01")
    os.close(fd)
    r = os.open("f", os.O_RDONLY)
    with fails(errno.EINVAL, errno.EBADF):
        os.ftruncate(r, 1)
    os.close(r)
    with fails(errno.EINVAL):
        os.truncate("f", -1)
    os.mkdir("d")
    with fails(errno.EISDIR):
        os.truncate("d", 0)
    before = os.stat("f")
    time.sleep(0.02)
    os.truncate("f", 2)
    assert os.stat("f").st_mtime_ns > before.st_mtime_ns, "truncate to the same size sets mtime"


@test
def beyond_4_gib():
    fd = os.open("big", os.O_CREAT | os.O_RDWR, 0o600)
    at = (5 << 30) + 123
    os.pwrite(fd, b"far", at)
    same(os.fstat(fd).st_size, at + 3)
    same(os.pread(fd, 8, at - 5), bytes(5) + b"far")
    same(os.pread(fd, 4, 4 << 30), bytes(4))
    os.pwrite(fd, b"edge", (4 << 30) - 2)
    same(os.pread(fd, 6, (4 << 30) - 3), b"\0edge\0")
    os.ftruncate(fd, (1 << 42) + 1)
    same(os.stat("big").st_size, (1 << 42) + 1)
    same(os.pread(fd, 8, 1 << 42), b"\0")
    os.ftruncate(fd, 10)
    os.close(fd)
    with fails(errno.EFBIG, errno.EINVAL):
        os.truncate("big", (1 << 63) - 1)


@test
def allocate():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"x" * 20000)
    try:
        fallocate(fd, 0, 0, 50000)
    except OSError as e:
        refused(e, errno.EOPNOTSUPP)
    same(os.fstat(fd).st_size, 50000)
    same(os.pread(fd, 40000, 19990), b"x" * 10 + bytes(30000))
    fallocate(fd, KEEP_SIZE, 50000, 100000)
    same(os.fstat(fd).st_size, 50000)
    os.posix_fallocate(fd, 0, 60000)
    same(os.fstat(fd).st_size, 60000)
    with fails(errno.EINVAL):
        fallocate(fd, 0, 0, 0)
    r = os.open("f", os.O_RDONLY)
    with fails(errno.EBADF):
        fallocate(r, 0, 0, 10)


@test
def punch():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"x" * 30000)
    try:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 5000, 10000)
    except OSError as e:
        refused(e, errno.EOPNOTSUPP)
    same(os.fstat(fd).st_size, 30000)
    same(os.pread(fd, 30000, 0), b"x" * 5000 + bytes(10000) + b"x" * 15000)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 29000, 5000)
    same(os.fstat(fd).st_size, 30000)
    same(os.pread(fd, 2000, 28000), b"x" * 1000 + bytes(1000))
    try:
        fallocate(fd, ZERO_RANGE, 25000, 10000)
    except OSError as e:
        refused(e, errno.EOPNOTSUPP)
    same(os.fstat(fd).st_size, 35000)
    same(os.pread(fd, 20000, 24000), b"x" * 1000 + bytes(10000))
    os.close(fd)


@test
def seek_data_hole():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    os.pwrite(fd, b"a" * 4096, 1 << 20)
    os.ftruncate(fd, 4 << 20)
    data = os.lseek(fd, 0, os.SEEK_DATA)
    hole = os.lseek(fd, 1 << 20, os.SEEK_HOLE)
    assert data <= 1 << 20, data
    assert hole >= (1 << 20) + 4096 and hole <= 4 << 20, hole
    same(os.lseek(fd, hole, os.SEEK_HOLE), hole)
    with fails(errno.ENXIO):
        os.lseek(fd, 4 << 20, os.SEEK_DATA)
    with fails(errno.ENXIO):
        os.lseek(fd, 5 << 20, os.SEEK_HOLE)
    put("full", b"z" * 10000)
    fd = os.open("full", os.O_RDONLY)
    same(os.lseek(fd, 0, os.SEEK_DATA), 0)
    same(os.lseek(fd, 100, os.SEEK_HOLE), 10000)


# ---- mappings ----

@test
def mmap_shared():
    put("f", b"0" * 100000)
    fd = os.open("f", os.O_RDWR)
    with mmap.mmap(fd, 100000) as m:
        m[5000:5005] = b"hello"
        m.flush()
        same(os.pread(fd, 5, 5000), b"hello")
        os.pwrite(fd, b"world", 70000)
        same(m[70000:70005], b"world")
        m[99990:] = b"E" * 10
    os.close(fd)
    same(get("f")[99980:], b"0" * 10 + b"E" * 10)
    same(os.stat("f").st_size, 100000)


@test
def mmap_fork():
    put("f", bytes(65536))
    fd = os.open("f", os.O_RDWR)
    m = mmap.mmap(fd, 65536)
    os.close(fd)

    def work():
        m[1000:1003] = b"kid"

    same(child(work), 0)
    same(m[1000:1003], b"kid")
    m[2000:2006] = b"parent"
    m.close()
    same(get("f")[1000:1003] + get("f")[2000:2006], b"kidparent")


@test
def mmap_private():
    put("f", b"p" * 8192)
    fd = os.open("f", os.O_RDONLY)
    m = mmap.mmap(fd, 8192, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    m[0:1] = b"X"
    same(get("f")[0:1], b"p")
    m.close()
    os.close(fd)


@test
def mmap_after_close_and_unlink():
    put("f", b"q" * 8192)
    fd = os.open("f", os.O_RDWR)
    m = mmap.mmap(fd, 8192)
    os.close(fd)
    os.unlink("f")
    m[10:13] = b"abc"
    m.flush()
    same(m[9:14], b"qabcq")
    m.close()


@test
def runs_programs():
    shutil.copy("/bin/true", "prog")
    same(subprocess.run(["./prog"]).returncode, 0)
    with open("script", "w") as f:
        f.write("#!/bin/sh\nexit 7\n")
    os.chmod("script", 0o755)
    same(subprocess.run(["./script"]).returncode, 7)
    os.chmod("script", 0o644)
    with fails(errno.EACCES):
        subprocess.run(["./script"])


# ---- syncs ----

@test
def syncs():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"1")
    os.fsync(fd)
    os.write(fd, b"2")
    os.fdatasync(fd)
    os.rename("f", "g")
    os.fsync(fd)
    os.close(fd)
    d = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(d)
    os.close(d)
    r = os.open("g", os.O_RDONLY)
    os.fsync(r)
    os.close(r)
    fd = os.open("h", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"gone")
    os.unlink("h")
    os.fsync(fd)
    same(os.pread(fd, 9, 0), b"gone")
    os.close(fd)
    os.sync()


# ---- names ----

@test
def rename_forms():
    put("a", b"A")
    put("b", b"B")
    fa = os.open("a", os.O_RDWR)
    fb = os.open("b", os.O_RDWR)
    os.rename("a", "b")
    same(get("b"), b"A")
    same(os.pread(fb, 1, 0), b"B")
    same(os.fstat(fb).st_nlink, 0)
    os.pwrite(fa, b"AA", 0)
    same(get("b"), b"AA")
    with fails(errno.ENOENT):
        os.stat("a")
    os.close(fa)
    os.close(fb)
    os.rename("b", "b")
    same(get("b"), b"AA")
    os.mkdir("d1")
    os.mkdir("d2")
    put("d1/x", b"x")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rename("d2", "d1")
    os.rename("d1", "d2")
    same(os.listdir("d2"), ["x"])
    with fails(errno.EISDIR):
        os.rename("b", "d2")
    with fails(errno.ENOTDIR):
        os.rename("d2", "b")
    with fails(errno.EINVAL):
        os.rename("d2", "d2/sub")
    os.mkdir("d2/s")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rename("d2/s", "d2")
    os.rename("d2/x", "y")
    same(get("y"), b"x")
    with fails(errno.ENOENT):
        os.rename("nothing", "z")
    os.symlink("y", "l")
    os.rename("l", "l2")
    same(os.readlink("l2"), "y")


@test
def rename_flags():
    put("a", b"A")
    put("b", b"B")
    with fails(errno.EEXIST):
        renameat2("a", "b", NOREPLACE)
    renameat2("a", "c", NOREPLACE)
    fb, fc = os.open("b", os.O_RDONLY), os.open("c", os.O_RDONLY)
    renameat2("b", "c", EXCHANGE)
    same((get("b"), get("c")), (b"A", b"B"))
    same(os.fstat(fb).st_ino, os.stat("c").st_ino)
    same(os.pread(fc, 1, 0), b"A")
    os.mkdir("d")
    put("d/x", b"x")
    renameat2("d", "c", EXCHANGE)
    same(get("c/x"), b"x")
    same(get("d"), b"B")
    with fails(errno.ENOENT):
        renameat2("c", "nothing", EXCHANGE)
    with fails(errno.EINVAL):
        renameat2("b", "d", NOREPLACE | EXCHANGE)
    os.mkdir("c/sub")
    with fails(errno.EINVAL):
        renameat2("c", "c/sub", EXCHANGE)
    os.close(fb)
    os.close(fc)


@test
def rename_open_tree():
    os.makedirs("t/u")
    put("t/u/f", b"1")
    fd = os.open("t/u/f", os.O_RDWR)
    d = os.open("t/u", os.O_RDONLY)
    os.rename("t", "t2")
    os.write(fd, b"two")
    put("t2/u/g", b"g")
    same(sorted(os.listdir(d)), ["f", "g"])
    same(get("t2/u/f"), b"two")
    os.close(os.open("h", os.O_CREAT | os.O_WRONLY, dir_fd=d))
    same(sorted(os.listdir("t2/u")), ["f", "g", "h"])
    here = os.open(".", os.O_RDONLY)
    os.chdir("t2/u")
    os.rename("../../t2", "../../t3")
    same(os.getcwd().split("/")[-2:], ["t3", "u"])
    same(sorted(os.listdir(".")), ["f", "g", "h"])
    os.fchdir(here)
    os.close(fd)
    os.close(d)


@test
def unlink_open():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"still here")
    os.unlink("f")
    with fails(errno.ENOENT):
        os.stat("f")
    same(os.fstat(fd).st_nlink, 0)
    os.pwrite(fd, b"STILL", 0)
    os.ftruncate(fd, 100000)
    same(os.pread(fd, 10, 0), b"STILL here")
    put("f", b"new")
    same(os.pread(fd, 5, 0), b"STILL")
    same(get("f"), b"new")
    os.fchmod(fd, 0o400)
    os.close(fd)
    same(get("f"), b"new")


@test
def rmdir_open():
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY)
    os.rmdir("d")
    same(os.listdir(fd), [])
    with fails(errno.ENOENT):
        os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    same(os.fstat(fd).st_nlink, 0)
    os.close(fd)


@test
def directories():
    os.mkdir("d", 0o751)
    same(stat.S_IMODE(os.stat("d").st_mode), 0o751)
    with fails(errno.EEXIST):
        os.mkdir("d")
    put("d/f")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir("d")
    with fails(errno.ENOTDIR):
        os.rmdir("d/f")
    with fails(errno.EISDIR, errno.EPERM):
        os.unlink("d")
    with fails(errno.EINVAL):
        os.rmdir("d/.")
    with fails(errno.ENOTEMPTY, errno.EINVAL, errno.EEXIST):
        os.rmdir("d/..")
    same(os.stat("d").st_nlink, 2)
    os.mkdir("d/e")
    same(os.stat("d").st_nlink, 3)
    os.rename("d/e", "e")
    same(os.stat("d").st_nlink, 2)
    before = os.stat("d")
    time.sleep(0.02)
    os.unlink("d/f")
    after = os.stat("d")
    assert after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns > before.st_ctime_ns
    os.rmdir("d")


@test
def symlinks():
    os.symlink("target", "l")
    same(os.readlink("l"), "target")
    st = os.lstat("l")
    assert stat.S_ISLNK(st.st_mode)
    same(st.st_size, 6)
    with fails(errno.ENOENT):
        os.stat("l")
    put("target", b"T")
    same(get("l"), b"T")
    long = "x/" * 2000
    os.symlink(long, "long")
    same(os.readlink("long"), long)
    os.symlink("l3", "l2")
    os.symlink("l2", "l3")
    with fails(errno.ELOOP):
        open("l2")
    with fails(errno.EEXIST):
        os.symlink("other", "l")
    with fails(errno.EINVAL):
        os.readlink("target")
    os.utime("l", ns=(1, 2), follow_symlinks=False)
    same(os.lstat("l").st_mtime_ns, 2)
    os.symlink(b"\xff\xfe\n", "bytes")
    same(os.readlink(b"bytes"), b"\xff\xfe\n")


@test
def name_lengths():
    put("n" * 255, b"255")
    same(get("n" * 255), b"255")
    with fails(errno.ENAMETOOLONG):
        put("n" * 256)
    with fails(errno.ENAMETOOLONG):
        os.mkdir("d" * 256)
    with fails(errno.ENAMETOOLONG):
        os.rename("n" * 255, "m" * 256)
    with fails(errno.ENAMETOOLONG):
        os.stat("m" * 256)
    os.rename("n" * 255, "m" * 255)
    os.mkdir("d" * 255)
    same(sorted(os.listdir(".")), ["d" * 255, "m" * 255])


@test
def name_bytes():
    names = ["grün", "日本語" * 20, " ", " lead", "trail ", "new\nline", "tab\t", "back\\slash", "*?[",
             "a%20b", "%", "%2F", "%%", "~", "-rf", ".hidden", "..x", "...", "x.", "a:b", "'q\"",
             "e\u0301", "\u00e9", "😀" * 30, "\x01\x7f", "con", "%41", "%~x", "x%obj"]
    raw = [os.fsencode(n) for n in names] + [b"\xff\xfe\x80", b"\xc3", b"caf\xe9"]
    for i, n in enumerate(raw):
        put(n, b"%d" % i)
    same(sorted(os.listdir(b".")), sorted(raw))
    for i, n in enumerate(raw):
        same(get(n), b"%d" % i)
        os.rename(n, n + b"+")
        os.rename(n + b"+", n)
    for n in raw:
        os.mkdir(n + b".d")
        put(n + b".d/" + n, n)
        same(get(n + b".d/" + n), n)


# ---- attributes ----

@test
def modes_and_owners():
    put("f")
    for m in (0o000, 0o644, 0o1777, 0o2755, 0o4755, 0o7777):
        os.chmod("f", m)
        same(stat.S_IMODE(os.stat("f").st_mode), m)
    os.chmod("f", 0o644)
    os.chown("f", 1234, 4321)
    same((os.stat("f").st_uid, os.stat("f").st_gid), (1234, 4321))
    os.chown("f", -1, 7)
    same((os.stat("f").st_uid, os.stat("f").st_gid), (1234, 7))
    os.symlink("f", "l")
    os.lchown("l", 5, 6)
    same((os.lstat("l").st_uid, os.stat("l").st_uid), (5, 1234))
    old = os.umask(0o027)
    os.close(os.open("u", os.O_CREAT | os.O_WRONLY, 0o666))
    os.mkdir("ud", 0o777)
    os.umask(old)
    same(stat.S_IMODE(os.stat("u").st_mode), 0o640)
    same(stat.S_IMODE(os.stat("ud").st_mode), 0o750)
    os.mkdir("g")
    os.chown("g", 0, 77)
    os.chmod("g", 0o2755)
    put("g/f")
    os.mkdir("g/d")
    same(os.stat("g/f").st_gid, 77)
    same((os.stat("g/d").st_gid, stat.S_IMODE(os.stat("g/d").st_mode) & 0o2000), (77, 0o2000))


@test
def permissions():
    os.chmod(".", 0o755)
    put("secret", b"s")
    os.chmod("secret", 0o600)
    os.mkdir("open", 0o777)
    os.chmod("open", 0o1777)
    put("open/mine")

    def user():
        with fails(errno.EACCES):
            open("secret")
        with fails(errno.EACCES):
            put("new")
        with fails(errno.EPERM):
            os.chmod("secret", 0o777)
        with fails(errno.EPERM, errno.EACCES):
            os.unlink("open/mine")
        put("open/theirs", b"t")
        same(os.stat("open/theirs").st_uid, 65534)
        os.chmod("open/theirs", 0o600)
        with fails(errno.EPERM):
            os.chown("open/theirs", 0, 0)
        same(os.access("secret", os.R_OK), False)
        same(os.access("open/theirs", os.R_OK | os.W_OK), True)
        same(os.access("open/theirs", os.X_OK), False)
        with fails(errno.EPERM):
            os.utime("secret", ns=(1, 1))

    same(as_user(65534, user), 0)
    same(get("open/theirs"), b"t")
    same(os.access("nothing", os.F_OK), False)


@test
def set_id_bits():
    """Cleared by a write and by a chown of somebody who is not root; and by root's chown."""
    os.chmod(".", 0o777)
    put("w", b"x")
    os.chmod("w", 0o6777)

    def write():
        fd = os.open("w", os.O_WRONLY)
        os.write(fd, b"y")
        os.close(fd)

    same(as_user(65534, write), 0)
    same(stat.S_IMODE(os.stat("w").st_mode), 0o777)
    os.chmod("w", 0o6777)

    def trunc():
        fd = os.open("w", os.O_WRONLY)
        os.ftruncate(fd, 0)
        os.close(fd)

    same(as_user(65534, trunc), 0)
    same(stat.S_IMODE(os.stat("w").st_mode), 0o777)
    os.chmod("w", 0o6777)

    def otrunc():
        os.close(os.open("w", os.O_WRONLY | os.O_TRUNC))

    same(as_user(65534, otrunc), 0)
    same(stat.S_IMODE(os.stat("w").st_mode), 0o777)
    put("m", bytes(4096))
    os.chmod("m", 0o6777)

    def mapped():
        fd = os.open("m", os.O_RDWR)
        with mmap.mmap(fd, 4096) as m:
            m[0:1] = b"z"
        os.close(fd)

    same(as_user(65534, mapped), 0)
    os.chmod("w", 0o6755)
    os.chown("w", 12, 12)
    same(stat.S_IMODE(os.stat("w").st_mode), 0o755)
    os.chown("w", 65534, 65534)
    os.chmod("w", 0o6755)

    def own():
        os.chown("w", -1, 65534)

    same(as_user(65534, own), 0)
    same(stat.S_IMODE(os.stat("w").st_mode), 0o755)
    os.chmod("w", 0o2644)  # no group execution: a lock bit, not set-id
    os.chown("w", 12, 12)
    same(stat.S_IMODE(os.stat("w").st_mode), 0o2644)
    os.mkdir("d")
    os.chmod("d", 0o6755)
    os.chown("d", 12, 12)
    same(stat.S_IMODE(os.stat("d").st_mode), 0o6755)


@test
def times():
    put("f", b"1")
    ns = (1_600_000_000_123_456_789, 1_500_000_000_987_654_321)
    os.utime("f", ns=ns)
    st = os.stat("f")
    same((st.st_atime_ns, st.st_mtime_ns), ns)
    for t in (0, 1, -1, -2_000_000_000_123_456_789, 4_000_000_000_000_000_001):
        os.utime("f", ns=(t, t))
        same((os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns), (t, t))
    before = time.time_ns() - 50_000_000
    os.utime("f")
    st = os.stat("f")
    assert st.st_mtime_ns >= before and st.st_atime_ns >= before
    c = os.stat("f").st_ctime_ns
    time.sleep(0.02)
    os.chmod("f", 0o600)
    assert os.stat("f").st_ctime_ns > c
    same(os.stat("f").st_mtime_ns, st.st_mtime_ns)
    time.sleep(0.02)
    with open("f", "ab") as f:
        f.write(b"2")
    st2 = os.stat("f")
    assert st2.st_mtime_ns > st.st_mtime_ns and st2.st_ctime_ns >= st2.st_mtime_ns
    os.utime("f", ns=ns)
    os.rename("f", "g")
    same(os.stat("g").st_mtime_ns, ns[1])
    os.mkdir("d")
    os.utime("d", ns=ns)
    same(os.stat("d").st_mtime_ns, ns[1])
    fd = os.open("g", os.O_RDWR)
    os.pwrite(fd, b"x", 0)
    os.utime(fd, ns=ns)
    os.close(fd)
    same(os.stat("g").st_mtime_ns, ns[1])  # as tar and cp -p do: the close does not undo it


@test
def statfs():
    s = os.statvfs(".")
    assert s.f_bsize > 0 and s.f_blocks > 0 and s.f_bavail <= s.f_blocks
    same(s.f_namemax, 255)
    assert s.f_files > 0
    fd = os.open(".", os.O_RDONLY)
    os.fstatvfs(fd)
    os.close(fd)


@test
def blocks():
    put("f", b"x" * 10000)
    fd = os.open("f", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert os.stat("f").st_blocks >= 19, "0 makes tar -S store zeros"
    assert os.stat("f").st_blksize >= 512


@test
def links_and_nodes_are_refused():
    put("f")
    with fails(errno.EPERM, errno.EOPNOTSUPP):
        os.link("f", "h")
    with fails(errno.EPERM, errno.EOPNOTSUPP):
        os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with fails(errno.EPERM, errno.EOPNOTSUPP):
        os.mknod("b", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    with fails(errno.EPERM, errno.EOPNOTSUPP):
        os.mkfifo("p")
    with fails(errno.EPERM, errno.EOPNOTSUPP):
        os.mknod("s", stat.S_IFSOCK | 0o600)
    os.mknod("r", stat.S_IFREG | 0o640)
    same(stat.S_IMODE(os.stat("r").st_mode), 0o640)
    same(sorted(os.listdir(".")), ["f", "r"])


# ---- locks ----

def locked_elsewhere(fn):
    def run():
        try:
            fn(os.open("f", os.O_RDWR))
        except OSError as e:
            assert e.errno in (errno.EAGAIN, errno.EACCES), e
            os._exit(9)

    return child(run) == 9


@test
def flocks():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert locked_elsewhere(lambda f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB))
    assert locked_elsewhere(lambda f: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB))
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert not locked_elsewhere(lambda f: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB))
    os.close(fd)
    assert not locked_elsewhere(lambda f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB))


@test
def fcntl_locks():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 50)
    assert locked_elsewhere(lambda f: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 120))
    assert not locked_elsewhere(lambda f: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 50, 0))
    r, w = os.pipe()

    def waits():
        f = os.open("f", os.O_RDWR)
        os.write(w, b"1")
        fcntl.lockf(f, fcntl.LOCK_EX, 10, 50)
        os.write(w, b"2")

    pid = os.fork()
    if pid == 0:
        waits()
        os._exit(0)
    os.read(r, 1)
    same(select.select([r], [], [], 0.2)[0], [])
    os.close(os.open("f", os.O_RDONLY))  # any close of the file drops this process's locks
    same(os.read(r, 1), b"2")
    same(os.waitpid(pid, 0)[1], 0)


# ---- extended attributes ----

@test
def xattrs():
    put("f")
    os.mkdir("d")
    for p in ("f", "d"):
        os.setxattr(p, "user.one", b"1")
        os.setxattr(p, "user.bin", bytes(range(256)))
        os.setxattr(p, "user.empty", b"")
        same(os.getxattr(p, "user.bin"), bytes(range(256)))
        same(os.getxattr(p, "user.empty"), b"")
        assert {"user.one", "user.bin", "user.empty"} <= set(os.listxattr(p))
        with fails(errno.EEXIST):
            os.setxattr(p, "user.one", b"2", os.XATTR_CREATE)
        with fails(errno.ENODATA):
            os.setxattr(p, "user.none", b"2", os.XATTR_REPLACE)
        with fails(errno.ENODATA):
            os.getxattr(p, "user.none")
        with fails(errno.ENODATA):
            os.removexattr(p, "user.none")
        os.removexattr(p, "user.one")
        assert "user.one" not in os.listxattr(p)
        os.setxattr(p, "user.big", b"B" * 1000)
        same(os.getxattr(p, "user.big"), b"B" * 1000)
        if p == "f":        # its object has no room for it: refused, and nothing changed
            with fails(errno.ENOSPC):
                os.setxattr(p, "user.big", b"C" * 3000)
            same(os.getxattr(p, "user.big"), b"B" * 1000)
        with fails(errno.ERANGE, errno.EOPNOTSUPP):
            os.setxattr(p, "user." + "n" * 255, b"")
    os.setxattr("f", "trusted.t", b"T")
    same(os.getxattr("f", "trusted.t"), b"T")
    os.rename("f", "g")
    same(os.getxattr("g", "user.big"), b"B" * 1000)


# ---- directories ----

@test
def readdir_while_removing():
    os.mkdir("d")
    names = set("f%05d" % i for i in range(5000))
    for n in names:
        os.close(os.open("d/" + n, os.O_CREAT | os.O_WRONLY))
    seen = []
    with os.scandir("d") as it:
        for i, e in enumerate(it):
            seen.append(e.name)
            if i % 2:
                os.unlink("d/" + e.name)
            if i == 1000:
                put("d/new")
    same(len(seen), len(set(seen)))
    assert names <= set(seen), "%d names were skipped" % len(names - set(seen))
    same(len(os.listdir("d")), 2501)
    shutil.rmtree("d")


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort),
                ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]


@test
def seekdir():
    for i in range(300):
        put("f%03d" % i)
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.POINTER(Dirent)
    libc.readdir.argtypes = libc.closedir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
    libc.telldir.restype = ctypes.c_long
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    d = libc.opendir(b".")
    order, at = [], []
    while True:
        at.append(libc.telldir(d))
        e = libc.readdir(d)
        if not e:
            break
        order.append(e.contents.name)
    same(len(order), 302)
    for i in (250, 3, 100, 0):
        libc.seekdir(d, at[i])
        same(libc.readdir(d).contents.name, order[i])
    os.unlink(order[100])
    libc.seekdir(d, at[100])  # its place is gone: what follows comes
    same(libc.readdir(d).contents.name, order[101])
    libc.closedir(d)


@test
def readdir_types():
    put("f")
    os.mkdir("d")
    os.symlink("f", "l")
    with os.scandir(".") as it:
        same({e.name: (e.is_symlink(), e.is_dir(follow_symlinks=False)) for e in it},
             {"f": (False, False), "d": (False, True), "l": (True, False)})
    with os.scandir(".") as it:
        for e in it:
            same(e.inode(), os.lstat(e.name).st_ino)
    same(os.stat("d/..").st_ino, os.stat(".").st_ino)


# ---- copies ----

@test
def copy_range():
    data = os.urandom(300000)
    put("a", data)
    a, b = os.open("a", os.O_RDONLY), os.open("b", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        n = 0
        while n < 300000:
            k = os.copy_file_range(a, b, 300000 - n)
            assert k > 0
            n += k
        same(os.copy_file_range(a, b, 10), 0)
        same(get("b"), data)
        same(os.copy_file_range(a, b, 1000, 50, 20), 1000)
    except OSError as e:
        refused(e, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS)
    same(get("b"), data[:20] + data[50:1050] + data[1020:])
    os.close(a)
    os.close(b)
    subprocess.run(["cp", "--reflink=auto", "a", "c"], check=True)
    same(get("c"), data)
    subprocess.run(["cp", "--sparse=always", "a", "e"], check=True)
    same(get("e"), data)
    s = os.open("a", os.O_RDONLY)
    d = os.open("s", os.O_CREAT | os.O_WRONLY, 0o600)
    same(os.sendfile(d, s, 0, 300000), 300000)
    os.close(d)
    same(get("s"), data)


@test
def tempfiles():
    with tempfile.TemporaryFile(dir=".") as f:
        f.write(b"x" * 10000)
        f.seek(0)
        same(len(f.read()), 10000)
    with tempfile.NamedTemporaryFile(dir=".") as f:
        f.write(b"named")
        f.flush()
        same(get(f.name), b"named")
    with tempfile.TemporaryDirectory(dir=".") as d:
        put(d + "/f", b"1")
    with tempfile.SpooledTemporaryFile(max_size=10, dir=".") as f:
        f.write(b"y" * 100)
        f.rollover()
        f.seek(0)
        same(len(f.read()), 100)
    same(os.listdir("."), [])


@test
def many_at_once():
    """Threads and processes that create, rename and remove in one directory."""
    bad = []

    def worker(k):
        try:
            for i in range(60):
                p = "w%d-%d" % (k, i)
                put(p, b"%d" % i)
                os.rename(p, "r" + p)
                same(get("r" + p), b"%d" % i)
                if i % 3:
                    os.unlink("r" + p)
        except BaseException:
            bad.append(traceback.format_exc())

    ts = [threading.Thread(target=worker, args=(k,)) for k in range(8)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    assert not bad, bad[0]
    same(len(os.listdir(".")), 8 * 20)


def main():
    top = os.path.abspath(sys.argv[1])
    want = sys.argv[2:]
    failed = 0
    signal.alarm(500)
    for fn in tests:
        if want and fn.__name__ not in want:
            continue
        d = os.path.join(top, fn.__name__)
        os.mkdir(d)
        os.chdir(d)
        t0 = time.monotonic()
        try:
            fn()
            print("ok %s (%.1f s)" % (fn.__name__, time.monotonic() - t0), flush=True)
        except Refused as e:
            print("ok %s (refused: %s)" % (fn.__name__, e), flush=True)
        except BaseException:
            failed += 1
            print("FAILED %s\n%s" % (fn.__name__, traceback.format_exc()), flush=True)
        os.chdir(top)
        try:
            shutil.rmtree(d)
        except OSError as e:
            failed += 1
            print("FAILED %s: cannot be removed: %s" % (fn.__name__, e), flush=True)
    print("%d failed" % failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
