#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power cut runs: state and stores lie on cutfs (tests/powercut), workers change the mount, and at a
random moment the power fails: cutfs keeps or loses at random what was not synced, the daemon is
killed, the machine "boots" (another boot id), and astrafs is mounted on what is left. Then:

  - astrafs --check says that the index is sound, before and after;
  - what fsync returned for is there, under the name the file had then or got later;
  - of the rest at most the last --slack seconds are taken back: each file is as it was at some
    moment since then (a file whose bytes were being changed since then may be torn in blocks,
    unless it was synced after);
  - no name that nobody made, and no file in the tree that cannot be read;
  - when settled, stores and tree hold the same files with the same bytes.

A run's seed fixes the operations, the moment of the cut and what it loses."""

import argparse
import bisect
import os
import random
import subprocess
import sys
import threading
import time
import uuid

import harness as h

KINDS = ("writer", "renamer", "mover", "writer")
ZERO = bytes(h.CHUNK)


class Disk:
    """A cutfs on work/disk over work/back."""

    def __init__(self, cutfs, work):
        self.back, self.mnt = os.path.join(work, "back"), os.path.join(work, "disk")
        os.makedirs(self.back)
        os.makedirs(self.mnt)
        self.log = open(os.path.join(work, "cutfs.log"), "ab")
        self.proc = subprocess.Popen([cutfs, self.back, self.mnt, "-f"], stdin=subprocess.DEVNULL,
                                     stdout=self.log, stderr=self.log)
        end = time.monotonic() + 10
        while not h.mounted(self.mnt):
            if self.proc.poll() is not None or time.monotonic() > end:
                raise h.Fail("cutfs was not mounted")
            time.sleep(0.005)

    def cut(self, seed):
        with open(os.path.join(self.mnt, ".cutfs-cut"), "w", encoding="ascii") as f:
            f.write("%d" % seed)

    def gone(self):
        h.unmount(self.mnt)
        self.proc.kill()
        self.proc.wait()
        self.log.close()


def since(w, moment):
    """Index of the state of a worker's history that was in force at a moment."""
    return max(0, bisect.bisect_right([t for t, _ in w.history], moment) - 1)


def candidates(w, moment):
    """For each file of a worker: the set of (path, File) it may be found as, and whether it may be
    missing; and the directories that may and that must be there."""
    base = since(w, moment)
    states = [s for _, s in w.history] + ([w.pending] if w.pending else [])
    ids = {f.id for s in states[base:] for f in s.files.values()}
    cands = {}
    for i in ids:
        first = max(base, w.synced.get(i, 0))
        seen, absent = {}, False
        for s in states[first:]:
            here = [(p, f) for p, f in s.files.items() if f.id == i]
            absent = absent or not here
            for p, f in here:
                seen[(p, id(f))] = (p, f)
        cands[i] = list(seen.values()), absent
    may = set().union(*(s.dirs for s in states[base:]))
    must = set.intersection(*(s.dirs for s in states[base:]))
    return cands, may, must


def torn(data, versions):
    """True when each block of data is one of the file's versions in the window, or empty."""
    if len({v.data for v in versions}) < 2 or len(data) > max(len(v.data) for v in versions):
        return False
    for off in range(0, len(data), h.CHUNK):
        block = data[off:off + h.CHUNK]
        olds = [v.data[off:off + h.CHUNK] for v in versions] + [b""]
        blocks = {o.ljust(len(block), b"\0")[:len(block)] for o in olds}
        if block not in blocks and any(b not in {o[i] for o in blocks}
                                       for i, b in enumerate(block)):
            return False
    return True


def judge(w, files, dirs, moment):
    """Compares what was found of one worker; returns how many files were torn."""
    cands, may, must = candidates(w, moment)
    found, ntorn = set(), 0
    for p, got in sorted(files.items()):
        at = [(i, f) for i, (seen, _) in cands.items() for q, f in seen if q == p]
        hits = {i for i, f in at if f.data == got.data and f.attrs() == got.attrs()}
        if not hits:                # attributes and bytes may be of different moments
            attrs = {i: {f.attrs() for j, f in at if j == i} for i, _ in at}
            hits = {i for i, f in at if f.data == got.data and
                    got.mode in {m for m, _ in attrs[i]} and got.note in {n for _, n in attrs[i]}}
        if not hits:
            for i in {i for i, _ in at}:
                versions = [f for _, f in cands[i][0]]
                if any(f.data == got.data for f in versions) or torn(got.data, versions):
                    hits.add(i)     # all that it could be: torn bytes do not name their file
            ntorn += bool(hits)
        if not at:
            raise h.Fail("worker %d: %s should not be there (%d bytes)" % (w.number, p,
                                                                         len(got.data)))
        if not hits:
            f = at[0][1]
            raise h.Fail("worker %d: %s is none of its %d possible states, such as: %s, %s instead "
                         "of %s" % (w.number, p, len(at), h.describe(got.data, f.data),
                                    got.attrs(), f.attrs()))
        found |= hits
    for i, (seen, absent) in sorted(cands.items()):
        if not absent and i not in found:
            raise h.Fail("worker %d: file %s is lost%s; it could be %s" % (
                w.number, i, " though it was synced" if i in w.synced else "",
                sorted({p for p, _ in seen})))
    parents = {os.path.dirname(p) for p in files}
    for p in sorted(dirs - may - parents):
        raise h.Fail("worker %d: directory %s should not be there" % (w.number, p))
    for p in sorted(must - dirs):
        raise h.Fail("worker %d: directory %s is lost" % (w.number, p))
    return ntorn


