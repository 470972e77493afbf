#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Moves between three clouds of three kinds, as pairs.sh has started and described them.

Pairs: files of no byte, one byte, some and several parts, and a directory, go by rename(2) from each
cloud to each other one. Then the providers' own clients find them there with bytes, times, modes and
attributes, and nothing where they were, and no more requests were made than a move needs.

Kills: workers write, replace and move (tests/model/harness.py). In each round, at a random moment,
the daemon is killed and mounted again, or a server is killed and started again 0.2 to 2 s later on
its port, or both. After each round the tree is what was acknowledged; in the end so are the clouds:
an object for each file, with its bytes, mode and attribute, at its place, and nothing else, no upload
begun; and a mount without any state shows the same again."""

import argparse
import calendar
import base64
import errno
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "model"))
import harness as h  # noqa: E402

CLOUDS = h.ROOTS
SIZES = {"empty": 0, "one": 1, "some": 100000, "large": 12 << 20, "tree/x": 5000, "tree/sub/y": 70}
MTIME = 981173106123456789
# What the moves of a pair's files may cost: at the source reads and removals, at the destination
# uploads, parts and looks.
MOST = {"source": 30, "destination": 20}


class Server:
    def __init__(self, work, name):
        self.name, self.work = name, work
        with open(os.path.join(work, name + ".server"), encoding="utf-8") as f:
            pid, self.url, self.log, client, *self.command = f.read().split("\0")[:-1]
        self.pid, self.proc, self.client = int(pid), None, client.split()

    def kill(self):
        os.kill(self.pid, 9)
        if self.proc:
            self.proc.wait()
            self.proc = None

    def start(self):
        if self.name == "aws":  # a killed versitygw leaves what it was writing, and lists it
            for at, _, files in os.walk(self.command[-1]):
                for f in files:
                    if re.fullmatch(r"\..*\.sgwtmp\.\d+", f):
                        os.unlink(os.path.join(at, f))
        with open(os.path.join(self.work, self.name + ".again"), "ab") as out:
            self.proc = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=out, stderr=out)
        self.pid = self.proc.pid
        end = time.monotonic() + 20
        while time.monotonic() < end and self.proc.poll() is None:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.02)
        raise h.Fail("the server of %s did not come back" % self.name)

    def end(self):
        if self.proc:
            self.proc.kill()
            self.proc.wait()

    def native(self):
        """What the provider's client finds: objects, keys of uploads that were begun."""
        r = subprocess.run([self.client[0], os.path.join(HERE, "pairs_native.py"), self.client[1],
                            self.url, "astra-" + self.name], stdout=subprocess.PIPE, check=False)
        if r.returncode:
            raise h.Fail("the client of %s failed" % self.name)
        a = json.loads(r.stdout)
        return a["objects"], a["pending"]

    def requests(self):
        if self.log:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return sum("HTTP/1.1" in line or " s3_" in line for line in f)
        with urllib.request.urlopen(self.url + "/fake/log") as r:
            return len(r.read().splitlines())


# ---- what is native ----

def ns(text):
    """Seconds, or a date of RFC 3339, each with up to nine digits behind the point."""
    m = re.fullmatch(r"(?:(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)|(\d+))(?:\.(\d+))?Z?", text)
    if not m:
        return text
    s = int(m[7]) if m[7] else calendar.timegm(tuple(int(x) for x in m.groups()[:6]))
    return s * 10**9 + int((m[8] or "0").ljust(9, "0"))


def looks(o):
    """(SHA-256, mode, user.note) of an object."""
    mode = o["meta"].get("mode", "0")
    xattr = json.loads(urllib.parse.unquote(o["meta"].get("xattr", "{}")))
    note = base64.b64decode(xattr["user.note"]) if "user.note" in xattr else None
    return o["sha256"], int(mode, 8 if len(mode) == 6 else 10) & 0o7777, note


def sha(data):
    return h.hashlib.sha256(data).hexdigest()


def compare(servers, want):
    """The clouds hold exactly these files: ROOT/KEY -> (SHA-256, mode, user.note)."""
    bad, found = [], {}
    for s in servers.values():
        objects, pending = s.native()
        found.update({s.name + "/" + k: o for k, o in objects.items() if not k.endswith("/")})
        bad += ["%s/%s: an upload was begun" % (s.name, k) for k in pending]
    for p in sorted(set(found) | set(want)):
        if p not in found:
            bad.append("%s has no object" % p)
        elif p not in want:
            bad.append("%s: an object that should not be there" % p)
        elif looks(found[p]) != want[p]:
            bad.append("%s: the object is %s, should be %s" % (p, looks(found[p]), want[p]))
    if bad:
        raise h.Fail("natively:\n  " + "\n  ".join(bad))
    return found


