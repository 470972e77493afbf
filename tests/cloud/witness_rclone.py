# SPDX-License-Identifier: MIT
"""Compares what rclone says about a remote with a tree of files.

    rclone lsjson -R -M --hash --files-only REMOTE: |
        witness_rclone.py TREE [--no-md5 SIZE] [--meta] [KEY=VALUE...]

Exactly the files of TREE are there: path, size, time of change to the nanosecond, MD5 (stated of all
but those of SIZE bytes and more); with --meta also mode and user.* attributes, and each KEY=VALUE
among the metadata of all.
"""
import argparse
import base64
import calendar
import hashlib
import json
import os
import re
import sys
import urllib.parse


def ns(text):
    """RFC 3339 with up to nine digits of a second, which datetime has not."""
    m = re.fullmatch(r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(?:\.(\d+))?"
                     r"(?:Z|([+-])(\d\d):(\d\d))", text)
    if not m:
        sys.exit(f"not a time: {text}")
    s = calendar.timegm(tuple(int(x) for x in m.groups()[:6]))
    if m[8]:
        s -= int(m[8] + "1") * (int(m[9]) * 3600 + int(m[10]) * 60)
    return s * 10**9 + int((m[7] or "0").ljust(9, "0"))


def attributes(text):
    """As s3fs writes them, with %XX."""
    return {k: base64.b64decode(v)
            for k, v in json.loads(urllib.parse.unquote(text or "{}")).items()}


def tree(top):
    for where, _, names in os.walk(top):
        for n in names:
            path = os.path.join(where, n)
            yield os.path.relpath(path, top), path


def look(item, path, options):
    st = os.stat(path)
    with open(path, "rb") as f:
        data = f.read()
    md5 = item.get("Hashes", {}).get("md5")
    yield "size", item["Size"], len(data)
    yield "time", ns(item["ModTime"]), st.st_mtime_ns
    if md5 or len(data) < options.no_md5:
        yield "MD5", md5, hashlib.md5(data).hexdigest()
    if not options.meta:
        return
    meta = item.get("Metadata", {})
    mode = meta.get("mode", "none")
    yield "mode", int(mode, 8 if len(mode) == 6 else 10) if mode.isdigit() else mode, st.st_mode
    yield "attributes", attributes(meta.get("xattr")), {
        k: os.getxattr(path, k) for k in os.listxattr(path) if k.startswith("user.")}
    for pair in options.pairs:
        key, value = pair.split("=", 1)
        yield key, meta.get(key), value


def main():
    p = argparse.ArgumentParser()
    p.add_argument("top")
    p.add_argument("--no-md5", type=int, default=sys.maxsize)
    p.add_argument("--meta", action="store_true")
    p.add_argument("pairs", nargs="*")
    options = p.parse_intermixed_args()
    seen = {i["Path"]: i for i in json.load(sys.stdin)}
    want = dict(tree(options.top))
    bad = ["%s: %s" % (path, "is missing" if path in want else "should not be there")
           for path in set(seen) ^ set(want)]
    for path in sorted(set(seen) & set(want)):
        bad += [f"{path}: {what} is {a!r}, should be {b!r}"
                for what, a, b in look(seen[path], want[path], options) if a != b]
    for line in bad:
        print(line)
    return 1 if bad or not want else 0


sys.exit(main())