def index_check(args, d):
    r = subprocess.run([args.astrafs, "--check", "-o", "state=" + d.state],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=d.env, timeout=60,
                       check=False)
    if r.returncode != 0:
        raise h.Fail("astrafs --check: exit %d: %s" % (r.returncode,
                                                       r.stdout.decode(errors="replace")[-500:]))


def new_boot(d, work):
    path = os.path.join(work, "boot_id")
    with open(path, "w", encoding="ascii") as f:
        f.write("%s\n" % uuid.uuid4())
    d.env["ASTRA_BOOT_ID_FILE"] = path


def make_shared(mnt):
    h.make_shared(mnt)
    for r in h.ROOTS:
        for p in [r] + [r + "/" + s for s in h.SHARED]:
            fd = os.open(os.path.join(mnt, p), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def until_cut(d, workers, rng, args):
    end = time.monotonic() + (rng.uniform(0.05, args.longest) if rng.random() < 0.7 else
                              rng.uniform(args.slack, args.slack + args.longest))
    while time.monotonic() < end and not any(w.error for w in workers):
        time.sleep(0.01)
        if not d.alive():
            raise h.Fail("astrafs died by itself: %s" % d.log_tail())


def after_boot(args, d, workers, cut_at, check_first):
    if check_first:
        index_check(args, d)
    d.start()
    files, dirs = h.scan(d.mnt)
    ntorn = 0
    for w, (wf, wd) in zip(workers, h.by_owner(files, dirs, len(workers))):
        ntorn += judge(w, wf, wd, cut_at - args.slack)
    d.settle()
    files, dirs = h.scan(d.mnt)
    for w, (wf, wd) in zip(workers, h.by_owner(files, dirs, len(workers))):
        judge(w, wf, wd, cut_at - args.slack)
    h.same_native(d, files)
    d.umount()
    index_check(args, d)
    return ntorn, len(files)


def one(args, seed, work):
    rng = random.Random("cut/%d" % seed)
    disk = Disk(args.cutfs, work)
    d = h.Daemon(args, work, os.path.join(disk.mnt, "state"), os.path.join(disk.mnt, "data"))
    dying = threading.Event()
    workers = h.make_workers(d.mnt, seed, dying, KINDS, big=120000)
    try:
        for p in (d.state, d.data):
            os.mkdir(p)
        new_boot(d, work)
        d.start()
        make_shared(d.mnt)
        for w in workers:
            w.start()
        until_cut(d, workers, rng, args)
        cut_at = time.monotonic()
        dying.set()
        disk.cut(seed)
        d.kill()
        h.join(workers)
        disk.gone()
        disk = None
        d.state, d.data = os.path.join(work, "back/state"), os.path.join(work, "back/data")
        d.opts.append("moved=aws:gcp:azure")  # the same objects, copied
        new_boot(d, work)
        ntorn, n = after_boot(args, d, workers, cut_at, rng.random() < 0.7)
        return "%d operations, %d synced files, %d files left, %d torn" % (
            sum(w.ops for w in workers), sum(len(w.synced) for w in workers), n, ntorn)
    finally:
        dying.set()
        d.kill()
        if disk:
            disk.gone()


def arguments(doc, longest):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--cutfs", default="build/cutfs")
    p.add_argument("--longest", type=float, default=longest, help="seconds until the cut, about")
    p.add_argument("--slack", type=float, default=2.0,
                   help="seconds of unsynced changes that may be taken back")
    return h.add_arguments(p, sys.argv)


def main():
    args = arguments(__doc__, 1.5)
    return h.run_many(args, lambda seed, work: one(args, seed, work))


if __name__ == "__main__":
    sys.exit(main())
