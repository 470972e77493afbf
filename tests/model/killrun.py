#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kill runs: writers, renamers and movers across clouds on a fresh mount; the daemon is killed
with SIGKILL at a random moment (and at times again while it recovers) and mounted again on the
same state. Everything that was acknowledged must be there, and nothing else. Some runs also wait
until all jobs are done and compare the stores' own directories. A run's seed fixes the operations
and the moment of the kill."""

import argparse
import random
import sys
import threading
import time

import harness as h

KINDS = ("writer", "renamer", "mover", "mover", "writer")


def check(d, workers, where):
    files, dirs = h.scan(d.mnt)
    for w, (wf, wd) in zip(workers, h.by_owner(files, dirs, len(workers))):
        why = w.differs(wf, wd)
        if why:
            raise h.Fail("%s: %s" % (where, why))
    return files


def one(args, seed, work):
    rng = random.Random("kill/%d" % seed)
    d = h.Daemon(args, work)
    dying = threading.Event()
    workers = h.make_workers(d.mnt, seed, dying, KINDS)
    try:
        d.start()
        h.make_shared(d.mnt)
        for w in workers:
            w.start()
        end = time.monotonic() + rng.uniform(0.05, args.longest)
        while time.monotonic() < end:
            time.sleep(0.01)
            if not d.alive():
                raise h.Fail("astrafs died by itself: %s" % d.log_tail())
            if any(w.error for w in workers):
                break
        dying.set()
        d.kill(detach=rng.random() < 0.5)
        h.join(workers)
        while rng.random() < 0.3:
            d.start()
            time.sleep(rng.uniform(0, 0.15))
            d.kill(detach=rng.random() < 0.5)
        d.start()
        files = check(d, workers, "after the kill")
        if rng.random() < args.settle:
            d.settle()
            files = check(d, workers, "when settled")
            h.same_native(d, files)
            d.umount(by_signal=rng.random() < 0.5)
            if rng.random() < 0.3:
                d.start()
                check(d, workers, "after a clean remount")
        return "%d operations, %d files left" % (sum(w.ops for w in workers), len(files))
    finally:
        dying.set()
        d.kill()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--settle", type=float, default=0.25, help="share of runs that compare stores")
    p.add_argument("--longest", type=float, default=0.9, help="seconds until the kill, at most")
    args = h.add_arguments(p, sys.argv)
    return h.run_many(args, lambda seed, work: one(args, seed, work))


if __name__ == "__main__":
    sys.exit(main())
