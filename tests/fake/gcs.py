#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small Google Cloud Storage for tests: the JSON API as far as astrafs uses it, with what the
public emulators leave out: conditions on every request, rewrite tokens, changes of class, rules of
compose, sessions that can be asked, keys of customers, Autoclass, credentials. Requests that are
signed with an HMAC key get the XML API, over the same objects.

    gcs.py [--port N] [--tls CERT KEY] [--auth DIR] [--rewrite-bytes N] [--token-seconds N]
           [--keep FILE] [--hmac ID:SECRET] [--mirror DIR]

Listens on 127.0.0.1 and prints its port. With --auth requests need a token, and DIR gets files of
credentials: service.json, user.json, external.json. With --keep it goes on from FILE, an SQLite
database: what it has answered survives kill -9. With --mirror its objects are also files below DIR,
for tests that look there. Ends with its standard input.

    POST /fake/faults   a list of {"on": REGEX of "METHOD /path?query", "skip": N, "times": N,
                        "do": ACTION, ...}, see fault(); [] removes all
    GET  /fake/log      the requests so far, a line each;  POST empties it
    POST /fake/hmac     {"key": "ID:SECRET", "skew": SECONDS}: what XML requests must fit to
    POST /fake/object   {"bucket", "name", ...}: changes the resource of an object behind its back
"""
import argparse
import array
import base64
import gzip
import hashlib
import hmac
import http.server
import json
import os
import pickle
import re
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree
from email.utils import formatdate
from xml.sax.saxutils import escape

CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")
QUANTUM = 256 * 1024


# ---- CRC-32C ----

def _tables():
    one = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
        one.append(c)
    two = array.array("L", [0]) * 65536
    for i in range(65536):
        c = one[i & 255] ^ (i >> 8)
        two[i] = one[c & 255] ^ (c >> 8)
    return one, two


ONE, TWO = _tables()


def _fast():
    """crcmod's, which is 40 times as fast; Debian's also for a python3 that is not Debian's."""
    sys.path.append("/usr/lib/python3/dist-packages")
    try:
        import crcmod.predefined
        f = crcmod.predefined.mkCrcFun("crc-32c")
        return f if f(b"123456789") == 0xE3069283 else None
    except ImportError:
        return None
    finally:
        sys.path.pop()


FAST = _fast()


def crc32c(data):
    if FAST:
        return FAST(bytes(data))
    c = 0xFFFFFFFF
    even = len(data) & ~1
    words = array.array("H")
    words.frombytes(data[:even])
    if sys.byteorder == "big":
        words.byteswap()
    table = TWO
    for w in words:
        c = table[(c ^ w) & 0xFFFF] ^ (c >> 16)
    for b in data[even:]:
        c = ONE[(c ^ b) & 255] ^ (c >> 8)
    return c ^ 0xFFFFFFFF


def _times(matrix, vector):
    r = i = 0
    while vector:
        if vector & 1:
            r ^= matrix[i]
        vector >>= 1
        i += 1
    return r


def crc_combine(a, b, length):
    """CRC of A followed by B: a goes through `length` zero bytes."""
    odd = [0x82F63B78] + [1 << i for i in range(31)]
    for _ in range(3):  # one bit -> one byte
        odd = [_times(odd, x) for x in odd]
    while length:
        if length & 1:
            a = _times(odd, a)
        length >>= 1
        odd = [_times(odd, x) for x in odd]
    return a ^ b


def b64(raw):
    return base64.b64encode(raw).decode()


def unb64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# ---- the API ----

class Error(Exception):
    def __init__(self, status, reason, message, headers=None):
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.headers = headers or {}


class Answer:
    def __init__(self, body=b"", status=200, headers=None, kind="application/json"):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers = status, dict(headers or {})
        self.length = None  # what a HEAD says of the body that it does not have
        if self.body:
            self.headers.setdefault("Content-Type", kind)


class Object:
    def __init__(self, name, data, crc, resource, key_hash, composite):
        now = time.time()
        self.name, self.data, self.crc = name, data, crc
        self.generation, self.metageneration, self.base = None, 1, None
        self.resource, self.key_hash, self.composite = resource, key_hash, composite
        self.created = self.updated = now

    def shown(self, bucket, keyed):
        when = [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + ".%03dZ" % (t % 1 * 1000)
                for t in (self.created, self.updated)]
        r = dict(self.resource, kind="storage#object", name=self.name, bucket=bucket,
                 size=str(len(self.data)), generation=str(self.generation),
                 metageneration=str(self.metageneration), timeCreated=when[0], updated=when[1],
                 etag="x%d/%d" % (self.generation, self.metageneration),
                 mediaLink="%s/download/storage/v1/b/%s/o/%s?generation=%d&alt=media" % (
                     self.base, bucket, urllib.parse.quote(self.name, ""), self.generation))
        if not self.key_hash or keyed:
            r["crc32c"] = b64(self.crc.to_bytes(4, "big"))
            if self.composite:
                r["componentCount"] = self.composite
            else:
                r["md5Hash"] = b64(hashlib.md5(self.data).digest())
        return r


