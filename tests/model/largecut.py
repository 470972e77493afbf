#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power cuts and kills under a writer of a file that is larger than the cache: what went up while it
is written makes room for the rest, so that most of it is in the cloud alone. State and store lie on
cutfs as in cutrun.py. After the "boot" each block has what was there when fsync last returned (or
--slack seconds before the cut), or something that was written there later; after a kill alone it has
what was there at last. Then it settles, and the store has what the file shows.

A run's seed fixes the operations, the moment of the cut and what it loses."""

import os
import random
import sys
import threading
import time

import cutrun
import harness as h

BLOCK = 64 << 10
NAME = "large"


def block(n):
    return n.to_bytes(8, "little") * (BLOCK // 8)


class Writer(threading.Thread):
    """Each block has the number of the operation that wrote it; 0: nothing."""

    def __init__(self, path, seed, dying):
        super().__init__(daemon=True)
        self.path, self.dying = path, dying
        self.rng = random.Random("large/%d" % seed)
        self.blocks = []                # for each, [(operation, number)]
        self.sizes = [(0, 0)]           # [(operation, blocks)]
        self.times = [time.monotonic()]  # when each operation had begun
        self.synced = self.op = self.syncs = 0
        self.error = None

    def put(self, at, n, number):
        while len(self.blocks) < at + n:
            self.blocks.append([(0, 0)])
        for i in range(at, at + n):
            self.blocks[i].append((self.op, number))

    def step(self, fd):
        size, k = self.sizes[-1][1], self.rng.random()
        self.op += 1
        self.times.append(time.monotonic())
        if k < 0.05:
            before = self.op
            os.fsync(fd)
            self.synced, self.syncs = before, self.syncs + 1
        elif k < 0.10 and size > 64:
            to = size - self.rng.randrange(48)
            self.put(to, size - to, 0)
            self.sizes.append((self.op, to))
            os.ftruncate(fd, to * BLOCK)
        else:
            n = self.rng.randrange(1, 24)
            at = self.rng.randrange(size) if k < 0.3 and size else size
            if k > 0.97:
                at += self.rng.randrange(40)    # a hole
            self.put(at, n, self.op)
            if at + n > size:
                self.sizes.append((self.op, at + n))
            data, done = block(self.op) * n, 0
            while done < len(data):
                done += os.pwrite(fd, data[done:], at * BLOCK + done)

    def run(self):
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            while not self.dying.is_set():
                self.step(fd)
        except OSError as e:
            if not self.dying.is_set():
                self.error = str(e)

    def since(self, moment):
        """The last operation that must be there."""
        n = sum(1 for t in self.times if t < moment) - 2
        return max(self.synced, n, 0)


def may_be(history, since):
    """Of [(operation, value)]: what was in force then, and all later ones."""
    last = max((o for o, _ in history if o <= since), default=0)
    return {v for o, v in history if o >= last}


def judge(w, data, since):
    sizes = may_be(w.sizes, since)      # the kernel cuts a large write into several
    if not min(sizes) * BLOCK <= len(data) <= max(sizes) * BLOCK:
        raise h.Fail("%d bytes, instead of blocks: %s" % (len(data), sorted(sizes)))
    torn = 0
    for i, history in enumerate(w.blocks):
        got = data[i * BLOCK:(i + 1) * BLOCK]
        may = may_be(history, since)
        words = {int.from_bytes(got[k:k + 8], "little") for k in range(0, len(got), 512)}
        if len(got) < BLOCK and min(sizes) * BLOCK >= (i + 1) * BLOCK:
            raise h.Fail("block %d is short" % i)
        if len(may) > 1:
            may.add(0)                  # not synced: a file that grew, and not its bytes
        if not words <= may:
            raise h.Fail("block %d has %s instead of %s (operation %d of %d, synced %d)" % (
                i, sorted(words), sorted(may), since, w.op, w.synced))
        torn += len(words) > 1
    return torn


def read(d):
    try:
        with open(os.path.join(d.mnt, "aws", NAME), "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""
    except OSError as e:
        raise h.Fail("cannot be read: %s; %s" % (e, d.log_tail())) from e


def after(d, w, since):
    d.start(120)
    data = read(d)
    torn = judge(w, data, since)
    d.settle()
    if read(d) != data:
        raise h.Fail("it changed while it settled")
    native = os.path.join(d.data, "aws", "astra-aws", NAME)
    stored = b""
    if os.path.exists(native):
        with open(native, "rb") as f:
            stored = f.read()
    if stored != data:
        raise h.Fail("the store has other bytes")
    if [n for n in os.listdir(os.path.join(d.mnt, "aws")) if n != NAME]:
        raise h.Fail("a conflict copy of our own: %s" % os.listdir(os.path.join(d.mnt, "aws")))
    d.umount()
    return torn


def one(args, seed, work):
    rng = random.Random("largecut/%d" % seed)
    power = rng.random() < 0.7
    disk = cutrun.Disk(args.cutfs, work)
    d = h.Daemon(args, work, os.path.join(disk.mnt, "state"), os.path.join(disk.mnt, "data"))
    dying = threading.Event()
    w = Writer(os.path.join(d.mnt, "aws", NAME), seed, dying)
    try:
        for p in (d.state, d.data):
            os.mkdir(p)
        cutrun.new_boot(d, work)
        d.start()
        w.start()
        cutrun.until_cut(d, [w], rng, args)
        cut_at = time.monotonic()
        dying.set()
        if power:
            disk.cut(seed)
        d.kill()
        w.join(30)
        if w.error:
            raise h.Fail("writing failed: " + w.error)
        since = w.since(cut_at - args.slack) if power else max(w.op - 1, 0)
        if power:
            disk.gone()
            disk = None
            d.state, d.data = os.path.join(work, "back/state"), os.path.join(work, "back/data")
            d.opts.append("moved=aws:gcp:azure")  # the same objects, copied
            cutrun.new_boot(d, work)
        torn = after(d, w, since)
        return "%s after %d operations, %d syncs, %d blocks, %d torn" % (
            "power cut" if power else "kill", w.op, w.syncs, w.sizes[-1][1], torn)
    finally:
        dying.set()
        d.kill()
        if disk:
            disk.gone()


def main():
    args = cutrun.arguments(__doc__, 5)
    args.opts.append("cache_size=16M")
    return h.run_many(args, lambda seed, work: one(args, seed, work))


if __name__ == "__main__":
    sys.exit(main())
