#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What Google's own client (google-cloud-storage) sees of a bucket, or puts into it.

    gcs_witness.py ENDPOINT BUCKET make              the bucket
    gcs_witness.py ENDPOINT BUCKET list [PREFIX]     a line each: NAME SIZE CLASS CRC32C
    gcs_witness.py ENDPOINT BUCKET meta NAME         metadata, a line each: KEY=VALUE
    gcs_witness.py ENDPOINT BUCKET check DIR         all objects have the bytes of the files of DIR
    gcs_witness.py ENDPOINT BUCKET put NAME FILE [CLASS]
    gcs_witness.py ENDPOINT BUCKET class NAME CLASS  by a rewrite
    gcs_witness.py ENDPOINT BUCKET remove NAME
"""
import os
import sys

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


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
        seen = set()
        for b in client.list_blobs(name):
            path = os.path.join(args[0], b.name)
            if b.name.endswith("/"):
                continue
            with open(path, "rb") as f:
                if f.read() != b.download_as_bytes(checksum="crc32c"):
                    print("%s: other bytes" % b.name)
                    return 1
            seen.add(path)
        for where, _, names in os.walk(args[0]):
            for n in names:
                if os.path.join(where, n) not in seen:
                    print("%s is missing" % os.path.join(where, n))
                    return 1
        print("%d objects" % len(seen))
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
