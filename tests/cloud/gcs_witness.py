#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What Google's own client (google-cloud-storage) sees of a bucket, or puts into it.

    gcs_witness.py ENDPOINT BUCKET make              the bucket
    gcs_witness.py ENDPOINT BUCKET list [PREFIX]     a line each: NAME SIZE CLASS CRC32C
    gcs_witness.py ENDPOINT BUCKET meta NAME         metadata, a line each: KEY=VALUE
    gcs_witness.py ENDPOINT BUCKET check DIR [PREFIX [CLASS]]
            the objects (below PREFIX) are the files of DIR: bytes, size, CRC-32C, MD5 where it is
            stated, CLASS (STANDARD), and the metadata that astrafs writes
    gcs_witness.py ENDPOINT BUCKET put NAME FILE [CLASS]
    gcs_witness.py ENDPOINT BUCKET class NAME CLASS  by a rewrite
    gcs_witness.py ENDPOINT BUCKET remove NAME
"""
import base64
import hashlib
import os
import sys

import google_crc32c
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


def wrong(b, want, storage):
    """What of an object is not as it should be. The client does not mind if no checksum is stated."""
    crc = base64.b64encode(google_crc32c.Checksum(want).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(want).digest()).decode()
    meta = {k.lower() for k in b.metadata or {}}
    return [what for what, bad in (
        ("other bytes", b.download_as_bytes(checksum="crc32c") != want),
        ("size %s" % b.size, b.size != len(want)),
        ("CRC-32C %s, is %s" % (b.crc32c, crc), b.crc32c != crc),
        ("MD5 %s, is %s" % (b.md5_hash, md5), b.md5_hash not in (None, md5)),
        ("no MD5 and not composed", not b.md5_hash and not b.component_count),
        ("class %s" % b.storage_class, b.storage_class != storage),
        ("metadata %s" % sorted(meta), not {"mtime", "mode", "astra-write"} <= meta)) if bad]


def check(objects, root, storage):
    seen, bad = set(), []
    for b in objects:
        path = os.path.join(root, b.name)
        if b.name.endswith("/"):
            continue
        seen.add(path)
        if not os.path.exists(path):
            bad.append("%s should not be there" % b.name)
            continue
        with open(path, "rb") as f:
            bad += ["%s: %s" % (b.name, w) for w in wrong(b, f.read(), storage)]
    for where, _, names in os.walk(root):
        bad += ["%s is missing" % p for p in (os.path.join(where, n) for n in names)
                if p not in seen]
    print("\n".join(bad) or "%d objects" % len(seen))
    return 1 if bad else 0


def main():
    endpoint, name, what, *args = sys.argv[1:]
    client = storage.Client(project="witness", credentials=AnonymousCredentials(),
                            client_options={"api_endpoint": endpoint})
    if what == "make":
        client.create_bucket(name)
        return 0
    bucket = client.bucket(name)
    if what == "list":
        for b in client.list_blobs(name, prefix=args[0] if args else None):
            print(b.name, b.size, b.storage_class, b.crc32c)
    elif what == "meta":
        for k, v in sorted((bucket.get_blob(args[0]).metadata or {}).items()):
            print("%s=%s" % (k, v))
    elif what == "check":
        return check(client.list_blobs(name, prefix=args[1] if len(args) > 1 else None), args[0],
                     args[2] if len(args) > 2 else "STANDARD")
    elif what == "put":
        b = bucket.blob(args[0], chunk_size=256 * 1024)
        b.storage_class = args[2] if len(args) > 2 else None
        b.metadata = {"Written-By": "witness"}
        b.upload_from_filename(args[1], checksum="crc32c")
    elif what == "class":
        bucket.get_blob(args[0]).update_storage_class(args[1])
    elif what == "remove":
        bucket.blob(args[0]).delete()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
