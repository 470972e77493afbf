#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fault runs: every store call of a change in turn goes wrong, in every way that the fault layer
knows. A scenario is a row of SCENARIOS: files that are there and settled, one change, and the
files that must be there after it. For n = 1, 2, ... the n-th store call that the change causes at
one of its remotes fails with each of ACTIONS. Whatever happens, in the end

  - the tree holds the files of after, or, where the change told an error or no retry helps against
    the fault, one of the scenario's other ends: what was there before (of a directory, each file is
    at one of both places), or what its steps make of a roll-back between them; then a job says that
    it failed. No end has lost bytes that no step has overwritten;
  - the stores hold the same files with the same bytes, and nothing half-done;
  - no conflict copy of our own write, nor any other name, appears.

--mounts daemons work side by side, each on one case at a time; cases that follow each other on one
mount have names of their own. On clouds of a configuration (--conf) there is one, for its buckets. A case that fails keeps its directories.

The whole matrix is `faultrun.py --work DIR`; --small leaves out what moves many megabytes, --only,
--actions and --share select more narrowly."""

import argparse
import errno
import os
import queue
import random
import re
import sys
import threading
import time

import harness as h

# (word, rule, final): final ones may roll the change back, all others must be got over
ACTIONS = (
    ("error", "error=EIO", False),
    ("throttle", "throttle=20", False),
    ("timeout", "timeout=50", False),
    ("short", "short", False),
    ("cut", "cut", False),
    ("corrupt", "corrupt", False),
    ("lost", "lost", False),
    ("slow", "delay=100", False),
    ("final", "error=EIO/final", True),
    ("auth", "error=EACCES/auth", True),
)
SMALL, LARGE = 5000, 18 << 20
UNMOVED = re.compile(r"(?<=\.unmoved)-\d+$")

CONFIG = """[remote %s]
type = local
provider = %s
bucket = astra-%s
retry_delay = 5ms
fault = *:n=1:delay=1
"""


def put(d, path, data, sync=False):
    fd = os.open(os.path.join(d.mnt, path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for off in range(0, len(data), 1 << 20):
            h.write_all(fd, data[off:off + (1 << 20)], off)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def patch(d, path, off, data):
    fd = os.open(os.path.join(d.mnt, path), os.O_RDWR)
    try:
        h.write_all(fd, data, off)
    finally:
        os.close(fd)


def move(d, a, b, flags=0):
    h.rename(os.path.join(d.mnt, a), os.path.join(d.mnt, b), flags)


def tier(d, path, value):
    os.setxattr(os.path.join(d.mnt, path), "user.astra.tier", value.encode())


def tier_is(d, path):
    return os.getxattr(os.path.join(d.mnt, path), "user.astra.storage_class").decode()


class Case:
    """Names and bytes of one case; N is put before every name, so that cases do not meet."""

    def __init__(self, number):
        self.n = "c%d-" % number

    def p(self, path):
        """aws/x -> aws/cN-x"""
        root, rest = path.split("/", 1)
        return "%s/%s%s" % (root, self.n, rest)

    def data(self, tag, size=SMALL):
        return h.body("%s%s" % (self.n, tag), size)


def upload(size, sync=False):
    return ({}, lambda d, c: put(d, c.p("aws/a"), c.data("new", size), sync),
            {"aws/a": ("new", size)})


def overwrite(size):
    return ({"aws/a": ("old", size)}, lambda d, c: put(d, c.p("aws/a"), c.data("new", size)),
            {"aws/a": ("new", size)})


def renamed(a, b, size, over=False, flags=0):
    before = {a: ("one", size)}
    after = {b: ("one", size)}
    if over:
        before[b] = ("two", SMALL)
    if flags == h.RENAME_EXCHANGE:
        after[a] = ("two", SMALL)
    return before, lambda d, c: move(d, c.p(a), c.p(b), flags), after


def removed():
    return ({"aws/a": ("old", SMALL)}, lambda d, c: os.unlink(os.path.join(d.mnt, c.p("aws/a"))),
            {})


def dir_moved(a, b):
    names = ("x", "y", "sub/z")
    return ({a + "/" + n: (n, SMALL) for n in names}, lambda d, c: move(d, c.p(a), c.p(b)),
            {b + "/" + n: (n, SMALL) for n in names})


def logrotate(d, c):
    move(d, c.p("aws/log"), c.p("aws/log.1"))
    put(d, c.p("aws/log"), c.data("new"))


def replaced(d, c):
    put(d, c.p("aws/tmp"), c.data("new"))
    move(d, c.p("aws/tmp"), c.p("aws/a"))


X = h.RENAME_EXCHANGE
# name: (remotes whose calls fail, (before, change, after[, ends after a roll-back, if not before]),
#        class expected of aws/a)
SCENARIOS = {
    "upload": (("aws",), upload(SMALL), None),
    "upload-fsync": (("aws",), upload(SMALL, True), None),
    "upload-empty": (("aws",), upload(0), None),
    "upload-large": (("aws",), upload(LARGE), None),
    "overwrite": (("aws",), overwrite(SMALL), None),
    "overwrite-large": (("aws",), overwrite(LARGE), None),
    "patch-large": (("aws",), ({"aws/a": ("old", LARGE)},
                               lambda d, c: patch(d, c.p("aws/a"), 9 << 20, c.data("new")),
                               {"aws/a": ("patched", LARGE)}), None),
    # What was written as tmp, before or after the rename, is never gone.
    "save-by-rename": (("aws",), ({"aws/a": ("old", SMALL)}, replaced, {"aws/a": ("new", SMALL)},
                                  {"aws/a": ("old", SMALL), "aws/tmp": ("new", SMALL)}), None),
    "logrotate": (("aws",), ({"aws/log": ("old", SMALL)}, logrotate,
                             {"aws/log.1": ("old", SMALL), "aws/log": ("new", SMALL)},
                             {"aws/log.unmoved": ("old", SMALL), "aws/log": ("new", SMALL)},
                             # taken back before the second step, which then overwrote it
                             {"aws/log": ("new", SMALL)}), None),
    "rename": (("aws",), renamed("aws/a", "aws/b", SMALL), None),
    "rename-over": (("aws",), renamed("aws/a", "aws/b", SMALL, True), None),
    "exchange": (("aws",), renamed("aws/a", "aws/b", SMALL, True, X), None),
    "unlink": (("aws",), removed(), None),
    "move": (("aws", "gcp"), renamed("aws/a", "gcp/a", SMALL), None),
    "move-large": (("aws", "gcp"), renamed("aws/a", "gcp/a", LARGE), None),
    "move-over": (("aws", "gcp"), renamed("aws/a", "gcp/b", SMALL, True), None),
    "exchange-across": (("aws", "gcp"), renamed("aws/a", "gcp/b", SMALL, True, X), None),
    "rename-dir": (("aws",), dir_moved("aws/d", "aws/e"), None),
    "move-dir": (("aws", "gcp"), dir_moved("aws/d", "gcp/d"), None),
    "transition": (("aws",), ({"aws/a": ("old", SMALL)},
                              lambda d, c: tier(d, c.p("aws/a"), "WARM"),
                              {"aws/a": ("old", SMALL)}), "STANDARD_IA"),
}
LARGE_ONES = [n for n in SCENARIOS if n.endswith("-large")]


def contents(case, files):
    out = {}
    for p, (tag, size) in files.items():
        if tag == "patched":
            old, new = case.data("old", size), case.data("new")
            out[case.p(p)] = old[:9 << 20] + new + old[(9 << 20) + len(new):]
        else:
            out[case.p(p)] = case.data(tag, size)
    return out


def make(d, files):
    for p, data in sorted(files.items()):
        os.makedirs(os.path.join(d.mnt, os.path.dirname(p)), exist_ok=True)
        put(d, p, data)


def fault(d, remote, rules):
    d.verb("debug", "fault", remote, rules)


def status(d):
    return h.json_of(d.verb("--json", "status"))


def calls_of(st, remote):
    """Store calls so far at a remote, by its status."""
    return sum(op["calls"] for r in st["remotes"] if r["name"] == remote
               for op in r["ops"].values())


def settle(d, patient):
    """Waits for the jobs; a job that gave up is asked for once more, now that nothing fails."""
    if not patient:
        try:
            d.verb("jobs", "retry")
        except h.Fail:
            pass                        # nothing to retry
    d.settle()


def state_of(d, case):
    """What the mount and what the stores hold of this case: path -> bytes."""
    mount, native = {}, {}
    for out, tops in ((mount, {r: os.path.join(d.mnt, r) for r in h.ROOTS}),
                      (native, {r: d.bucket(r) for r in h.ROOTS})):
        for r, top in tops.items():
            # What shows a bucket as a directory may have none for an empty one.
            for name in os.listdir(top) if os.path.isdir(top) or out is mount else ():
                if not name.startswith(case.n):
                    continue
                full = os.path.join(top, name)
                if not os.path.isdir(full):
                    out["%s/%s" % (r, UNMOVED.sub("", name))] = h.read_file(full)
                for at, _, names in os.walk(full):
                    for x in names:
                        p = os.path.join(at, x)
                        out["%s/%s" % (r, os.path.relpath(p, top))] = h.read_file(p)
    return mount, native


def differ(got, want):
    for p in sorted(set(got) | set(want)):
        if p not in got:
            return "%s is missing" % p
        if p not in want:
            return "%s should not be there" % p
        if got[p] != want[p]:
            return "%s: %s" % (p, h.describe(got[p], want[p]))
    return None


def leftovers(d):
    """What no listing shows: the driver's temporary files, uploads begun, keys of ours."""
    out = []
    for r in h.ROOTS:
        top = d.bucket(r)
        for sub in (".astra/tmp", ".astra/uploads", ".astra-tmp"):
            if os.path.isdir(os.path.join(top, sub)):
                out += ["%s/%s/%s" % (r, sub, n) for n in os.listdir(os.path.join(top, sub))]
    return out