class Store:
    def __init__(self, options):
        self.options = options
        self.lock = threading.RLock()
        self.buckets, self.sessions, self.rewrites = {}, {}, {}
        self.last = int(time.time() * 1e6)
        self.tokens, self.faults, self.log, self.skew = {}, [], [], 0

        self.kept, self.db = {}, None
        if options.keep:
            self.load(options.keep)

    # -- what is kept: a row for each bucket, object, session and rewrite

    def rows(self):
        """(kind, bucket, name) -> (what tells that it changed, value)."""
        for name, b in self.buckets.items():
            yield ("bucket", name, ""), (repr(b["resource"]), b["resource"])
            for key, o in b["objects"].items():
                yield ("object", name, key), ((o.generation, o.metageneration), o)
        for ident, s in self.sessions.items():
            yield ("session", "", ident), ((len(s["data"]), bool(s["done"])),
                                           {k: v for k, v in s.items() if k != "b"})
        for token, state in self.rewrites.items():
            yield ("rewrite", "", token), (None, state)

    def load(self, path):
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = off")
        self.db.execute("create table if not exists kept (kind text, bucket text, name text, "
                        "value blob, primary key (kind, bucket, name))")
        for kind, bucket, name, value in self.db.execute("select * from kept order by kind"):
            value = pickle.loads(value)
            if kind == "bucket":
                self.buckets[bucket] = {"resource": value, "objects": {}}
            elif kind == "object":
                self.buckets[bucket]["objects"][name] = value
                self.last = max(self.last, value.generation)
            elif kind == "session":
                self.sessions[name] = dict(value, b=self.buckets.get(value["bucket"]))
            else:
                self.rewrites[name] = value
        self.kept = {row: mark for row, (mark, _) in self.rows()}

    def save(self):
        """All that a request changed, in one transaction, before it is answered."""
        if not self.db:
            return
        now = dict(self.rows())
        with self.db:
            for row in self.kept.keys() - now.keys():
                self.db.execute("delete from kept where kind = ? and bucket = ? and name = ?", row)
            for row, (mark, value) in now.items():
                if row not in self.kept or self.kept[row] != mark:
                    self.db.execute("insert or replace into kept values (?, ?, ?, ?)",
                                    (*row, pickle.dumps(value)))
        self.kept = {row: mark for row, (mark, _) in now.items()}

    def mirror(self, b, key, data):
        """The object as a file, or no file; a marker is a directory."""
        if not self.options.mirror:
            return
        path = os.path.join(self.options.mirror, b["resource"]["name"], key)
        try:
            if data is None and not key.endswith("/"):
                os.unlink(path)
            if data is None:
                os.removedirs(os.path.dirname(path))
            else:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if not key.endswith("/"):
                    with open(path, "wb") as f:
                        f.write(data)
        except OSError:
            pass  # a file and a directory of one name, or not empty

    def number(self):
        self.last = max(self.last + 1, int(time.time() * 1e6))
        return self.last


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.headers, self.body = method, headers, body
        self.path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.parts = [urllib.parse.unquote(p, errors="strict") for p in self.path.split("/")[1:]]

    def json(self):
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise Error(400, "parseError", "Parse Error")


def conditions(q, obj, prefix="if", suffix="Match"):
    """ifGenerationMatch and its like, on an object or None."""
    for name, value in (("Generation", obj.generation if obj else 0),
                        ("Metageneration", obj.metageneration if obj else 0)):
        want = q.query.get(prefix + name + suffix)
        if want is not None and int(want) != value:
            raise Error(412, "conditionNotMet",
                        "At least one of the pre-conditions you specified did not hold.")


def name_check(name):
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raw = b""
    if not 1 <= len(raw) <= 1024 or re.search("[\r\n]", name) or name in (".", ".."):
        raise Error(400, "invalid", "The specified object name is not valid.")


def key_of(q, prefix="x-goog-encryption"):
    """Hash of the customer's key that a request carries, or None."""
    key = q.headers.get(prefix + "-key")
    if not key:
        return None
    digest = b64(hashlib.sha256(base64.b64decode(key)).digest())
    if q.headers.get(prefix + "-algorithm") != "AES256" or \
            digest != q.headers.get(prefix + "-key-sha256"):
        raise Error(400, "customerEncryptionKeyIsIncorrect", "The key and its hash differ.")
    return digest


# ---- the XML API ----

ALGORITHM = "GOOG4-HMAC-SHA256"
ATTRIBUTES = (("contentType", "Content-Type"), ("contentEncoding", "Content-Encoding"),
              ("contentDisposition", "Content-Disposition"),
              ("contentLanguage", "Content-Language"), ("cacheControl", "Cache-Control"),
              ("customTime", "x-goog-custom-time"))


def quoted(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "~")


