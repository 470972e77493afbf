# SPDX-License-Identifier: MIT
"""What the kill, power cut and fault runs share: a daemon to start and end, workers that change
the mount and keep a model of every change that was acknowledged, and comparisons.

Each worker is one thread and owns its names (they start with "wN-"), so its model is sequential:
at any moment at most one system call of it is under way, which may or may not have happened when
the daemon dies. A model state is never changed in place; the history of states is the model."""

import ctypes
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
import traceback

ROOTS = ("aws", "gcp", "azure")
SHARED = ("s0", "s1")           # directories that all workers use
OWNER = re.compile(r"(?:^|/)w(\d+)-")
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
CHUNK = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class Fail(Exception):
    """The mount, the stores or the daemon are not as they must be."""


def rename(a, b, flags=0):
    if _libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), a, None, b)


def unmount(path):
    subprocess.run(["fusermount3", "-uzq", path], stderr=subprocess.DEVNULL, check=False)


def write_all(fd, data, off):
    k = os.pwrite(fd, data, off)
    if k != len(data):
        raise OSError(errno.EIO, "short write, %d of %d bytes" % (k, len(data)))


def copy_whole(fd, out, size):
    """False when the file system leaves it to the caller. A file of its own either way."""
    done = 0
    try:
        while done < size:
            n = os.copy_file_range(fd, out, size - done)
            if n == 0:
                raise OSError(errno.EIO, "copy_file_range ended at %d of %d bytes" % (done, size))
            done += n
    except OSError as e:
        if done or e.errno not in (errno.EOPNOTSUPP, errno.EXDEV):
            raise
        return False
    return True


def unmount_by_force(path):
    """Ends the connection as well: what waits for a daemon that cannot die gets an error."""
    _libc.umount2(os.fsencode(path), 1 | 2)         # MNT_FORCE | MNT_DETACH


def mounted(path):
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as f:
        return any(line.split()[1] == path for line in f)


