#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Model runs: random operations on a fresh mount and on a plain directory, which must not differ
(build/model), or changes of a few names while jobs are slow, with the stores compared too once
settled (build/names). After a model run the mount settles and the stores must hold exactly the
files of the tree. A run's seed fixes the operations; when jobs run is left to the machine."""

import argparse
import os
import random
import subprocess
import sys

import harness as h

# what a run is given beside --opts; one by the seed
MOODS = (
    "upload_delay=50ms,migrate_wait=50ms",
    "upload_delay=0ms,migrate_wait=0ms",
    "upload_delay=300ms,migrate_wait=200ms",
    "upload_delay=5ms,migrate_wait=0ms,workers=2,buffers=2",
    "upload_delay=20ms,migrate_wait=20ms,metadata_ttl=50ms",
)
CONFIG = """[remote %s]
type = local
provider = %s
bucket = astra-%s
%s
"""


def slow(rng):
    """Calls that take longer at random, so that jobs overtake each other if they can."""
    if rng.random() < 0.4:
        return ""
    return "fault = *:every=%d:delay=%d" % (rng.choice((2, 3, 5)), rng.choice((5, 20, 60)))


def program(args, name, words, timeout):
    try:
        r = subprocess.run([os.path.join(args.build, name)] + words, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                           check=False)
    except subprocess.TimeoutExpired as e:
        raise h.Fail("%s hangs: %s" % (name, (e.stdout or b"")[-300:])) from None
    if r.returncode != 0:
        raise h.Fail("%s: %s" % (name, r.stdout.decode(errors="replace")[-6000:]))
    return r.stdout.decode(errors="replace").strip()


def model(args, rng, seed, d, work):
    plain = os.path.join(work, "plain")
    for r in h.ROOTS:
        os.makedirs(os.path.join(plain, r))
    words = ["--dir-a", d.mnt, "--dir-b", plain, "--seed", str(seed), "--steps", str(args.steps),
             "--roots", ",".join(h.ROOTS)]
    out = program(args, "model", words + ["--every", str(rng.choice((500, 1000, 10 ** 9)))],
                  args.timeout)
    d.settle(120)
    files, _ = h.scan(d.mnt)
    h.same_native(d, files)
    return out


def names(args, rng, seed, d):
    astra = "timeout 120 %s --mount %s" % (d.astra, d.mnt)
    wait = "%s jobs wait; " % astra if args.archive else ""
    settle = "export ASTRA_RUNTIME_DIR=%s; exec >&2; { %s%s status --wait-clean; } >/dev/null " \
             "|| { %s jobs; false; }" % (d.env["ASTRA_RUNTIME_DIR"], wait, astra, astra)
    words = ["--mount", d.mnt, "--data", d.data, "--settle", settle,
             "--roots", rng.choice(("aws,gcp", "aws", "aws,gcp,azure")),
             "--seed", str(seed), "--rounds", str(args.rounds), "--pause",
             str(rng.choice((0, 3, 15)))]
    return program(args, "names", words + ["--archive"] * args.archive, args.timeout)


def one(args, seed, work):
    rng = random.Random("model/%d" % seed)
    d = h.Daemon(args, work)
    d.opts = [o for o in args.opts if o] + rng.choice(MOODS).split(",")
    d.conf = os.path.join(work, "conf")
    with open(d.conf, "w", encoding="utf-8") as f:
        for r in h.ROOTS:
            f.write(CONFIG % (r, r, r, slow(rng)))
            if args.archive:
                f.write("restore_delay = %dms\n" % rng.choice((50, 500)))
    try:
        d.start()
        out = names(args, rng, seed, d) if args.names else model(args, rng, seed, d, work)
        d.umount(by_signal=rng.random() < 0.5)
        r = subprocess.run([d.astrafs, "--check", "-o", "state=" + d.state, d.mnt], env=d.env,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if r.returncode != 0:
            raise h.Fail("--check: " + r.stdout.decode(errors="replace")[-400:])
        return out
    finally:
        d.kill()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--names", action="store_true", help="the names test instead of the model")
    p.add_argument("--archive", action="store_true", help="names: archived files among them")
    p.add_argument("--steps", type=int, default=3000, help="of a model run")
    p.add_argument("--rounds", type=int, default=15, help="of a names run")
    p.add_argument("--timeout", type=int, default=300, help="seconds for one run")
    p.add_argument("--build", default="build", help="where model and names are")
    args = h.add_arguments(p, sys.argv)
    return h.run_many(args, lambda seed, work: one(args, seed, work))


if __name__ == "__main__":
    sys.exit(main())