class Xml:
    """What a request means, said to the JSON API below: conditions, classes and all else are its."""

    def __init__(self, api):
        self.api, self.s = api, api.s

    def handle(self, q):
        try:
            self.check(q)
            with self.s.lock:
                try:
                    return self.route(q)
                finally:
                    if q.method not in ("GET", "HEAD"):
                        self.s.save()
        except Error as e:
            code = e.reason if e.reason[0].isupper() else {
                404: "NoSuchKey", 409: "BucketNotEmpty", 412: "PreconditionFailed"}.get(
                    e.status, "BadDigest" if "CRC32C" in e.message else "InvalidArgument")
            if e.status == 404 and "bucket" in e.message:
                code = "NoSuchBucket"
            a = Answer(("<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s"
                        "</Message></Error>" % (code, escape(e.message))).encode(), e.status,
                       {"X-GUploader-UploadID": "fake-request-8"}, "application/xml")
            return self.headed(q, a)

    @staticmethod
    def headed(q, a):
        if q.method == "HEAD":
            a.length, a.body = len(a.body), b""
        return a

    def check(self, q):
        """The signature, as Google's page on it says."""
        m = re.fullmatch(ALGORITHM + r" Credential=([^/]+)/(\d{8})/([^/]+)/storage/goog4_request, "
                         r"SignedHeaders=([a-z0-9;_.-]+), Signature=([0-9a-f]{64})",
                         q.headers["Authorization"])
        if not m:
            raise Error(400, "InvalidArgument", "Authorization")
        if any(k.lower().startswith("x-amz-") for k in q.headers):
            raise Error(400, "ExcessHeaderValues", "x-amz- and x-goog- in one request")
        ident, secret = self.s.options.hmac.split(":")
        if m[1] != ident:
            raise Error(403, "InvalidSecurity", "The access ID is not known.")
        when, names = q.headers.get("x-goog-date", ""), m[4].split(";")
        if abs(time.mktime(time.strptime(when, "%Y%m%dT%H%M%SZ")) - time.timezone -
               time.time() - self.s.skew) > 900:
            raise Error(403, "RequestTimeTooSkewed", "The clocks differ too much.")
        must = {"host"} | {k.lower() for k in q.headers if k.lower().startswith("x-goog-")}
        if not must <= set(names) or names != sorted(names):
            raise Error(400, "InvalidArgument", "SignedHeaders lacks %s" % (must - set(names)))
        payload = q.headers.get("x-goog-content-sha256", "")
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(q.body).hexdigest():
            raise Error(400, "XAmzContentSHA256Mismatch", "another body")
        lines = [k + ":" + " ".join(",".join(q.headers.get_all(k)).split()) +
                 # changed on its way: whoever signs it is refused
                 (",gzip(gfe)" if k == "accept-encoding" else "") for k in names]
        query = "&".join(sorted("%s=%s" % (quoted(k), quoted(v)) for k, v in q.query.items()))
        canonical = "\n".join([q.method, q.path, query] + lines + ["", m[4], payload])
        key = ("GOOG4" + secret).encode()
        for part in (m[2], m[3], "storage", "goog4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        text = "\n".join([ALGORITHM, when, "/".join([m[2], m[3], "storage/goog4_request"]),
                          hashlib.sha256(canonical.encode()).hexdigest()])
        if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != m[5]:
            raise Error(403, "SignatureDoesNotMatch", "The signature is another one.")

    def said(self, q, body=None, **query):
        """The same to the JSON API."""
        r = Request(q.method, "/", q.headers, json.dumps(body or {}).encode())
        for header, name in (("x-goog-if-generation-match", "ifGenerationMatch"),
                             ("x-goog-copy-source-if-generation-match", "ifSourceGenerationMatch"),
                             ("x-goog-copy-source-if-metageneration-match",
                              "ifSourceMetagenerationMatch"),
                             ("x-goog-encryption-kms-key-name", "destinationKmsKeyName"),
                             ("x-goog-encryption-kms-key-name", "kmsKeyName")):
            if q.headers.get(header) is not None:
                r.query[name] = q.headers[header]
        r.query.update((k, v) for k, v in query.items() if v is not None)
        return r

    @staticmethod
    def resource(q):
        r = {name: q.headers[field] for name, field in ATTRIBUTES if q.headers.get(field)}
        r["metadata"] = {k[12:].lower(): v for k, v in q.headers.items()
                         if k.lower().startswith("x-goog-meta-")}
        if q.headers.get("x-goog-storage-class"):
            r["storageClass"] = q.headers["x-goog-storage-class"]
        if q.headers.get("x-goog-encryption-kms-key-name"):
            r["kmsKeyName"] = q.headers["x-goog-encryption-kms-key-name"]
        return r

    def route(self, q):
        p = [urllib.parse.unquote(x) for x in q.path[1:].split("/")]
        if p == [""]:
            return Answer(("<ListAllMyBucketsResult><Buckets>" + "".join(
                "<Bucket><Name>%s</Name></Bucket>" % n for n in sorted(self.s.buckets)) +
                "</Buckets></ListAllMyBucketsResult>").encode(), kind="application/xml")
        if len(p) == 1 and q.method == "PUT":
            where = re.search(b"<LocationConstraint>([^<]*)<", q.body)
            r = self.said(q, {"name": p[0], "location": where and where[1].decode()},
                          project=q.headers.get("x-goog-project-id", "the-key-s-own"))
            r.method = "POST"
            self.api.all_buckets(r)
            return Answer()
        b = self.api.bucket(self.said(q, userProject=q.headers.get("x-goog-user-project")), p[0])
        if len(p) == 1:
            return self.list(q, p[0], b) if q.method == "GET" else \
                self.api.one_bucket(q, p[0], b)
        return self.object(q, p[0], b, "/".join(p[1:]))

    def list(self, q, bucket, b):
        after = q.query.get("start-after")
        page = json.loads(self.api.list(self.said(
            q, prefix=q.query.get("prefix"), delimiter=q.query.get("delimiter"),
            maxResults=q.query.get("max-keys"), pageToken=q.query.get("continuation-token"),
            startOffset=None if after is None else after + "\0"), bucket, b).body)

        def name(text):
            return urllib.parse.quote_plus(text, safe="/")

        body = "".join("<Contents><Key>%s</Key><Generation>%s</Generation><MetaGeneration>%s"
                       "</MetaGeneration><LastModified>%s</LastModified><ETag>\"%s\"</ETag>"
                       "<Size>%s</Size></Contents>" % (
                           name(i["name"]), i["generation"], i["metageneration"], i["updated"],
                           i["etag"], i["size"]) for i in page.get("items", ()))
        body += "".join("<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % name(x)
                        for x in page.get("prefixes", ()))
        if page.get("nextPageToken"):
            body += "<NextContinuationToken>%s</NextContinuationToken>" % page["nextPageToken"]
        return Answer(("<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>%s"
                       "</Name><EncodingType>url</EncodingType><IsTruncated>%s</IsTruncated>%s"
                       "</ListBucketResult>" % (bucket, str("nextPageToken" in page).lower(), body)
                       ).encode(), kind="application/xml")

    def object(self, q, bucket, b, name):
        if q.method == "DELETE":
            r = self.said(q, generation=q.query.get("generation"))
            return self.api.one_object(r, bucket, b, name)
        if q.method in ("GET", "HEAD"):
            o = self.api.find(b, name)
            conditions(self.said(q), o)
            a = self.api.media(q, o, key_of(q))
            a.headers.update({"x-goog-meta-" + k: v for k, v in
                              o.resource.get("metadata", {}).items()})
            a.headers["Last-Modified"] = formatdate(o.updated, usegmt=True)
            a.headers["Cache-Control"] = "private, max-age=0"
            for attribute, field in ATTRIBUTES:
                if attribute != "contentEncoding" and o.resource.get(attribute):
                    a.headers[field] = o.resource[attribute]
            return self.headed(q, a)
        if q.method != "PUT":
            raise Error(405, "MethodNotAllowed", "Method not allowed")
        if "compose" in q.query:
            made = self.compose(q, bucket, b, name)
        elif q.headers.get("x-goog-copy-source"):
            return self.copy(q, b, name)
        else:
            name_check(name)
            conditions(self.said(q), b["objects"].get(name))
            r = self.resource(q)
            m = re.search("crc32c=([^,]*)", q.headers.get("x-goog-hash", ""))
            if m:
                r["crc32c"] = m[1]
            made = self.api.put(q, b, name, q.body, r, key_of(q))
        return Answer(b"", 200, {
            "x-goog-generation": str(made.generation), "x-goog-metageneration": "1",
            "x-goog-stored-content-length": str(len(made.data)),
            "x-goog-hash": "crc32c=" + b64(made.crc.to_bytes(4, "big"))})

    def compose(self, q, bucket, b, name):
        sources = [{"name": c.findtext("Name"), "generation": c.findtext("Generation"),
                    "objectPreconditions": {"ifGenerationMatch": c.findtext("IfGenerationMatch")}}
                   for c in xml.etree.ElementTree.fromstring(q.body).iter("Component")]
        self.api.compose(self.said(q, {"sourceObjects": sources, "destination": self.resource(q)}),
                         bucket, b, name)
        return b["objects"][name]

    def copy(self, q, b, name):
        if q.headers.get("x-goog-metadata-directive") != "REPLACE" or q.body:
            raise Error(400, "InvalidArgument", "REPLACE, and nothing else")
        sb, source = urllib.parse.unquote(q.headers["x-goog-copy-source"][1:]).split("/", 1)
        r = self.said(q, self.resource(q))
        bucket = next(k for k, v in self.s.buckets.items() if v is b)
        while True:
            a = json.loads(self.api.rewrite(r, sb, self.api.bucket(r, sb), source, bucket,
                                            name).body)
            if a["done"]:
                break
            r.query["rewriteToken"] = a["rewriteToken"]
        return Answer(("<CopyObjectResult><ETag>\"x\"</ETag><LastModified>%s</LastModified>"
                       "</CopyObjectResult>" % a["resource"]["updated"]).encode(), 200,
                      {"x-goog-generation": a["resource"]["generation"]}, "application/xml")