def forget(d, case):
    """Removes what a case left, so that the next ones list little."""
    for r in h.ROOTS:
        top = os.path.join(d.mnt, r)
        for name in os.listdir(top):
            if name.startswith(case.n):
                for at, dirs, names in os.walk(os.path.join(top, name), topdown=False):
                    for x in names:
                        os.unlink(os.path.join(at, x))
                    for x in dirs:
                        os.rmdir(os.path.join(at, x))
                full = os.path.join(top, name)
                if os.path.isdir(full):
                    os.rmdir(full)
                else:
                    os.unlink(full)


def halfway(mount, before, after):
    """A directory of which some files have moved, and the others are where they were."""
    out = {}
    for old, new in zip(sorted(before), sorted(after)):
        out.update({old: before[old]} if old in mount else {new: after[new]})
    return out


def judge(d, case, ends, after, excused, by_file):
    """The end state; excused: it may be one of ends, of a directory (by_file) for each file."""
    mount, native = state_of(d, case)
    why = differ(mount, after)
    if why and excused:
        backs = [differ(mount, halfway(mount, e, after) if by_file else e) for e in ends]
        why = all(backs) and "%s; and for a roll-back: %s" % (why, "; or: ".join(backs))
    if why:
        raise h.Fail(why)
    why = differ(native, mount)
    if why:
        raise h.Fail("store against tree: %s" % why)
    left = leftovers(d)
    if left:
        raise h.Fail("left in the store: %s" % ", ".join(left))
    return mount == after


