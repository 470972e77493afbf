# SPDX-License-Identifier: MIT
"""What a provider's own client sees of a bucket, as JSON.

    pairs_native.py s3 | azure | gcs URL BUCKET

{"objects": {KEY: {"size", "sha256", "meta": {NAME: VALUE}}}, "pending": [KEY of an upload]}
The bytes are what the client reads; it compares checksums by itself.
"""
import hashlib
import json
import sys

AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def one(data, meta):
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
            "meta": {k.lower(): v for k, v in (meta or {}).items()}}


def s3(url, bucket):
    import boto3
    from botocore.config import Config
    c = boto3.client("s3", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="astra",
                     aws_secret_access_key="astrasecret",
                     config=Config(s3={"addressing_style": "path"}))
    objects = {}
    for page in c.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for o in page.get("Contents", []):
            a = c.get_object(Bucket=bucket, Key=o["Key"], ChecksumMode="ENABLED")
            objects[o["Key"]] = one(a["Body"].read(), a["Metadata"])
    # S3 does not tell whose an upload is. One of which nobody heard, for its answer came to nobody,
    # has no parts, and goes when it is a week old.
    return objects, [
        u["Key"] for u in c.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        if c.list_parts(Bucket=bucket, Key=u["Key"], UploadId=u["UploadId"]).get("Parts")]


def azure(url, bucket):
    from azure.storage.blob import BlobServiceClient
    c = BlobServiceClient(url, credential=AZURE_KEY).get_container_client(bucket)
    objects, pending = {}, []
    for b in c.list_blobs(include=["uncommittedblobs"]):
        client = c.get_blob_client(b.name)
        if client.get_block_list("uncommitted")[1]:
            pending.append(b.name)
        if b.etag is None or not client.exists():
            continue
        d = client.download_blob()
        objects[b.name] = one(d.readall(), d.properties.metadata)
    return objects, pending


def gcs(url, bucket):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    c = storage.Client(project="witness", credentials=AnonymousCredentials(),
                       client_options={"api_endpoint": url})
    return {b.name: one(b.download_as_bytes(checksum="crc32c"), b.metadata)
            for b in c.list_blobs(bucket)}, []


found, begun = {"s3": s3, "azure": azure, "gcs": gcs}[sys.argv[1]](*sys.argv[2:])
json.dump({"objects": found, "pending": begun}, sys.stdout)