class Api:
    def __init__(self, store):
        self.s = store

    # -- frame

    def handle(self, q):
        try:
            if q.parts[0] == "fake":
                return self.fake(q)
            if q.headers.get("Authorization", "").startswith(ALGORITHM):
                return Xml(self).handle(q)
            if q.parts[0] in ("token", "sts", "impersonate", "computeMetadata", "subject"):
                return self.identity(q)
            self.check_token(q)
            with self.s.lock:
                try:
                    return self.route(q)
                finally:
                    if q.method != "GET":
                        self.s.save()
        except Error as e:
            return Answer({"error": {"code": e.status, "message": e.message, "errors": [
                {"domain": "global", "reason": e.reason, "message": e.message}]}},
                e.status, dict(e.headers, **{"X-GUploader-UploadID": "fake-request-7"}))
        except UnicodeDecodeError:
            return Answer({"error": {"code": 400, "message": "not UTF-8"}}, 400)

    def route(self, q):
        p = q.parts
        upload = p[0] == "upload"
        p = p[1:] if p[0] in ("upload", "download") else p
        if p[:2] != ["storage", "v1"] or p[2:3] != ["b"]:
            raise Error(404, "notFound", "Not Found")
        p = p[3:]
        if not p:
            return self.all_buckets(q)
        bucket = self.bucket(q, p[0])
        if len(p) == 1:
            return self.one_bucket(q, p[0], bucket)
        if p[1] != "o":
            raise Error(404, "notFound", "Not Found")
        if len(p) == 2:
            return self.upload(q, p[0], bucket) if upload else self.list(q, p[0], bucket)
        if len(p) == 3:
            return self.one_object(q, p[0], bucket, p[2])
        if len(p) == 4 and p[3] == "compose":
            return self.compose(q, p[0], bucket, p[2])
        if len(p) == 8 and p[3:5] == ["copyTo", "b"] and p[6] == "o":
            return self.copy(q, p[0], bucket, p[2], p[5], p[7])
        if len(p) == 8 and p[3:5] == ["rewriteTo", "b"] and p[6] == "o":
            return self.rewrite(q, p[0], bucket, p[2], p[5], p[7])
        raise Error(404, "notFound", "Not Found")

    # -- identities

    def check_token(self, q):
        if not self.s.options.auth or q.query.get("upload_id"):
            return
        kind, _, token = q.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or self.s.tokens.get(token, 0) < time.time():
            raise Error(401, "authError", "Invalid Credentials")

    def new_token(self):
        token = "ya29." + os.urandom(24).hex()
        self.s.tokens[token] = time.time() + self.s.options.token_seconds
        return token

    def identity(self, q):
        def refuse(text):
            return Answer({"error": "invalid_grant", "error_description": text}, 400)

        form = dict(urllib.parse.parse_qsl(q.body.decode("latin1")))
        answer = {"access_token": None, "expires_in": self.s.options.token_seconds,
                  "token_type": "Bearer"}
        if q.parts[0] == "computeMetadata":
            if q.headers.get("Metadata-Flavor") != "Google":
                return Answer({"error": "no flavor"}, 403)
        elif q.parts[0] == "subject":
            if q.headers.get("X-Subject") != "please":
                return Answer(b"no", 403)
            return Answer({"id_token": "the-subject"})
        elif q.parts[0] == "sts":
            if form.get("subject_token") != "the-subject" or form.get("audience") != "//aud":
                return refuse("who?")
        elif q.parts[0] == "impersonate":
            self.check_token(q)
            until = time.gmtime(time.time() + self.s.options.token_seconds)
            return Answer({"accessToken": self.new_token(),
                           "expireTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", until)})
        elif form.get("grant_type") == "refresh_token":
            if (form.get("client_secret"), form.get("refresh_token")) != ("cs&+=", "1//rt"):
                return refuse("Bad Request")
        else:
            why = self.assertion_check(form.get("assertion", ""))
            if why:
                return refuse(why)
        answer["access_token"] = self.new_token()
        return Answer(answer)

    def assertion_check(self, jwt):
        head, claims, signature = jwt.split(".")
        n, e = self.s.options.public
        size = (n.bit_length() + 7) // 8
        digest = hashlib.sha256((head + "." + claims).encode()).digest()
        padded = pow(int.from_bytes(unb64url(signature), "big"), e, n).to_bytes(size, "big")
        asn1 = bytes.fromhex("3031300d060960864801650304020105000420") + digest
        if padded != b"\x00\x01" + b"\xff" * (size - len(asn1) - 3) + b"\x00" + asn1:
            return "Invalid JWT Signature."
        head, claims, now = json.loads(unb64url(head)), json.loads(unb64url(claims)), time.time()
        if head != {"alg": "RS256", "typ": "JWT", "kid": "key-1"}:
            return "Invalid JWT header."
        if claims["iss"] != "tester@project-1.iam.gserviceaccount.com" or \
                not claims["aud"].endswith("/token") or "devstorage" not in claims["scope"]:
            return "Invalid JWT claims."
        if abs(claims["iat"] - now) > 60 or claims["exp"] - claims["iat"] > 3600:
            return "Invalid JWT: Token must be a short-lived token (60 minutes)"
        return None

    # -- buckets

    def bucket(self, q, name):
        b = self.s.buckets.get(name)
        if b is None:
            raise Error(404, "notFound", "The specified bucket does not exist.")
        if b["resource"].get("billing", {}).get("requesterPays") and \
                not q.query.get("userProject"):
            raise Error(400, "required",
                        "Bucket is a requester pays bucket but no user project provided.")
        return b

    def all_buckets(self, q):
        if not q.query.get("project"):
            raise Error(400, "required", "Required parameter: project")
        if q.method == "POST":
            r = q.json()
            name = r.get("name", "")
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name):
                raise Error(400, "invalid", "Invalid bucket name: '%s'" % name)
            if name in self.s.buckets:
                raise Error(409, "conflict", "You already own this bucket.")
            r.setdefault("storageClass", "STANDARD")
            r.setdefault("softDeletePolicy", {"retentionDurationSeconds": "604800"})
            self.s.buckets[name] = {"resource": r, "objects": {}}
            return Answer(r)
        names, at = sorted(self.s.buckets), q.query.get("pageToken", "")
        names = [n for n in names if n > at]
        page = {"items": [{"name": n} for n in names[:3]]}
        if len(names) > 3:
            page["nextPageToken"] = names[2]
        return Answer(page)

    def one_bucket(self, q, name, b):
        if q.method == "DELETE":
            if b["objects"]:
                raise Error(409, "conflict", "The bucket you tried to delete is not empty.")
            del self.s.buckets[name]
            return Answer(status=204)
        if q.method == "PATCH":
            change = q.json()
            rules = change.get("lifecycle", {"rule": []}).get("rule")
            if not isinstance(rules, list):
                raise Error(400, "invalid", "Invalid lifecycle")
            b["resource"].update(change)
        return Answer(b["resource"])

    # -- objects

    def find(self, b, name, generation=None):
        o = b["objects"].get(name)
        if not o or (generation is not None and int(generation) != o.generation):
            raise Error(404, "notFound", "No such object: %s" % name)
        return o

    def put(self, q, b, name, data, resource, key_hash, crc=None, composite=0):
        crc = crc32c(data) if crc is None else crc
        want = resource.pop("crc32c", None)
        if want is not None and want != b64(crc.to_bytes(4, "big")):
            raise Error(400, "invalid", 'Provided CRC32C "%s" doesn\'t match calculated CRC32C '
                        '"%s".' % (want, b64(crc.to_bytes(4, "big"))))
        resource = {k: v for k, v in resource.items() if v is not None and k in (
            "storageClass", "metadata", "contentType", "contentEncoding", "contentDisposition",
            "contentLanguage", "cacheControl", "customTime", "kmsKeyName")}
        resource.setdefault("storageClass", b["resource"]["storageClass"])
        if b["resource"].get("autoclass", {}).get("enabled"):
            resource["storageClass"] = "STANDARD"
        if resource["storageClass"] not in CLASSES:
            raise Error(400, "invalid", "Invalid argument: storageClass")
        if sum(len(k) + len(v) for k, v in resource.get("metadata", {}).items()) > 8192:
            raise Error(400, "invalid", "Metadata too large")
        o = Object(name, data, crc, resource, key_hash, composite)
        o.generation, o.base = self.s.number(), self.s.base
        b["objects"][name] = o
        self.s.mirror(b, name, data)
        return o

    def one_object(self, q, bucket, b, name):
        if q.method == "GET":
            o = self.find(b, name, q.query.get("generation"))
            conditions(q, o)
            key = key_of(q)
            if q.query.get("alt") == "media":
                return self.media(q, o, key)
            return Answer(o.shown(bucket, key == o.key_hash))
        o = self.find(b, name, q.query.get("generation"))
        conditions(q, o)
        if q.method == "DELETE":
            del b["objects"][name]
            self.s.mirror(b, name, None)
            return Answer(status=204)
        if q.method != "PATCH":
            raise Error(405, "methodNotAllowed", "Method not allowed")
        change = q.json()
        if "storageClass" in change:
            raise Error(400, "invalid", "The class of an object changes by a rewrite.")
        meta = dict(o.resource.get("metadata", {}))
        for k, v in change.pop("metadata", {}).items():
            if v is None:
                meta.pop(k, None)
            else:
                meta[k] = v
        o.resource.update(change, metadata=meta)
        o.metageneration += 1
        o.updated = time.time()
        return Answer(o.shown(bucket, key_of(q) == o.key_hash))

    def media(self, q, o, key):
        if o.key_hash != key:
            raise Error(400, "customerEncryptionKeyIsIncorrect" if key else
                        "resourceIsEncryptedWithCustomerEncryptionKey",
                        "The object is encrypted with another key.")
        coding = o.resource.get("contentEncoding")
        headers = {"x-goog-generation": str(o.generation),
                   "x-goog-metageneration": str(o.metageneration),
                   "x-goog-hash": "crc32c=" + b64(o.crc.to_bytes(4, "big")) +
                   ("" if o.composite else ",md5=" + b64(hashlib.md5(o.data).digest())),
                   "x-goog-stored-content-length": str(len(o.data)),
                   "x-goog-stored-content-encoding": coding or "identity",
                   "x-goog-storage-class": o.resource["storageClass"]}
        kind = o.resource.get("contentType", "application/octet-stream")
        if coding == "gzip" and "gzip" not in q.headers.get("Accept-Encoding", ""):
            return Answer(gzip.decompress(o.data), 200, headers, kind)
        if coding:
            headers["Content-Encoding"] = coding
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", q.headers.get("Range", ""))
        if not m:
            return Answer(o.data, 200, headers, kind)
        first, last = int(m[1]), min(int(m[2]), len(o.data) - 1)
        if first > last:
            headers["Content-Range"] = "bytes */%d" % len(o.data)
            return Answer(b"", 416, headers)
        headers["Content-Range"] = "bytes %d-%d/%d" % (first, last, len(o.data))
        return Answer(o.data[first:last + 1], 206, headers, kind)

    # -- lists

    def list(self, q, bucket, b):
        if q.method != "GET":
            raise Error(405, "methodNotAllowed", "Method not allowed")
        prefix, delimiter = q.query.get("prefix", ""), q.query.get("delimiter", "")
        most = min(int(q.query.get("maxResults", 1000)), 1000)
        start = q.query.get("startOffset", "").encode()
        try:
            after = base64.b64decode(q.query.get("pageToken", ""), validate=True)
        except ValueError:
            raise Error(400, "invalid", "Invalid argument: pageToken")
        lines, more = {}, False
        for raw in sorted(n.encode() for n in b["objects"]):
            name = raw.decode()
            if not name.startswith(prefix) or raw < start:
                continue
            line, item = name, True
            at = name.find(delimiter, len(prefix)) if delimiter else -1
            if at >= 0:
                line, item = name[:at + len(delimiter)], False
            if line in lines or line.encode() <= after:
                continue
            if len(lines) == most:
                more = True
                break
            lines[line] = item
        page = {"kind": "storage#objects"}
        items = [b["objects"][n].shown(bucket, False) for n, item in lines.items() if item]
        prefixes = [n for n, item in lines.items() if not item]
        if items:
            page["items"] = items
        if prefixes:
            page["prefixes"] = prefixes
        if more:
            page["nextPageToken"] = b64(list(lines)[-1].encode())
        return Answer(page)

    # -- uploads

    def upload(self, q, bucket, b):
        kind = q.query.get("uploadType")
        if q.query.get("upload_id"):
            return self.session(q, q.query["upload_id"])
        if q.method != "POST":
            raise Error(405, "methodNotAllowed", "Method not allowed")
        if kind == "multipart":
            resource, data, content_type = self.related(q)
        elif kind == "media":
            resource, data, content_type = {}, q.body, q.headers.get("Content-Type")
        elif kind == "resumable":
            resource = q.json()
            resource.setdefault("contentType", q.headers.get("X-Upload-Content-Type"))
            data = content_type = None
        else:
            raise Error(400, "invalid", "invalid uploadType")
        name = q.query.get("name") or resource.get("name", "")
        name_check(name)
        conditions(q, b["objects"].get(name))
        if q.query.get("kmsKeyName"):
            resource["kmsKeyName"] = q.query["kmsKeyName"]
        if kind == "resumable":
            ident = os.urandom(16).hex()
            size = q.headers.get("X-Upload-Content-Length")
            self.s.sessions[ident] = {"b": b, "bucket": bucket, "name": name, "q": q, "data": b"",
                                      "resource": resource, "size": size and int(size),
                                      "done": None}
            return Answer(b"", 200, {"Location": "%s/upload/storage/v1/b/%s/o?uploadType="
                                     "resumable&upload_id=%s" % (self.s.base, bucket, ident)})
        resource.setdefault("contentType", content_type)
        o = self.put(q, b, name, data, resource, key_of(q))
        return Answer(o.shown(bucket, True))

    def related(self, q):
        m = re.match(r'multipart/related; *boundary="?([^";]+)', q.headers.get("Content-Type", ""))
        if not m:
            raise Error(400, "badContent", "no boundary")
        parts = q.body.split(b"\r\n--" + m[1].encode())
        first, second = parts[0], parts[1] if len(parts) == 3 else b""
        if len(parts) != 3 or parts[2] not in (b"--", b"--\r\n") or \
                not first.startswith(b"--" + m[1].encode()):
            raise Error(400, "badContent", "bad multipart body")
        resource = first.partition(b"\r\n\r\n")[2]
        head, _, data = second.partition(b"\r\n\r\n")
        kind = re.search(rb"(?i)content-type: *([^\r\n]+)", head)
        try:
            return json.loads(resource), data, kind[1].decode() if kind else None
        except ValueError:
            raise Error(400, "parseError", "Parse Error")

    def session(self, q, ident):
        s = self.s.sessions.get(ident)
        if not s:
            raise Error(410, "gone", "The upload session is not there.")
        if q.method == "DELETE":
            del self.s.sessions[ident]
            return Answer(status=499)
        if s["done"]:
            return Answer(s["done"].shown(s["bucket"], True))
        m = re.fullmatch(r"bytes (\*|(\d+)-(\d+))/(\*|\d+)", q.headers.get("Content-Range", ""))
        if not m:
            raise Error(400, "badRequest", "Content-Range?")
        have, total = len(s["data"]), None if m[4] == "*" else int(m[4])
        if total is not None and s["size"] is not None and total != s["size"]:
            raise Error(400, "badRequest", "another size than was announced")
        if m[1] != "*":
            first, body = int(m[2]), q.body
            if int(m[3]) - first + 1 != int(q.headers.get("Content-Length", -1)):
                raise Error(400, "badRequest", "Content-Range and length differ")
            if first > have:
                raise Error(400, "badRequest", "a gap: %d arrived" % have)
            keep = body[have - first:]
            if total is None or first + len(body) < total:
                keep = keep[:(have + len(keep)) // QUANTUM * QUANTUM - have]
            s["data"] += keep
            have = len(s["data"])
        if total is None or have < total:
            return Answer(b"", 308, {"Range": "bytes=0-%d" % (have - 1)} if have else {})
        del self.s.sessions[ident]
        conditions(s["q"], s["b"]["objects"].get(s["name"]))
        o = self.put(s["q"], s["b"], s["name"], s["data"], s["resource"], key_of(s["q"]))
        self.s.sessions[ident] = dict(s, done=o, data=b"")
        return Answer(o.shown(s["bucket"], True))

    # -- on the server

    def compose(self, q, bucket, b, name):
        r = q.json()
        sources = r.get("sourceObjects") or []
        if not 1 <= len(sources) <= 32:
            raise Error(400, "invalid", "The number of source components must be 1 to 32.")
        name_check(name)
        old = b["objects"].get(name)
        conditions(q, old)
        objects = []
        for source in sources:
            o = self.find(b, source["name"], source.get("generation"))
            want = source.get("objectPreconditions", {}).get("ifGenerationMatch")
            if want is not None and int(want) != o.generation:
                raise Error(412, "conditionNotMet", "source")
            if o.key_hash != key_of(q):
                raise Error(400, "customerEncryptionKeyIsIncorrect", "another key")
            objects.append(o)
        classes = {o.resource["storageClass"] for o in objects}
        if len(classes) != 1:
            raise Error(400, "invalid", "The source objects have several classes.")
        resource = r.get("destination", {})
        resource["storageClass"] = classes.pop()
        resource.setdefault("contentType", objects[0].resource.get("contentType"))
        if q.query.get("kmsKeyName"):
            resource["kmsKeyName"] = q.query["kmsKeyName"]
        crc = 0
        for o in objects:
            crc = crc_combine(crc, o.crc, len(o.data))
        made = self.put(q, b, name, b"".join(o.data for o in objects), resource, key_of(q), crc,
                        sum(max(1, o.composite) for o in objects))
        if r.get("deleteSourceObjects"):
            for o in objects:
                if b["objects"].get(o.name) is o:
                    del b["objects"][o.name]
                    self.s.mirror(b, o.name, None)
        return Answer(made.shown(bucket, True))

    def rewrite(self, q, sb, b, source, db, name):
        to = self.bucket(q, db)
        name_check(name)
        o = self.find(b, source)
        conditions(q, o, "ifSource")
        conditions(q, to["objects"].get(name))
        if o.key_hash and o.key_hash != key_of(q, "x-goog-copy-source-encryption"):
            raise Error(400, "customerEncryptionKeyIsIncorrect", "another key")
        given = q.json()
        resource = dict(given) if given else dict(o.resource, storageClass=None)
        resource["storageClass"] = resource.get("storageClass") or to["resource"]["storageClass"]
        if q.query.get("destinationKmsKeyName"):
            resource["kmsKeyName"] = q.query["destinationKmsKeyName"]
        moves = resource["storageClass"] != o.resource["storageClass"]
        token = q.query.get("rewriteToken")
        ident = (sb, source, o.generation, db, name)
        if token:
            state = self.s.rewrites.pop(token, None)
            if not state or state[0] != ident:
                raise Error(400, "invalid", "Invalid rewrite token")
            done = state[1]
        else:
            done = 0
        done = min(len(o.data), done + self.s.options.rewrite_bytes) if moves else len(o.data)
        answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": str(done),
                  "objectSize": str(len(o.data)), "done": done == len(o.data)}
        if done < len(o.data):
            answer["rewriteToken"] = os.urandom(40).hex()
            self.s.rewrites[answer["rewriteToken"]] = (ident, done)
            return Answer(answer)
        made = self.put(q, to, name, o.data, resource, key_of(q), o.crc,
                        0 if moves else o.composite)
        answer["resource"] = made.shown(db, True)
        return Answer(answer)

    def copy(self, q, sb, b, source, db, name):
        """For other programs: astrafs rewrites."""
        while True:
            a = json.loads(self.rewrite(q, sb, b, source, db, name).body)
            if a["done"]:
                return Answer(a["resource"])
            q.query["rewriteToken"] = a["rewriteToken"]

    # -- for the tests

    def fake(self, q):
        with self.s.lock:
            if q.parts[1] == "faults":
                self.s.faults = q.json()
            elif q.parts[1] == "object":
                r = q.json()
                o = self.find(self.s.buckets[r.pop("bucket")], r.pop("name"))
                o.resource.update(r)
            elif q.parts[1] == "hmac":  # another secret, another clock
                r = q.json()
                self.s.options.hmac = r.get("key", self.s.options.hmac)
                self.s.skew = r.get("skew", 0)
            elif q.parts[1] == "expire":
                self.s.tokens.clear()
            elif q.parts[1] == "log":
                if q.method == "POST":
                    self.s.log.clear()
                return Answer("\n".join(self.s.log + [""]).encode(), kind="text/plain")
        return Answer(status=204)