def run_case(d, number, name, remote, rules, final):
    """One change with one fault; returns the store calls it took."""
    _, (before, change, after, *back), want_class = SCENARIOS[name]
    case = Case(number)
    ends = [contents(case, x) for x in back or [before]]
    before, after = contents(case, before), contents(case, after)
    make(d, before)
    d.verb("sync")
    d.settle()
    was = status(d)
    was_class = tier_is(d, case.p("aws/a")) if want_class else None
    told = None
    fault(d, remote, rules)
    try:
        change(d, case)
    except OSError as e:
        if e.errno == errno.ENOTCONN:
            raise h.Fail("the daemon is gone: %s" % e) from e
        told = e
    try:
        d.settle(timeout=8)
        settled = True
    except h.Fail:
        settled = False
    used = calls_of(status(d), remote) - calls_of(was, remote)
    fault(d, remote, "")
    settle(d, settled)
    try:
        there = judge(d, case, ends, after, told or final, name.endswith("-dir"))
    except h.Fail as e:
        raise h.Fail("%s%s" % (e, " (the change said: %s)" % told if told else "")) from e
    if want_class:
        there = tier_is(d, case.p("aws/a")) == want_class
        if not there and not (final and tier_is(d, case.p("aws/a")) == was_class):
            raise h.Fail("the class is %s" % tier_is(d, case.p("aws/a")))
    if not there and not told and status(d)["jobs"]["failed"] == was["jobs"]["failed"]:
        raise h.Fail("it was rolled back, and nothing says so")
    forget(d, case)
    return used


