# SPDX-License-Identifier: MIT
"""Moves between clouds under the eyes of others: busy.py MOUNT ASTRA WORK [again]

A file of 300 MB, and a tree of 1,000 files, go from one cloud to another while one process keeps a
file of them open and reads it again and again, another opens what it finds by name, and a third
lists both directories and asks for attributes. Nobody may see an error, a wrong byte, or a name
that is nowhere; no listing may take over a second (more only as far as a process that does nothing
on the mount is held up as well: then the machine is at fault).
"""
import errno
import hashlib
import json
import multiprocessing as mp
import os
import subprocess
import sys
import time

MNT, ASTRA, WORK = sys.argv[1:4]
SRC, DST = os.path.join(MNT, "aws/from"), os.path.join(MNT, "gcp/to")
MB = 1 << 20


class Watch:
    """Runs fn(watch) again and again in a process of its own until stop()."""

    def __init__(self, fn, *args):
        self.over, self.bad, self.worst, self.rounds = (
            mp.Event(), mp.Queue(), mp.Value("d", 0), mp.Value("L", 0))
        self.name = fn.__name__
        self.p = mp.Process(target=self.run, args=(fn, args), daemon=True)
        self.p.start()

    def run(self, fn, args):
        try:
            while not self.over.is_set():
                fn(self, *args)
                self.rounds.value += 1
                time.sleep(0.002)
        except BaseException as e:
            self.bad.put("%s: %s: %s" % (self.name, type(e).__name__, e))

    def timed(self, fn, *args):
        t0 = time.monotonic()
        try:
            return fn(*args)
        finally:
            self.worst.value = max(self.worst.value, time.monotonic() - t0)

    def stop(self):
        self.over.set()
        self.p.join(60)
        assert not self.p.is_alive(), "%s hangs" % self.name
        return self


def read_open(w, fd, want):
    """The same descriptor all the time."""
    at, h = 0, hashlib.sha256()
    while True:
        b = os.pread(fd, MB, at)
        if not b:
            break
        h.update(b)
        at += len(b)
    assert h.hexdigest() == want, "wrong bytes through an open file, %d of them" % at


def read_named(w, name, want):
    """Whichever of the two paths there is: one of them, always."""
    for _ in range(3):
        for d in (SRC, DST):
            try:
                with open(os.path.join(d, name), "rb") as f:
                    b = f.read()
            except FileNotFoundError:
                continue
            except OSError as e:
                if e.errno in (errno.ENOENT, errno.ESTALE):  # it moved between lookup and open
                    continue
                raise
            assert hashlib.sha256(b).hexdigest() == want, "wrong bytes in %s/%s" % (d, name)
            return
    raise AssertionError("%s is nowhere" % name)


def list_both(w, total):
    seen = set()
    for d in (SRC, DST):
        for dirpath, dirs, files in os.walk(d, onerror=walk_error):
            seen.update(files)
            w.timed(os.listdir, d)
    # A walk goes from one to the other while names do the same: those of DST come last.
    assert len(seen) == total, "%d of %d names were seen" % (len(seen), total)
    for d in (SRC, DST, os.path.dirname(SRC), os.path.dirname(DST), MNT):
        for e in w.timed(lambda p: list(os.scandir(p)), d):
            try:
                w.timed(os.stat, e.path)
            except FileNotFoundError:
                pass


def walk_error(e):
    if e.errno != errno.ENOENT:
        raise e


def idle(w):
    w.timed(os.stat, WORK)
    w.timed(time.sleep, 0.005)


def astra(*args):
    return subprocess.run([ASTRA, "--mount", MNT, *args], check=True,
                          stdout=subprocess.PIPE).stdout


def status():
    return json.loads(astra("status", "--json"))


def settle():
    astra("status", "--wait-clean")


def ops(before, after):
    """Store calls between two states, by remote."""
    r = {}
    for a, b in zip(before["remotes"], after["remotes"]):
        r[a["name"]] = {k: {f: v[f] - a["ops"].get(k, {}).get(f, 0) for f in v}
                        for k, v in b["ops"].items()}
    return r