# ---- the server, and what goes wrong with it ----

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fake-gcs", ""
    disable_nagle_algorithm, wbufsize = True, 1 << 16

    def log_message(self, *args):
        pass

    def send_answer(self, a, length=None):
        self.send_response(a.status)
        for k, v in a.headers.items():
            self.send_header(k, v)
        if a.status != 204:
            length = a.length if length is None else length
            self.send_header("Content-Length", str(len(a.body) if length is None else length))
        self.end_headers()
        self.wfile.write(a.body)
        self.wfile.flush()

    def end(self):
        self.close_connection = True
        try:
            self.connection.shutdown(2)
        except OSError:
            pass

    def rule_for(self, line):
        s = self.server.store
        with s.lock:
            s.log.append(line)
            for rule in s.faults:
                if not re.search(rule["on"], line):
                    continue
                if rule.get("skip", 0) > 0:
                    rule["skip"] -= 1
                    continue
                if rule.get("times", 1) <= 0:
                    continue
                rule["times"] = rule.get("times", 1) - 1
                return rule
        return None

    def fault(self, rule, q):
        """Whether all was said. do: status (status, reason, headers), drop (before it is done),
        lost (after), cut (in the middle of the answer), hang (seconds), partial (bytes of the body
        arrive, then 308, or with drop the end), answer (other headers and body), flip (a byte)."""
        do = rule["do"]
        if do == "status":
            self.send_answer(Api(self.server.store).handle_error(rule))
            return True
        if do == "drop":
            self.end()
            return True
        if do == "hang":
            time.sleep(rule.get("seconds", 60))
            self.end()
            return True
        if do == "partial":
            q.body = q.body[:rule["bytes"]]
            m = re.match(r"bytes (\d+)-\d+/(\d+)", q.headers["Content-Range"])
            first = int(m[1])
            q.headers.replace_header("Content-Range", "bytes %d-%d/%s" % (
                first, first + len(q.body) - 1, m[2]))
            q.headers.replace_header("Content-Length", str(len(q.body)))
        a = self.server.api.handle(q)
        if do == "lost" or rule.get("drop"):
            self.end()
        elif do == "cut":
            length, a.body = len(a.body), a.body[:len(a.body) // 2]
            self.send_answer(a, length)
            self.end()
        else:
            if do == "flip":
                a.body = bytes([a.body[0] ^ 1]) + a.body[1:]
            a.status = rule.get("status", a.status)
            for k, v in rule.get("headers", {}).items():
                a.headers.pop(k, None)
                if v is not None:
                    a.headers[k] = v
            if "body" in rule:
                a.body = rule["body"].encode()
            self.send_answer(a)
        return True

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while True:
            size = int(self.rfile.readline().partition(b";")[0], 16)
            body += self.rfile.read(size)
            while self.rfile.readline().strip():  # behind a piece nothing, at the end trailers
                pass
            if size == 0:
                return body

    def serve(self):
        body = self.body()
        try:
            q = Request(self.command, self.path, self.headers, body)
        except UnicodeDecodeError:
            self.send_answer(Answer({"error": {"code": 400, "message": "not UTF-8"}}, 400))
            return
        rule = None if q.parts[0] == "fake" else self.rule_for(self.command + " " + self.path)
        if rule:
            self.fault(rule, q)
        else:
            self.send_answer(self.server.api.handle(q))

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = serve

    def date_time_string(self, timestamp=None):  # the Date of its answers
        if timestamp is None:
            timestamp = time.time() + self.server.store.skew
        return super().date_time_string(timestamp)


def handle_error(self, rule):
    e = Error(rule["status"], rule.get("reason", "backendError"), rule.get("message", "injected"))
    return Answer({"error": {"code": e.status, "message": e.message, "errors": [
        {"domain": "global", "reason": e.reason, "message": e.message}]}}, e.status,
        rule.get("headers"))


Api.handle_error = handle_error


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


def credentials(directory, base):
    """A key, what Google would give to its owner, and the public half."""
    pem = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout
    modulus = subprocess.run(["openssl", "rsa", "-noout", "-modulus"], input=pem, check=True,
                             capture_output=True).stdout
    files = {
        "service": {"type": "service_account", "project_id": "project-1",
                    "private_key_id": "key-1", "private_key": pem.decode(),
                    "client_email": "tester@project-1.iam.gserviceaccount.com",
                    "token_uri": base + "/token"},
        "user": {"type": "authorized_user", "client_id": "cid", "client_secret": "cs&+=",
                 "refresh_token": "1//rt", "token_uri": base + "/token",
                 "quota_project_id": "project-1"},
        "external": {"type": "external_account", "audience": "//aud",
                     "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                     "token_url": base + "/sts", "quota_project_id": "project-1",
                     "service_account_impersonation_url": base + "/impersonate/generate",
                     "credential_source": {"url": base + "/subject", "headers":
                                           {"X-Subject": "please"}, "format":
                                           {"type": "json",
                                            "subject_token_field_name": "id_token"}}},
    }
    for name, content in files.items():
        with open(os.path.join(directory, name + ".json"), "w", encoding="utf-8") as f:
            json.dump(content, f)
    return int(modulus.decode().strip().partition("=")[2], 16), 65537


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--tls", nargs=2)
    p.add_argument("--auth")
    p.add_argument("--rewrite-bytes", type=int, default=1 << 20)
    p.add_argument("--token-seconds", type=int, default=3600)
    p.add_argument("--keep")
    p.add_argument("--mirror")
    p.add_argument("--hmac", default="GOOG1EFAKE:hmac-secret")
    options = p.parse_args()
    server = Server(("127.0.0.1", options.port), Handler)
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    server.store = Store(options)
    server.store.base = "%s://127.0.0.1:%d" % ("https" if options.tls else "http",
                                               server.server_port)
    if options.auth:
        options.public = credentials(options.auth, server.store.base)
    server.api = Api(server.store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
