# SPDX-License-Identifier: MIT
"""boto3 as a witness of what astrafs writes, and as somebody else who writes.

    witness_s3.py URL put BUCKET KEY FILE [CLASS [NAME=VALUE...]]
    witness_s3.py URL same BUCKET KEY FILE [crc] [CLASS]     content, CRC-32C, class; prints metadata
    witness_s3.py URL keys BUCKET                            all keys, a line each
    witness_s3.py URL uploads BUCKET                         number of uploads that were begun
    witness_s3.py URL many BUCKET PREFIX N                   puts N small objects
    witness_s3.py URL remove BUCKET KEY
    witness_s3.py URL tag BUCKET KEY NAME=VALUE
    witness_s3.py URL tags BUCKET KEY
"""
import base64
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from awscrt import checksums
from botocore.config import Config


def crc32c(data):
    return base64.b64encode(checksums.crc32c(data).to_bytes(4, "big")).decode()


def put(c, bucket, key, path, storage="STANDARD", *meta):
    with open(path, "rb") as f:
        c.put_object(Bucket=bucket, Key=key, Body=f.read(), StorageClass=storage,
                     Metadata=dict(m.split("=", 1) for m in meta))


def same(c, bucket, key, path, *more):
    with open(path, "rb") as f:
        want = f.read()
    a = c.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    got = a["Body"].read()  # boto3 itself compares the checksum
    if got != want:
        sys.exit(f"{key}: {hashlib.sha256(got).hexdigest()}, should be "
                 f"{hashlib.sha256(want).hexdigest()}")
    if "crc" in more and a.get("ChecksumCRC32C") != crc32c(want):
        sys.exit(f"{key}: states CRC-32C {a.get('ChecksumCRC32C')}, is {crc32c(want)}")
    storage = [m for m in more if m != "crc"]
    if storage and a.get("StorageClass", "STANDARD") != storage[0]:
        sys.exit(f"{key}: class {a.get('StorageClass')}, should be {storage[0]}")
    print(json.dumps(a["Metadata"], sort_keys=True))


def keys(c, bucket):
    for page in c.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for o in page.get("Contents", []):
            print(o["Key"])


def uploads(c, bucket):
    print(len(c.list_multipart_uploads(Bucket=bucket).get("Uploads", [])))


def many(c, bucket, prefix, n):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: c.put_object(Bucket=bucket, Key=f"{prefix}{i:05}", Body=b"x"),
                      range(int(n))))


def remove(c, bucket, key):
    c.delete_object(Bucket=bucket, Key=key)


def tag(c, bucket, key, pair):
    name, value = pair.split("=", 1)
    c.put_object_tagging(Bucket=bucket, Key=key,
                         Tagging={"TagSet": [{"Key": name, "Value": value}]})


def tags(c, bucket, key):
    for t in c.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]:
        print(f"{t['Key']}={t['Value']}")


VERBS = {f.__name__: f for f in (put, same, keys, uploads, many, remove, tag, tags)}
client = boto3.client(
    "s3", endpoint_url=sys.argv[1], region_name="eu-west-1", aws_access_key_id="astra",
    aws_secret_access_key="astrasecret", config=Config(s3={"addressing_style": "path"}))
VERBS[sys.argv[2]](client, *sys.argv[3:])