def streams(args):
    """(scenario, remote) in turn."""
    for name, (remotes, _, _) in SCENARIOS.items():
        if args.only and name not in args.only.split(","):
            continue
        if args.small and name in LARGE_ONES:
            continue
        if args.conf and SCENARIOS[name][2]:        # the class has another name there
            continue
        for remote in remotes:
            yield name, remote


def faults_of(args, name, remote, calls):
    """The cases of a change that makes so many calls at the remote."""
    rng = random.Random("%d/%s/%s" % (args.seed, name, remote))
    for n in range(1, min(calls + 1, args.calls) + 1):
        for word, rule, final in ACTIONS:
            if (not args.actions or word in args.actions.split(",")) and rng.random() < args.share:
                yield name, remote, n, word, "*:n=%d:%s" % (n, rule), final


def new_daemon(args, tag):
    work = os.path.join(os.path.abspath(args.work), "fault-%s" % tag)
    h.shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    d = h.Daemon(args, work)
    if args.conf:
        d.conf, d.native = args.conf, args.native
    else:
        d.conf = os.path.join(work, "astrafs.conf")
        with open(d.conf, "w", encoding="ascii") as f:
            for r in h.ROOTS:
                f.write(CONFIG % (r, r, r))
    os.chmod(d.conf, 0o600)
    d.start()
    return d


class Runner:
    """Threads with a daemon each that take cases from one queue. A change is run once without a
    fault first, which tells how many calls there are to fail."""

    def __init__(self, args):
        self.args = args
        self.work = queue.Queue()
        self.lock = threading.Lock()
        self.failed = self.done = self.daemons = 0
        self.broken = None              # an error of this program

    def daemon(self):
        with self.lock:
            self.daemons += 1
            tag = str(self.daemons)
        return new_daemon(self.args, tag)

    def take(self, d, case):
        name, remote, n, word, rules, final = case
        where = "%s: call %d at %s: %s" % (name, n, remote, word)
        with self.lock:
            if self.failed >= self.args.max_failures:
                return d
            self.done += 1
            number = self.done
        t0 = time.monotonic()
        try:
            calls = run_case(d, number, name, remote, rules, final)
            if n == 0:
                for c in faults_of(self.args, name, remote, calls):
                    self.work.put(c)
            if self.args.verbose:
                print("ok: %s, %.1f s" % (where, time.monotonic() - t0), flush=True)
        except (h.Fail, OSError) as e:
            with self.lock:
                self.failed += 1
            print("FAILED: c%d: %s: %s\n  kept: %s\n  rules: astra debug fault %s '%s'"
                  % (number, where, e, d.work, remote, rules), flush=True)
            d.kill()
            d = self.daemon()
        return d

    def worker(self):
        d = None
        try:
            d = self.daemon()
            while True:
                case = self.work.get()
                try:
                    if case is None:
                        d.umount()
                        h.shutil.rmtree(d.work, ignore_errors=True)
                        return
                    d = self.take(d, case)
                finally:
                    self.work.task_done()
        except Exception as e:
            self.broken = e
            while self.work.get() is not None:      # so that nobody waits for this one
                self.work.task_done()
            self.work.task_done()
        finally:
            if d is not None:
                d.kill()

    def run(self):
        t0 = time.monotonic()
        for name, remote in streams(self.args):
            self.work.put((name, remote, 0, "no fault", "", False))
        threads = [threading.Thread(target=self.worker) for _ in range(self.args.mounts)]
        for t in threads:
            t.start()
        self.work.join()
        for t in threads:
            self.work.put(None)
        for t in threads:
            t.join()
        if self.broken:
            raise self.broken
        print("faultrun: %d cases, %d failed, %.1f s" % (self.done, self.failed,
                                                         time.monotonic() - t0))
        return 1 if self.failed else 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--only", help="scenarios: " + " ".join(SCENARIOS))
    p.add_argument("--actions", help="actions: " + " ".join(a[0] for a in ACTIONS))
    p.add_argument("--calls", type=int, default=16, help="at most this many calls of a change")
    p.add_argument("--small", action="store_true", help="without: " + " ".join(LARGE_ONES))
    p.add_argument("--mounts", type=int, default=8, help="daemons side by side")
    p.add_argument("--conf", help="other clouds, each with faults; only with --mounts 1")
    p.add_argument("--native", help="where the buckets of --conf are directories")
    p.add_argument("--share", type=float, default=1.0, help="share of the cases, by --seed")
    args = h.add_arguments(p, sys.argv)
    return Runner(args).run()


if __name__ == "__main__":
    sys.exit(main())
