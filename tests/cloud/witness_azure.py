# SPDX-License-Identifier: MIT
"""azure-storage-blob as a witness of what astrafs writes, and as somebody else who writes.

    witness_azure.py URL put CONTAINER KEY FILE [TIER [NAME=VALUE...]]
    witness_azure.py URL blocks CONTAINER KEY FILE SIZE    in blocks of SIZE, with ids of 9 bytes
    witness_azure.py URL leave CONTAINER KEY BYTES         an uncommitted block, its id of so many bytes
    witness_azure.py URL same CONTAINER KEY FILE [TIER]    content, MD5, tier; prints metadata
    witness_azure.py URL keys CONTAINER                    all keys, a line each
    witness_azure.py URL many CONTAINER PREFIX N           puts N small blobs
    witness_azure.py URL tag CONTAINER KEY NAME=VALUE
    witness_azure.py URL tags CONTAINER KEY
    witness_azure.py URL snapshot | unsnap CONTAINER KEY
    witness_azure.py URL nblocks CONTAINER KEY
"""
import base64
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from azure.storage.blob import BlobBlock, BlobServiceClient, StandardBlobTier

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def blob(c, container, key):
    if not c.get_container_client(container).exists():
        c.create_container(container)
    return c.get_blob_client(container, key)


def put(c, container, key, path, tier=None, *meta):
    with open(path, "rb") as f:
        blob(c, container, key).upload_blob(
            f.read(), overwrite=True, standard_blob_tier=StandardBlobTier(tier) if tier else None,
            metadata=dict(m.split("=", 1) for m in meta))


def blocks(c, container, key, path, size):
    b, ids = blob(c, container, key), []
    with open(path, "rb") as f:
        while data := f.read(int(size)):
            ids.append(BlobBlock(f"id{len(ids):07}"))
            b.stage_block(ids[-1].id, data)
    b.commit_block_list(ids)


def leave(c, container, key, n):
    blob(c, container, key).stage_block("x" * int(n), b"left behind")


def same(c, container, key, path, tier=None):
    with open(path, "rb") as f:
        want = f.read()
    d = blob(c, container, key).download_blob()
    got, p = d.readall(), d.properties
    if got != want:
        sys.exit(f"{key}: {hashlib.sha256(got).hexdigest()}, should be "
                 f"{hashlib.sha256(want).hexdigest()}")
    md5 = p.content_settings.content_md5
    if md5 and bytes(md5) != hashlib.md5(want).digest():
        sys.exit(f"{key}: states MD5 {base64.b64encode(md5)}")
    p = blob(c, container, key).get_blob_properties()
    if tier and p.blob_tier != tier:
        sys.exit(f"{key}: tier {p.blob_tier}, should be {tier}")
    print(json.dumps(p.metadata, sort_keys=True))


def keys(c, container):
    for b in c.get_container_client(container).list_blobs():
        print(b.name)


def many(c, container, prefix, n):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: blob(c, container, f"{prefix}{i:05}").upload_blob(b"x"),
                      range(int(n))))


def tag(c, container, key, pair):
    name, value = pair.split("=", 1)
    blob(c, container, key).set_blob_tags({name: value})


def tags(c, container, key):
    for name, value in blob(c, container, key).get_blob_tags().items():
        print(f"{name}={value}")


def snapshot(c, container, key):
    blob(c, container, key).create_snapshot()


def unsnap(c, container, key):
    blob(c, container, key).delete_blob(delete_snapshots="only")


def nblocks(c, container, key):
    print(len(blob(c, container, key).get_block_list("committed")[0]))


VERBS = {f.__name__: f for f in (put, blocks, leave, same, keys, many, tag, tags, snapshot, unsnap,
                                nblocks)}
client = BlobServiceClient(sys.argv[1], credential=KEY)
VERBS[sys.argv[2]](client, *sys.argv[3:])
