#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stands in for astrafs and astra, so that the run programs can be tested themselves: a plain
directory behind cutfs, in which stores and tree are the same files. FAKE_BUG makes it wrong:
  lose    a file is gone after a restart        extra   a strange name is there after a restart
  mangle  a byte is different after a restart   nosync  fsync and time make nothing durable
usage: as astrafs and astra (told apart by --mount). CUTFS names the cutfs program."""

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import time

ROOTS = ("aws", "gcp", "azure")


def spoil(tree):
    bug = os.environ.get("FAKE_BUG", "")
    files = [os.path.join(d, n) for d, _, names in os.walk(tree) for n in names]
    files = [f for f in files if os.path.getsize(f) > 0]
    if not files:
        return
    f = random.choice(files)
    if bug == "lose":
        os.unlink(f)
    elif bug == "mangle":
        with open(f, "r+b") as g:
            b = g.read(1)
            g.seek(0)
            g.write(bytes([b[0] ^ 1]))
    elif bug == "extra":
        shutil.copy(f, f + ".conflict-host-1")


def sync_all(tree):
    for d, _, names in os.walk(tree):
        for n in [""] + names:
            try:
                fd = os.open(os.path.join(d, n), os.O_RDONLY)
            except OSError:
                continue
            try:
                os.fsync(fd)
            except OSError:
                pass
            os.close(fd)


def daemon(opts, mnt):
    tree = os.path.join(opts["data"], ".tree")
    os.makedirs(opts["state"], exist_ok=True)
    for r in ROOTS:
        os.makedirs(os.path.join(tree, r), exist_ok=True)
        os.makedirs(os.path.join(opts["data"], r), exist_ok=True)
        link = os.path.join(opts["data"], r, "astra-" + r)
        if not os.path.islink(link):
            os.symlink("../.tree/" + r, link)
    shutil.rmtree(os.path.join(tree, ".cutfs-trash"), ignore_errors=True)
    spoil(tree)
    subprocess.run(["fusermount3", "-uzq", mnt], check=False)
    libc = ctypes.CDLL(None)
    nosync = os.environ.get("FAKE_BUG") == "nosync"
    if not nosync:
        os.environ["CUTFS_THROUGH"] = "1"
    p = subprocess.Popen([os.environ["CUTFS"], tree, mnt, "-f"],
                         preexec_fn=lambda: libc.prctl(1, signal.SIGKILL))
    signal.signal(signal.SIGTERM, lambda *_: subprocess.run(["fusermount3", "-uzq", mnt],
                                                            check=False))
    while p.poll() is None:
        time.sleep(0.3)
        if not nosync:
            sync_all(tree)
    return p.returncode


def main(argv):
    if "--mount" in argv:
        if "--json" in argv:
            print("{}")
        if argv[-1] == "umount":
            return subprocess.run(["fusermount3", "-uz", argv[argv.index("--mount") + 1]],
                                  check=False).returncode
        return 0
    if "--check" in argv:
        return 0
    opts = dict(o.split("=", 1) for o in argv[argv.index("-o") + 1].split(","))
    return daemon(opts, argv[-1])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