def body(tag, size):
    """Bytes that tell what they are: reproducible, and different for each tag in each block."""
    out = bytearray()
    n = 0
    while len(out) < size:
        seed = hashlib.sha256(("%s/%d" % (tag, n)).encode()).digest()
        out += seed * (CHUNK // len(seed))
        n += 1
    return bytes(out[:size])


class Daemon:
    """One astrafs on one mount point; state and data may move between starts."""

    def __init__(self, args, work, state=None, data=None):
        self.astrafs, self.astra = args.astrafs, args.astra
        self.work = work
        self.mnt = os.path.join(work, "mnt")
        self.state = state or os.path.join(work, "state")
        self.data = data or os.path.join(work, "data")
        self.opts = list(args.opts)
        self.conf = None                # a configuration file
        self.native = None              # where its buckets are directories
        self.log = os.path.join(work, "daemon.log")
        # sockets and settings of the user are not this run's
        self.env = dict(os.environ, ASTRA_RUNTIME_DIR=os.path.join(work, "run"),
                        XDG_CONFIG_HOME=os.path.join(work, "config"))
        self.proc = None
        os.makedirs(self.mnt, exist_ok=True)

    def command(self):
        o = ["state=" + self.state, "data=" + self.data] + self.opts
        conf = ["-c", self.conf] if self.conf else []
        return [self.astrafs, "-f", *conf, "-o", ",".join(o), self.mnt]

    def start(self, timeout=30):
        with open(self.log, "ab") as log:
            log.write(("--- start %s\n" % time.strftime("%H:%M:%S")).encode())
            log.flush()
            self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, env=self.env)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                raise Fail("astrafs ended with %d while mounting: %s"
                           % (self.proc.returncode, self.log_tail()))
            try:
                if mounted(self.mnt) and os.listdir(self.mnt):
                    return
            except OSError:     # the dead mount of the daemon before
                pass
            time.sleep(0.005)
        raise Fail("astrafs was not mounted after %d s" % timeout)

    def log_tail(self):
        with open(self.log, "rb") as f:
            return f.read()[-600:].decode(errors="replace")

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self, detach=True):
        stuck = False
        if self.proc is not None:
            proc, self.proc = self.proc, None
            proc.kill()
            try:
                proc.wait(5)
            except subprocess.TimeoutExpired:
                stuck = True
                where = self.threads(proc.pid)
                unmount_by_force(self.mnt)
                proc.wait(20)
        if detach:
            unmount(self.mnt)
        if stuck:
            raise Fail("astrafs did not end after kill -9 until its mount was forced off; "
                       "threads: " + where)

    @staticmethod
    def threads(pid):
        out = []
        for t in os.listdir("/proc/%d/task" % pid):
            try:
                with open("/proc/%d/task/%s/comm" % (pid, t), encoding="utf-8") as f, \
                        open("/proc/%d/task/%s/wchan" % (pid, t), encoding="utf-8") as g:
                    out.append(f.read().strip() + " in " + g.read().strip())
            except OSError:
                pass
        return ", ".join(sorted(out))

    def verb(self, *words, timeout=60, fine=(0,)):
        r = subprocess.run([self.astra, "--mount", self.mnt, *words], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                           env=self.env, check=False)
        if r.returncode not in fine:
            raise Fail("astra %s: exit %d: %s" % (" ".join(words), r.returncode,
                                                  r.stdout.decode(errors="replace")[-400:]))
        return r.stdout.decode(errors="replace")

    def settle(self, timeout=60):
        try:
            self.verb("status", "--wait-clean", timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Fail("not settled after %d s" % timeout) from None

    def umount(self, by_signal=False, timeout=40):
        try:
            if by_signal:
                self.proc.send_signal(signal.SIGTERM)
            else:
                self.verb("umount", timeout=timeout, fine=(0, 6))  # 6: something is left
            rc = self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Fail("astrafs did not end after an unmount") from None
        self.proc = None
        if rc != 0:
            raise Fail("astrafs ended with %d after an unmount: %s" % (rc, self.log_tail()))

    def bucket(self, root):
        return os.path.join(self.native or os.path.join(self.data, root), "astra-" + root)


# ---- what is on the mount and in the stores ----

class File:
    """One state of a file; never changed, only replaced."""
    __slots__ = ("id", "data", "mode", "note")

    def __init__(self, id_, data=b"", mode=0o644, note=None):
        self.id, self.data, self.mode, self.note = id_, data, mode, note

    def but(self, **kw):
        f = File(self.id, self.data, self.mode, self.note)
        for k, v in kw.items():
            setattr(f, k, v)
        return f

    def attrs(self):
        return self.mode, self.note


def read_file(path):
    try:
        with open(path, "rb", buffering=0) as f:
            out = []
            while True:
                b = f.read(1 << 20)
                if not b:
                    return b"".join(out)
                out.append(b)
    except OSError as e:                # read(2) does not say of which file
        e.filename = path
        raise


def read_attrs(path):
    try:
        note = os.getxattr(path, "user.note")
    except OSError as e:
        if e.errno != errno.ENODATA:
            raise
        note = None
    return stat.S_IMODE(os.lstat(path).st_mode), note


def scan(top, roots=ROOTS):
    """All files (path -> File without id) and directories below the roots of a mount."""
    files, dirs = {}, set()

    def walk(rel):
        names = os.listdir(os.path.join(top, rel))
        if len(names) != len(set(names)):
            raise Fail("%s lists a name twice" % rel)
        for name in names:
            sub = rel + "/" + name
            full = os.path.join(top, sub)
            mode = os.lstat(full).st_mode
            if stat.S_ISDIR(mode):
                dirs.add(sub)
                walk(sub)
            elif stat.S_ISLNK(mode):    # its object holds the target
                files[sub] = File(None, os.fsencode(os.readlink(full)))
            else:
                files[sub] = File(None, read_file(full), *read_attrs(full))

    try:
        for r in roots:
            walk(r)
    except OSError as e:
        raise Fail("the tree cannot be read: %s" % e) from e
    return files, dirs


def scan_native(daemon, roots=ROOTS):
    """The objects as a person finds them: ROOT/KEY -> bytes. Names below .astra are the driver's own."""
    out = {}
    for r in roots:
        top = daemon.bucket(r)
        for d, subdirs, names in os.walk(top):
            subdirs[:] = [s for s in subdirs if not s.startswith(".astra")]
            for n in names:
                full = os.path.join(d, n)
                if not n.startswith(".astra") and stat.S_ISREG(os.lstat(full).st_mode):
                    key = os.path.relpath(full, top)
                    if key.endswith("%obj"):    # its name was once needed for a directory
                        key = key[:-4]
                    out[r + "/" + key] = read_file(full)
    return out


def describe(a, b):
    """Where two byte strings begin to differ."""
    n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return "%d bytes instead of %d, different from byte %d" % (len(a), len(b), n)


def same_native(daemon, files, roots=ROOTS):
    """Once settled, the stores hold exactly the files of the tree."""
    native = scan_native(daemon, roots)
    for p in sorted(set(native) | set(files)):
        if p not in native:
            raise Fail("settled, but %s is not in the store" % p)
        if p not in files:
            raise Fail("settled, but the store has %s, which is not in the tree" % p)
        if native[p] != files[p].data:
            raise Fail("settled, but the object %s: %s" % (p, describe(native[p], files[p].data)))


# ---- workers ----

class State:
    """The names of one worker at one moment."""
    __slots__ = ("files", "dirs")

    def __init__(self, files, dirs):
        self.files, self.dirs = files, dirs

    def copy(self):
        return State(dict(self.files), set(self.dirs))


class Stop(Exception):
    pass


class Worker(threading.Thread):
    WEIGHTS = {
        "writer": {"write": 8, "append": 3, "patch": 3, "truncate": 2, "unlink": 3, "read": 3,
                   "attr": 2, "rename": 2, "save": 3, "copy": 3, "fsync": 1, "ls": 1},
        "renamer": {"write": 4, "rename": 8, "exchange": 4, "unlink": 2, "mkdir": 2, "rmdir": 1,
                    "rendir": 4, "read": 2, "attr": 1, "ls": 1, "fsync": 1, "append": 1, "copy": 2},
        "mover": {"write": 4, "move": 10, "movedir": 3, "mkdir": 2, "unlink": 1, "read": 3,
                  "exchange": 1, "append": 2, "fsync": 1, "ls": 1, "attr": 1},
    }

    def __init__(self, mnt, number, kind, seed, dying, big=300000, max_files=12):
        super().__init__(daemon=True)
        self.mnt, self.number, self.kind = mnt, number, kind
        self.rng = random.Random("%s/%d" % (seed, number))
        self.dying = dying              # set before the daemon is killed
        self.big, self.max_files = big, max_files
        self.made = 0
        self.state = State({}, set())
        self.history = [(time.monotonic(), self.state)]
        self.pending = None             # the state after the call that is under way
        self.pending_what = ""
        self.synced = {}                # file id -> index in history that fsync made durable
        self.ops = 0
        self.error = None
        self.weights = self.WEIGHTS[kind]

    # -- the model --

    def call(self, what, after, fn, *args):
        """One system call that leads from the current state to after."""
        if self.dying.is_set():
            raise Stop
        self.pending, self.pending_what = after, what
        r = fn(*args)
        self.state, self.pending = after, None
        self.history.append((time.monotonic(), after))
        return r

    def with_file(self, path, f):
        s = self.state.copy()
        if f is None:
            del s.files[path]
        else:
            s.files[path] = f
        return s

    def full(self, path):
        return os.path.join(self.mnt, path)

    def run(self):
        try:
            while not self.dying.is_set():
                names, weights = zip(*self.weights.items())
                getattr(self, "op_" + self.rng.choices(names, weights)[0])()
                self.ops += 1
        except Stop:
            pass
        except Fail as e:
            self.error = e
        except OSError as e:
            if not self.dying.is_set():
                self.error = Fail("worker %d (%s): %s: %s" % (self.number, self.kind,
                                                              self.pending_what, e))
        except Exception:               # a mistake of this program
            self.error = Fail(traceback.format_exc())

    # -- choosing --

    def places(self, root=None):
        roots = [root] if root else ROOTS
        own = [d for d in self.state.dirs if not root or d.startswith(root + "/")]
        return [r + s for r in roots for s in ("", "/" + SHARED[0], "/" + SHARED[1])] + sorted(own)

    def new_path(self, root=None):
        n = self.rng.randrange(8)
        return "%s/w%d-%d" % (self.rng.choice(self.places(root)), self.number, n)

    def a_file(self):
        return self.rng.choice(sorted(self.state.files)) if self.state.files else None

    def a_dir(self):
        return self.rng.choice(sorted(self.state.dirs)) if self.state.dirs else None

    def size(self):
        k = self.rng.random()
        return 0 if k < 0.05 else self.rng.randrange(20000) if k < 0.85 else \
            self.rng.randrange(self.big)

    # -- operations --

    def write_chunks(self, fd, path, data, off):
        while data:
            n = min(len(data), self.rng.choice((4096 if len(data) < 40000 else 40000, 1 << 17)))
            f = self.state.files[path]
            old = f.data.ljust(off, b"\0")
            new = f.but(data=old[:off] + data[:n] + old[off + n:])
            self.call("write %s" % path, self.with_file(path, new), write_all, fd, data[:n], off)
            off, data = off + n, data[n:]

    def fresh(self, path, data):
        """Creates or empties path and writes data; returns the open descriptor."""
        old = self.state.files.get(path)
        if old is None:
            self.made += 1
            f = File("w%d.%d" % (self.number, self.made))
        else:
            f = old.but(data=b"")
        fd = self.call("create %s" % path, self.with_file(path, f), os.open, self.full(path),
                       os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            self.write_chunks(fd, path, data, 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def op_write(self):
        if len(self.state.files) >= self.max_files:
            self.op_unlink()
            return
        path = self.new_path()
        fd = self.fresh(path, body("%s@%d" % (path, self.ops), self.size()))
        self.finish(fd, path, 0.1)

    def finish(self, fd, path, sync):
        try:
            if self.rng.random() < sync:
                self.fsync(fd, path)
        finally:
            os.close(fd)

    def fsync(self, fd, path):
        at = len(self.history) - 1
        self.call("fsync %s" % path, self.state, os.fsync, fd)
        self.synced[self.state.files[path].id] = at

    def op_save(self):
        """As editors do: write beside, fsync, rename over."""
        path = self.a_file() or self.new_path()
        tmp = os.path.dirname(path) + "/w%d-tmp" % self.number
        fd = self.fresh(tmp, body("%s@%d" % (tmp, self.ops), self.size()))
        self.finish(fd, tmp, 0.5)
        self.rename(tmp, path)

    def op_copy(self):
        """As cp: by the file system where it can, else by hand."""
        a, b = self.a_file(), None
        if a and len(self.state.files) < self.max_files:
            b = self.new_path(self.rng.choice((a.split("/")[0], None)))
        if not b or a == b:
            return
        fd = os.open(self.full(a), os.O_RDONLY)
        try:
            out = self.fresh(b, b"")
            data = self.state.files[a].data
            copied = self.call("write %s" % b, self.with_file(b, self.state.files[b].but(data=data)),
                               copy_whole, fd, out, len(data))
        finally:
            os.close(fd)
        if not copied:
            self.state = self.history[-2][1]
            self.history.append((time.monotonic(), self.state))
            self.write_chunks(out, b, data, 0)
        self.finish(out, b, 0.1)

    def op_append(self):
        path = self.a_file()
        if path and len(self.state.files[path].data) < self.big:
            fd = os.open(self.full(path), os.O_RDWR)
            try:
                self.write_chunks(fd, path, body("%s+%d" % (path, self.ops), self.size()),
                                  len(self.state.files[path].data))
            except BaseException:
                os.close(fd)
                raise
            self.finish(fd, path, 0.1)

    def op_patch(self):
        path = self.a_file()
        if path and self.state.files[path].data:
            fd = os.open(self.full(path), os.O_RDWR)
            try:
                for _ in range(self.rng.randrange(1, 4)):
                    off = self.rng.randrange(len(self.state.files[path].data))
                    self.write_chunks(fd, path, body("%s~%d" % (path, self.ops),
                                                     self.rng.randrange(1, 6000)), off)
            except BaseException:
                os.close(fd)
                raise
            self.finish(fd, path, 0.1)

    def op_truncate(self):
        path = self.a_file()
        if path:
            f = self.state.files[path]
            n = self.rng.randrange(len(f.data) + 5000)
            self.call("truncate %s" % path,
                      self.with_file(path, f.but(data=f.data[:n].ljust(n, b"\0"))),
                      os.truncate, self.full(path), n)

    def op_unlink(self):
        path = self.a_file()
        if path:
            self.call("unlink %s" % path, self.with_file(path, None), os.unlink, self.full(path))

    def op_fsync(self):
        path = self.a_file()
        if path:
            fd = os.open(self.full(path), os.O_RDWR)
            self.finish(fd, path, 1)

    def op_attr(self):
        path = self.a_file()
        if not path:
            return
        f = self.state.files[path]
        if self.rng.random() < 0.5:
            mode = self.rng.choice((0o600, 0o644, 0o640, 0o755))
            self.call("chmod %s" % path, self.with_file(path, f.but(mode=mode)), os.chmod,
                      self.full(path), mode)
        else:
            note = b"note %d" % self.ops
            self.call("setxattr %s" % path, self.with_file(path, f.but(note=note)), os.setxattr,
                      self.full(path), "user.note", note)

    def op_read(self):
        path = self.a_file()
        if path:
            self.pending_what = "read %s" % path
            got, want = read_file(self.full(path)), self.state.files[path]
            if got != want.data and not self.dying.is_set():
                raise Fail("worker %d read %s: %s" % (self.number, path, describe(got, want.data)))

    def op_ls(self):
        place = self.rng.choice(self.places())
        self.pending_what = "ls %s" % place
        names = os.listdir(self.full(place))
        # Others' names may be seen twice: POSIX leaves that open while they are renamed.
        mine = sorted(n for n in names if n.startswith("w%d-" % self.number))
        want = sorted(os.path.basename(p) for p in list(self.state.files) + list(self.state.dirs)
                      if os.path.dirname(p) == place)
        if mine != want and not self.dying.is_set():
            raise Fail("worker %d ls %s: %s instead of %s" % (self.number, place, mine, want))

    def rename(self, a, b, flags=0):
        s = self.state.copy()
        fa, fb = s.files.pop(a), s.files.pop(b, None)
        s.files[b] = fa
        if a == b:
            pass
        elif flags == RENAME_EXCHANGE:
            s.files[a] = fb
        self.call("rename %s %s flags %d" % (a, b, flags), s, rename, self.full(a), self.full(b),
                  flags)

    def op_rename(self):
        path = self.a_file()
        if path:
            self.rename(path, self.new_path(path.split("/")[0]))

    def op_move(self):
        path = self.a_file()
        if path:
            self.rename(path, self.new_path(self.rng.choice(ROOTS)))

    def op_exchange(self):
        a, b = self.a_file(), self.a_file()
        if a and a != b:
            self.rename(a, b, RENAME_EXCHANGE)

    def op_mkdir(self):
        path = "%s/w%d-d%d" % (self.rng.choice(ROOTS), self.number, self.rng.randrange(3))
        if path not in self.state.dirs:
            s = self.state.copy()
            s.dirs.add(path)
            self.call("mkdir %s" % path, s, os.mkdir, self.full(path))

    def op_rmdir(self):
        path = self.a_dir()
        if path and not any(p.startswith(path + "/") for p in self.state.files):
            s = self.state.copy()
            s.dirs.remove(path)
            self.call("rmdir %s" % path, s, os.rmdir, self.full(path))

    def rename_dir(self, root):
        a = self.a_dir()
        b = "%s/w%d-d%d" % (root or (a or "").split("/")[0], self.number, self.rng.randrange(3))
        if not a or b in self.state.dirs:
            return
        move = lambda p: b + p[len(a):] if p == a or p.startswith(a + "/") else p
        s = State({move(p): f for p, f in self.state.files.items()},
                  {move(p) for p in self.state.dirs})
        self.call("rename %s %s" % (a, b), s, rename, self.full(a), self.full(b))

    def op_rendir(self):
        self.rename_dir(None)

    def op_movedir(self):
        self.rename_dir(self.rng.choice(ROOTS))

    # -- judging --

    def differs(self, files, dirs):
        """What was found of this worker after a crash of the daemon alone, against the model:
        None, or why it is neither the last acknowledged state nor the one under way."""
        why = diff_state(self.state, files, dirs)
        if why is None:
            return None
        if self.pending is not None:
            if diff_state(self.pending, files, dirs) is None:
                return None
            if self.pending_what.startswith("write ") and self.half_written(files, dirs):
                return None
            why += " (under way was: %s)" % self.pending_what
        return "worker %d (%s): %s" % (self.number, self.kind, why)

    def half_written(self, files, dirs):
        """A write that was under way may be there in part; everything else must be as it was."""
        path = self.pending_what[6:]
        got = files.get(path)
        if got is None:
            return False
        before, after = self.state.files[path].data, self.pending.files[path].data
        n = max(len(before), len(after))
        if not min(len(before), len(after)) <= len(got.data) <= n:
            return False
        pad = [x.ljust(n, b"\0") for x in (before, after)]
        if any(g not in (b, a) for g, b, a in zip(got.data, *pad)):
            return False
        rest = dict(files)
        rest[path] = self.state.files[path].but(mode=got.mode, note=got.note)
        return diff_state(self.state, rest, dirs) is None


def diff_state(want, files, dirs):
    for p in sorted(set(want.files) | set(files)):
        if p not in files:
            return "%s is missing" % p
        if p not in want.files:
            return "%s should not be there" % p
        if files[p].data != want.files[p].data:
            return "%s: %s" % (p, describe(files[p].data, want.files[p].data))
        if files[p].attrs() != want.files[p].attrs():
            return "%s: attributes %s instead of %s" % (p, files[p].attrs(), want.files[p].attrs())
    for p in sorted(want.dirs ^ dirs):
        return "directory %s is %s" % (p, "missing" if p in want.dirs else "not to be there")
    return None


def by_owner(files, dirs, count):
    """Splits a scan among the workers; a name that is nobody's is a failure."""
    out = [({}, set()) for _ in range(count)]
    for p in list(files) + sorted(dirs):
        m = OWNER.search(p)
        if m and int(m.group(1)) < count:
            if p in files:
                out[int(m.group(1))][0][p] = files[p]
            else:
                out[int(m.group(1))][1].add(p)
        elif not (p in dirs and p.split("/")[-1] in SHARED):
            raise Fail("%s is there, and nobody made it" % p)
    return out


def make_workers(mnt, seed, dying, kinds, **kw):
    return [Worker(mnt, i, k, seed, dying, **kw) for i, k in enumerate(kinds)]


def make_shared(mnt):
    for r in ROOTS:
        for s in SHARED:
            os.mkdir(os.path.join(mnt, r, s))


def join(workers, timeout=30):
    end = time.monotonic() + timeout
    for w in workers:
        w.join(max(0.0, end - time.monotonic()))
        if w.is_alive():
            raise Fail("worker %d hangs in: %s" % (w.number, w.pending_what))
    for w in workers:
        if w.error:
            raise w.error


def run_many(args, one):
    """one(seed, work) for each run; keeps the directories of the first failing ones."""
    failed, t0 = 0, time.monotonic()
    for i in range(args.runs):
        seed = args.seed + i
        work = os.path.join(os.path.abspath(args.work), "run-%d" % seed)
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        try:
            summary = one(seed, work)
        except Fail as e:
            failed += 1
            print("FAILED: seed %d: %s\n  kept: %s\n  again: %s --runs 1 --seed %d"
                  % (seed, e, work, args.again, seed), flush=True)
            if failed >= args.max_failures:
                break
            continue
        shutil.rmtree(work, ignore_errors=True)
        if args.verbose:
            print("seed %d: %s" % (seed, summary), flush=True)
    print("%s: %d runs, %d failed, %.1f s" % (args.name, i + 1 if args.runs else 0, failed,
                                              time.monotonic() - t0), flush=True)
    return 1 if failed else 0


def add_arguments(p, argv):
    p.add_argument("--runs", type=int, default=20)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--astrafs", default="build/astrafs")
    p.add_argument("--astra", default="build/astra")
    p.add_argument("--work", required=True, help="directory for the runs, best on a disk")
    p.add_argument("--opts", default="upload_delay=50ms,migrate_wait=50ms",
                   help="further mount options, comma separated")
    p.add_argument("--max-failures", type=int, default=3)
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args(argv[1:])
    args.opts = [o for o in args.opts.split(",") if o]
    args.name = os.path.basename(argv[0])
    skip = 0
    words = []
    for a in argv:                      # the command without --runs and --seed
        if skip:
            skip -= 1
        elif a in ("--runs", "--seed"):
            skip = 1
        elif not a.startswith(("--runs=", "--seed=")):
            words.append(a)
    args.again = " ".join(words)
    return args


def json_of(text):
    try:
        return json.loads(text)
    except ValueError as e:
        raise Fail("not JSON: %s" % e) from e
