# SPDX-License-Identifier: MIT
"""One cloud hangs: hang.py MOUNT ASTRA make|hang

500 readers block in read(2) of files in /gcp that nobody has cached. Meanwhile stat, ls, and reads
and writes in the other clouds must go on as before: judged by the median and the slowest of many,
against the same before the cloud hung, with room for a machine that is busy. When the cloud answers
again every reader gets its bytes."""
import json
import os
import subprocess
import sys
import threading
import time

MNT, ASTRA, WHAT = sys.argv[1:4]
READERS, WARM, ROUNDS = 500, 40, 60
FLOOR = 1.0             # seconds that no operation may take, however fast it was before


def path(*names):
    return os.path.join(MNT, *names)


def body(tag, size):
    return (tag * (size // len(tag) + 1)).encode()[:size]


def cold(i):
    return path("gcp/cold/%d" % i), body("cold %d\n" % i, 20000 if i % 2 else 300000)


def warm(i):
    return path("aws/warm/%d" % i), body("warm %d\n" % i, 300000)


def astra(*words):
    return subprocess.run([ASTRA, "--mount", MNT, *words], check=True, stdout=subprocess.PIPE).stdout


def write(name, data, sync=False):
    with open(name, "wb", buffering=0) as f:
        f.write(data)
        if sync:
            os.fsync(f.fileno())


def read(name, want):
    fd = os.open(name, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)      # from the daemon, not the kernel
        out = b""
        while len(out) < len(want):
            b = os.read(fd, len(want))
            if not b:
                break
            out += b
    finally:
        os.close(fd)
    if out != want:
        raise SystemExit("%s has other bytes" % name)


def make():
    for d in ("gcp/cold", "aws/warm", "azure/some"):
        os.mkdir(path(d))
    for i in range(READERS):
        write(*cold(i))
    for i in range(WARM):
        write(*warm(i))
        write(path("azure/some/%d" % i), b"x")


class Reader(threading.Thread):
    def __init__(self, i):
        super().__init__(daemon=True)
        self.i, self.ok = i, None

    def run(self):
        try:
            read(*cold(self.i))
            self.ok = True
        except BaseException as e:
            self.ok = e


def operations(n):
    """name -> what is timed, the n-th time."""
    return {
        "stat": lambda: os.stat(warm(n % WARM)[0]),
        "stat of a hung cloud": lambda: os.stat(cold(n % READERS)[0]),
        "stat of nothing": lambda: os.path.exists(path("aws/none%d" % n)),
        "ls": lambda: os.listdir(path("azure/some")),
        "ls of the root": lambda: os.listdir(MNT),
        "ls -l": lambda: [e.stat() for e in os.scandir(path("aws/warm"))],
        "getxattr": lambda: os.getxattr(warm(n % WARM)[0], "user.astra.tier"),
        "read": lambda: read(*warm(n % WARM)),
        "write": lambda: write(path("aws/new%d" % (n % 7)), b"y" * 5000),
    }


def measure():
    """name -> sorted times; "idle": how much longer than asked a process sleeps meanwhile."""
    out = {"idle": []}
    for n in range(ROUNDS):
        for name, fn in operations(n).items():
            t0 = time.monotonic()
            fn()
            out.setdefault(name, []).append(time.monotonic() - t0)
        t0 = time.monotonic()
        time.sleep(0.002)
        out["idle"].append(time.monotonic() - t0 - 0.002)
    return {k: sorted(v) for k, v in out.items()}


def judge(what, before, now):
    bad = False
    for name, times in now.items():
        p50, worst = times[len(times) // 2], times[-1]
        b50, bworst = before[name][len(times) // 2], before[name][-1]
        limit = max(FLOOR, 5 * bworst) + 3 * now["idle"][-1]
        usual = 4 * b50 + 0.005 + now["idle"][len(times) // 2]
        slow = name != "idle" and (worst > limit or p50 > usual)
        bad |= slow
        print("%s, %s: median %.1f ms (before %.1f), worst %.1f ms (before %.1f)%s"
              % (what, name, p50 * 1e3, b50 * 1e3, worst * 1e3, bworst * 1e3,
                 " TOO SLOW" if slow else ""), flush=True)
    if bad:
        raise SystemExit(1)


def wait_for(what, fn, seconds=60):
    end = time.monotonic() + seconds
    while not fn():
        if time.monotonic() > end:
            raise SystemExit("after %d s: %s" % (seconds, what))
        time.sleep(0.05)


def hang():
    for d in ("aws", "azure", "gcp", "gcp/cold", "aws/warm", "azure/some"):
        os.listdir(path(d))
    for i in range(WARM):
        read(*warm(i))
    before = measure()
    astra("debug", "fault", "gcp", "*:hang")
    readers = [Reader(i) for i in range(READERS)]
    for r in readers:
        r.start()
    parked = lambda: json.loads(astra("--json", "status"))["parked"]
    wait_for("not all readers are blocked", lambda: parked() >= READERS)
    judge("500 blocked", before, measure())

    if any(r.ok is not None for r in readers):
        raise SystemExit("not all readers were blocked all the time")

    astra("debug", "fault", "gcp", "")
    wait_for("some readers still wait", lambda: all(r.ok is not None for r in readers))
    wrong = [(r.i, r.ok) for r in readers if r.ok is not True]
    if wrong:
        raise SystemExit("of %d readers: %s" % (READERS, wrong[:5]))
    astra("status", "--wait-clean", "--timeout", "60s")


threading.stack_size(1 << 18)
{"make": make, "hang": hang}[WHAT]()