def move_under_eyes(what, total, watched):
    """watched: name -> sha256 of the files that are read meanwhile."""
    ws = [Watch(list_both, total), Watch(idle)]
    for name, want in watched.items():
        fd = os.open(os.path.join(SRC, name), os.O_RDONLY)
        ws += [Watch(read_open, fd, want), Watch(read_named, name, want)]
    time.sleep(0.3)
    t0 = time.monotonic()
    for name in what:
        subprocess.run(["mv", os.path.join(SRC, name), DST + "/"], check=True)
    moved = time.monotonic() - t0
    settle()
    settled = time.monotonic() - t0
    time.sleep(0.3)
    for w in ws:
        w.stop()
    for w in ws:
        if not w.bad.empty():
            raise AssertionError(w.bad.get())
        assert w.rounds.value > 0, "%s never came round" % w.name
    slow, held = ws[0].worst.value, ws[1].worst.value
    print("  mv returned after %.2f s, all settled after %.1f s; slowest ls or stat %.0f ms (idle "
          "process held up by %.0f ms); rounds %s" % (moved, settled, slow * 1e3, held * 1e3,
                                                     [w.rounds.value for w in ws]))
    assert slow < 1 + 2 * held, "an ls or stat took %.2f s" % slow


def native(cloud, path):
    return os.path.join(WORK, "data", cloud, "astra-" + cloud, path)


def sha(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(
            hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def big_file():
    src = os.path.join(WORK, "big")
    with open(src, "wb") as f:
        for _ in range(300):
            f.write(os.urandom(MB))
    want = sha(src)
    subprocess.run(["cp", src, SRC + "/"], check=True)
    settle()
    assert sha(native("aws", "from/big")) == want
    move_under_eyes(["big"], 1, {"big": want})
    assert sha(native("gcp", "to/big")) == want
    assert not os.path.exists(native("aws", "from/big")), "the source is still in its cloud"
    assert sha(os.path.join(DST, "big")) == want
    assert os.listdir(SRC) == []
    os.unlink(os.path.join(DST, "big"))
    os.unlink(src)


def tree():
    sums = {}
    for i in range(10):
        os.makedirs(os.path.join(SRC, "tree", "%d" % i))
        for k in range(100):
            p = "tree/%d/%d-%d" % (i, i, k)
            b = os.urandom((i * 100 + k) * 37)
            sums[p] = hashlib.sha256(b).hexdigest()
            with open(os.path.join(SRC, p), "wb") as f:
                f.write(b)
    settle()
    move_under_eyes(["tree"], 1000, {p: sums[p] for p in list(sums)[50::400]})
    for p, want in sums.items():
        assert sha(os.path.join(DST, p)) == want, p
        assert sha(native("gcp", "to/" + p)) == want, p
    left = [os.path.join(d, f) for d, _, fs in os.walk(native("aws", "from")) for f in fs
            if not f.startswith(".astra")]
    assert not left, left


def rename_many():
    """10,000 files: rename(2) is one index transaction and one job, whatever is below."""
    at = native("azure", "many")
    os.makedirs(at)
    for i in range(10000):
        with open(os.path.join(at, "f%05d" % i), "wb") as f:
            f.write(b"%d" % i)
    a, b = os.path.join(MNT, "azure/many"), os.path.join(MNT, "azure/renamed")
    assert len(os.listdir(a)) == 10000
    before = status()
    t0 = time.monotonic()
    os.rename(a, b)
    took = time.monotonic() - t0
    after = status()
    posted = after["counters"]["jobs_posted"] - before["counters"]["jobs_posted"]
    print("  renamed in %.1f ms, %d job(s)" % (took * 1e3, posted))
    assert posted <= 2, posted
    check_renamed()
    time.sleep(2)
    did = ops(before, status())["azure"]
    print("  since then: %s" % {k: v["calls"] for k, v in did.items() if v["calls"]})
    assert did["copy"]["calls"] > 0, "objects do not follow"
    assert did.get("put", {"bytes": 0})["bytes"] == 0, "bytes went through us"


def check_renamed():
    """Also in the middle of it, and after a remount in the middle of it."""
    a, b = os.path.join(MNT, "azure/many"), os.path.join(MNT, "azure/renamed")
    assert not os.path.exists(a)
    assert sorted(os.listdir(b)) == ["f%05d" % i for i in range(10000)]
    for i in range(0, 10000, 999):
        with open(os.path.join(b, "f%05d" % i), "rb") as f:
            assert f.read() == b"%d" % i


def main():
    if len(sys.argv) > 4:
        return check_renamed()
    os.mkdir(SRC)
    os.mkdir(DST)
    for fn in (big_file, tree, rename_many):
        print(fn.__name__, flush=True)
        fn()


main()
