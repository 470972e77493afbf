# SPDX-License-Identifier: MIT
"""One cloud hangs: hang.py MOUNT ASTRA make|hang

500 readers block in read(2) of files in /gcp that nobody has cached. Meanwhile stat, ls, and reads
and writes in the other clouds must go on as before: judged by the median and the slowest of many,
against the same before the cloud hung, with room for a machine that is busy. When the cloud answers
again every reader gets its bytes. Then the same with jobs: hundreds of uploads, moves and listings that
need the hung cloud, and fsync, moves and new listings in the others beside them."""
import json
import os
import subprocess
import sys
import threading
import time

MNT, ASTRA, WHAT = sys.argv[1:4]
READERS, WARM, ROUNDS = 500, 40, 60
PENDING, BESIDE = 40, 8  # jobs of each kind that hang; rounds beside them
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
    for i in range(PENDING):
        write(path("gcp/warm%d" % i), body("warm %d\n" % i, 3000 if i % 3 else 1200000))
    for d in ("azure/unseen", "gcp/dirs"):
        os.mkdir(path(d))
    for i in range(30):
        for d in ("azure/unseen/%d" % i, "gcp/dirs/%d" % i):
            os.mkdir(path(d))
        write(*unseen(i))
        write(path("gcp/dirs/%d/f" % i), b"f")


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


def judge(what, before, now, room=0.005):
    bad = False
    for name, times in now.items():
        p50, worst = times[len(times) // 2], times[-1]
        b50, bworst = before[name][len(times) // 2], before[name][-1]
        limit = max(FLOOR, 5 * bworst) + 3 * now["idle"][-1]
        usual = 4 * b50 + room + now["idle"][len(times) // 2]
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


def beside(n):
    """name -> what jobs of the other clouds do, the n-th time; each waits until it is done."""
    new, moved = path("aws/side%d" % n), path("azure/side%d" % n)
    big = path("azure/big%d" % n)
    listed = path("azure/unseen/%d" % n)
    return {
        "fsync": lambda: write(new, b"z" * 5000, sync=True),
        "fsync of 3 MB": lambda: write(big, b"Z" * 3000000, sync=True),
        "mv between clouds": lambda: (os.rename(new, moved), astra("sync", moved)),
        "read of what is not cached": lambda: read(*unseen(n)),
        "ls of what is not listed": lambda: os.listdir(listed),
        "rm": lambda: (os.unlink(moved), os.unlink(big)),
    }


def unseen(i):
    return path("azure/unseen/%d/f" % i), body("unseen %d\n" % i, 200000)


def beside_all(first):
    out = {"idle": []}
    for n in range(first, first + BESIDE):
        for name, fn in beside(n).items():
            t0 = time.monotonic()
            fn()
            out.setdefault(name, []).append(time.monotonic() - t0)
        t0 = time.monotonic()
        time.sleep(0.002)
        out["idle"].append(time.monotonic() - t0 - 0.002)
    return {k: sorted(v) for k, v in out.items()}


def quiet(fn, args):
    try:
        fn(*args)
    except OSError:         # a listing gives up after a while
        pass


def jobs():
    for d in ("aws", "azure", "azure/unseen", "gcp", "gcp/dirs"):
        os.listdir(path(d))
    for i in range(3 * PENDING):
        write(path("aws/go%d" % i), body("go %d\n" % i, 3000 if i % 3 else 1200000))
    astra("status", "--wait-clean", "--timeout", "60s")
    before = beside_all(0)
    astra("debug", "fault", "gcp", "*:hang")
    begun = time.monotonic()
    for i in range(PENDING):
        write(path("gcp/up%d" % i), body("up %d\n" % i, 3000 if i % 3 else 1200000))
    others = [threading.Thread(target=quiet, args=(fn, args), daemon=True) for fn, args in
              [(os.rename, (path("aws/go%d" % i), path("gcp/go%d" % i))) for i in range(PENDING)]
              + [(os.rename, (path("gcp/warm%d" % i), path("azure/back%d" % i))) for i in range(PENDING)]
              + [(os.listdir, (path("gcp/dirs/%d" % i),)) for i in range(30)]]
    for t in others:
        t.start()
    live = lambda: json.loads(astra("--json", "status"))["jobs"]
    time.sleep(1)           # over upload_delay
    print("jobs that cannot go on:", live(), flush=True)
    judge("%d jobs hang" % (3 * PENDING), before, beside_all(BESIDE), room=0.15)
    took = time.monotonic() - begun
    if took > 28:
        raise SystemExit("that took %.1f s: the calls are over that were to hang" % took)
    astra("debug", "fault", "gcp", "")
    for t in others:
        t.join(60)
    astra("status", "--wait-clean", "--timeout", "120s")
    for i in range(PENDING):
        read(path("gcp/up%d" % i), body("up %d\n" % i, 3000 if i % 3 else 1200000))
        read(path("gcp/go%d" % i), body("go %d\n" % i, 3000 if i % 3 else 1200000))
        read(path("azure/back%d" % i), body("warm %d\n" % i, 3000 if i % 3 else 1200000))


threading.stack_size(1 << 18)
{"make": make, "hang": hang, "jobs": jobs}[WHAT]()