# ---- pairs ----

def put(d, path, data):
    full = os.path.join(d.mnt, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as f:
        f.write(data)
    os.chmod(full, 0o640)
    os.setxattr(full, "user.note", path.encode())
    os.utime(full, ns=(MTIME, MTIME))


def pairs(d, servers):
    each = [(a, b) for a in CLOUDS for b in CLOUDS if a != b]
    want = {}
    for a, b in each:
        for name, size in SIZES.items():
            path = "%s/to-%s/%s" % (a, b, name)
            data = h.body(path, size)
            put(d, path, data)
            want[path] = (sha(data), 0o640, path.encode())
    d.verb("sync")
    compare(servers, want)
    for a, b in each:
        before = {c: s.requests() for c, s in servers.items()}
        os.mkdir(os.path.join(d.mnt, b, "from-" + a))
        for name in sorted({n.split("/")[0] for n in SIZES}):
            h.rename("%s/%s/to-%s/%s" % (d.mnt, a, b, name), "%s/%s/from-%s/%s" % (d.mnt, b, a, name))
        os.rmdir("%s/%s/to-%s" % (d.mnt, a, b))
        d.verb("sync")
        for name in SIZES:
            want["%s/from-%s/%s" % (b, a, name)] = want.pop("%s/to-%s/%s" % (a, b, name))
        made = {c: s.requests() - before[c] for c, s in servers.items()}
        print("%s -> %s: requests %s" % (a, b, made))
        third = sum(made.values()) - made[a] - made[b]
        if made[a] > MOST["source"] or made[b] > MOST["destination"] or third:
            raise h.Fail("%s -> %s took too many requests: %s" % (a, b, made))
    found = compare(servers, want)
    for p, o in found.items():
        st = os.stat(os.path.join(d.mnt, p))
        if (ns(o["meta"].get("mtime", "none")), st.st_mtime_ns) != (MTIME, MTIME):
            raise h.Fail("%s: time %s, in the mount %d" % (p, o["meta"].get("mtime"), st.st_mtime_ns))
    if sum(p.split("/")[2:] == ["large"] for p in found) != len(each):
        raise h.Fail("there are not six large files")
    for a, b in each:
        for name in SIZES:
            os.unlink("%s/%s/from-%s/%s" % (d.mnt, b, a, name))
        for name in ("/tree/sub", "/tree", ""):
            os.rmdir("%s/%s/from-%s%s" % (d.mnt, b, a, name))
    d.verb("sync")
    compare(servers, {})


# ---- kills ----

class Worker(h.Worker):
    WEIGHTS = {
        "writer": {"write": 6, "save": 4, "move": 2, "unlink": 1, "attr": 1, "append": 2, "copy": 1,
                   "fsync": 2, "read": 1, "nap": 12},
        "mover": {"write": 4, "move": 8, "movedir": 2, "mkdir": 1, "exchange": 1, "rename": 1,
                  "rmdir": 1, "save": 1, "unlink": 1, "fsync": 2, "read": 1, "nap": 12},
    }

    def __init__(self, *args, servers=(), **kw):
        super().__init__(*args, **kw)
        self.servers = servers

    def size(self):
        return 9 * self.rng.randrange(1 << 20) if self.rng.random() < 0.05 else super().size()

    def op_nap(self):
        self.dying.wait(self.rng.uniform(0, 0.02))

    def run(self):
        super().run()
        # What a server that is down does not give is an error, and the call under way may be done.
        if self.error and "Errno %d]" % errno.EIO in str(self.error) and self.servers.hurt:
            self.error = None


class Servers(dict):
    """hurt: one was killed in this round."""
    hurt = False


def outage(s, seconds, failed):
    try:
        time.sleep(seconds)
        s.start()
    except Exception as e:              # told by the round
        failed.append(h.Fail(str(e)))


def scan(d):
    """The tree, by when the daemon has seen that the servers are there again."""
    end = time.monotonic() + 30
    while True:
        try:
            return h.scan(d.mnt)
        except h.Fail as e:
            if "Errno %d]" % errno.EIO not in str(e) or time.monotonic() > end:
                raise
            time.sleep(0.1)


def check(d, workers, where):
    files, dirs = scan(d)
    parts = h.by_owner(files, dirs, len(workers))
    for w, (wf, wd) in zip(workers, parts):
        why = w.differs(wf, wd)
        if why:
            raise h.Fail("%s: %s" % (where, why))
    return files, parts


def one_round(d, servers, rng, workers):
    """-> what was killed."""
    what = rng.choice(("daemon", "server", "both"))
    dying = workers[0].dying
    back, failed, killed = None, [], []
    servers.hurt = what != "daemon"
    for w in workers:
        w.start()
    time.sleep(rng.uniform(0.1, 1.2))
    if what != "daemon":
        s = servers[rng.choice(CLOUDS)]
        killed.append(s.name)
        s.kill()
        back = threading.Thread(target=outage, args=(s, rng.uniform(0.2, 2), failed))
        back.start()
        time.sleep(rng.uniform(0, 1))
    if what != "server":
        killed.append("daemon")
        if not d.alive():
            raise h.Fail("astrafs died by itself: %s" % d.log_tail())
        dying.set()
        d.kill(detach=rng.random() < 0.5)
        h.join(workers)
        d.start()
    if back:
        back.join()
    dying.set()
    if what == "server":
        h.join(workers)
    if failed:
        raise failed[0]
    return "+".join(killed)


def kills(args, d, servers):
    rng = random.Random("pairs/%d" % args.seed)
    kinds = ("mover", "writer", "mover", "writer")
    done, ops = {}, 0
    h.make_shared(d.mnt)
    parts, made = [({}, set())] * len(kinds), [0] * len(kinds)
    for n in range(args.rounds):
        dying = threading.Event()
        workers = [Worker(d.mnt, i, k, "%d.%d" % (args.seed, n), dying, max_files=8, servers=servers)
                   for i, k in enumerate(kinds)]
        for w, (files, dirs), m in zip(workers, parts, made):
            w.made = m + len(files)
            w.state = h.State({p: h.File("w%d.%d" % (w.number, m + i), f.data, f.mode, f.note)
                               for i, (p, f) in enumerate(sorted(files.items()))}, set(dirs))
            w.history = [(time.monotonic(), w.state)]
        what = one_round(d, servers, rng, workers)
        done[what] = done.get(what, 0) + 1
        where = "round %d (%s)" % (n, what)
        for w in workers:
            if w.error:
                raise h.Fail("%s: %s" % (where, w.error))
        files, parts = check(d, workers, where)
        made, ops = [w.made for w in workers], ops + sum(w.ops for w in workers)
    d.verb("sync")
    files, _ = check(d, workers, "in the end")
    d.verb("jobs", "wait")              # what the killed ones had asked for may come late
    compare(servers, {p: (sha(f.data), f.mode, f.note) for p, f in files.items()})
    d.umount()
    d.state += ".new"
    d.start()
    fresh, _ = scan(d)
    if set(fresh) != set(files):
        raise h.Fail("without state: %s" % sorted(set(fresh) ^ set(files)))
    for p, f in files.items():
        if (fresh[p].data, fresh[p].attrs()) != (f.data, f.attrs()):
            raise h.Fail("without state %s is another one" % p)
    d.umount()
    print("%d operations, %d files left, killed: %s" % (ops, len(files), done))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    for o in ("astrafs", "astra", "work", "opts"):
        p.add_argument("--" + o, required=True)
    p.add_argument("--seed", type=int, required=True)
    p.add_argument("--rounds", type=int, required=True)
    p.add_argument("--only", choices=("pairs", "kills"))
    args = p.parse_args()
    args.opts = args.opts.split(",")
    print("seed %d, %d rounds" % (args.seed, args.rounds))
    servers = Servers((c, Server(args.work, c)) for c in CLOUDS)
    d = h.Daemon(args, args.work)
    d.conf = os.path.join(args.work, "conf")
    try:
        d.start()
        d.verb("init-cloud")
        if args.only != "kills":
            pairs(d, servers)
        if args.only != "pairs":
            kills(args, d, servers)
    except (h.Fail, OSError) as e:
        print("FAILED: seed %d: %s" % (args.seed, e))
        return 1
    finally:
        d.kill()
        for s in servers.values():
            s.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
