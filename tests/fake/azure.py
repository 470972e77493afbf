#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small Blob Storage in memory, for what the emulator gets wrong or cannot be made to do.

    azure.py PORT-FILE [--hns] [--rehydrate SECONDS] [--mirror DIR]

Listens on a free port of 127.0.0.1, which it writes to PORT-FILE. The account is "fake". What it
holds is shown as files of the directory given with --mirror, for tests that look there. Signatures
are not checked (the emulator does that); tokens are, as it gives them out itself:

    /oauth/TENANT/oauth2/v2.0/token, /metadata/identity/oauth2/token, /msi    tokens

What it does as the service does and the emulator does not: rehydration takes time and says so; what
is archived takes no blocks and is not overwritten; ids of uncommitted blocks have one length; an
account with directories (--hns), whose blobs are renamed by the Data Lake interface at /dfs/fake.

POST /control {"faults": [...], "token_s": N, "refuse": [TOKEN]} sets faults, each of them

    {"method": "PUT", "comp": "blocklist", "times": 2, "status": 503, "code": "ServerBusy",
     "retry_after": 1}                              an error answer, nothing done
    {..., "lost": true}                             done, and no answer
    {..., "drop_blocks": true}                      as if another had written the blob meanwhile
    {..., "body": TEXT} {..., "fields": {NAME: VALUE or null}}    the true answer, changed

GET /control tells how often what was asked for: {"PUT blocklist": 3, ...}.
"""
import base64
import email.utils
import hashlib
import json
import os
import re
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

ACCOUNT = "fake"
HNS = "--hns" in sys.argv
REHYDRATE = float(sys.argv[sys.argv.index("--rehydrate") + 1]) if "--rehydrate" in sys.argv else 1.0
MIRROR = sys.argv[sys.argv.index("--mirror") + 1] if "--mirror" in sys.argv else None
KEPT = ("content-type", "content-encoding", "content-language", "content-disposition",
        "cache-control", "content-md5")

lock = threading.RLock()
containers = {}  # name -> {key: Blob}
waiting = {}     # (container, key) -> {id: bytes}, in order of arrival
tokens = {}      # token -> end of its life
faults, counts = [], {}
token_s = 3600
serial = 0


class Blob:
    def __init__(self, data, fields, blocks=None, directory=False):
        global serial
        serial += 1
        self.etag = '"0x8D%013X"' % serial
        self.time = time.time()
        self.data, self.blocks, self.directory = data, blocks or [], directory
        self.tier, self.inferred = fields.get("x-ms-access-tier"), False
        if self.tier is None:
            self.tier, self.inferred = "Hot", True
        self.ready, self.to = 0, None
        self.set_meta(fields)
        self.kept = {}
        for k in KEPT:
            v = fields.get("x-ms-blob-" + k) or (fields.get(k) if not blocks else None)
            if v:
                self.kept[k] = v

    def set_meta(self, fields):
        self.meta = {k[10:]: v for k, v in fields.items() if k.startswith("x-ms-meta-")}

    def state(self):
        if self.to and time.time() >= self.ready:
            self.tier, self.to, self.inferred = self.to, None, False
        return "rehydrate-pending-to-" + self.to.lower() if self.to else None

    def archived(self):
        self.state()
        return self.tier == "Archive"


class Refused(Exception):
    def __init__(self, status, code, text="It was refused.\nMore."):
        self.status, self.code, self.text = status, code, text


def mirror(container, key, blob):
    """The blob as a file, or no file; a marker is a directory."""
    if MIRROR is None:
        return
    path = os.path.join(MIRROR, container, key)
    try:
        if blob is None and os.path.isfile(path):
            os.unlink(path)
        if blob is None:
            os.removedirs(os.path.dirname(path))
        else:
            os.makedirs(path if blob.directory else os.path.dirname(path), exist_ok=True)
            if not blob.directory and not key.endswith("/"):
                with open(path, "wb") as f:
                    f.write(blob.data)
    except OSError:
        pass  # a file and a directory of one name, or not empty


def token_new():
    t = "tok%d" % (len(tokens) + 1)
    tokens[t] = time.time() + token_s
    return t


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # ---- frame ----

    def handle_one(self):
        self.close_connection = False
        length = int(self.headers.get("content-length") or 0)
        self.body = self.rfile.read(length)
        u = urlsplit(self.path)
        self.q = {k: v[0] for k, v in parse_qs(u.query, keep_blank_values=True).items()}
        self.f = {k.lower(): v for k, v in self.headers.items()}
        if u.path == "/control":
            return self.control()
        if u.path.startswith("/oauth/") or u.path in ("/metadata/identity/oauth2/token", "/msi"):
            return self.token(u.path)
        self.dfs = u.path.startswith("/dfs/")
        path = u.path[4:] if self.dfs else u.path
        parts = path.split("/", 3)
        self.container = unquote(parts[2]) if len(parts) > 2 else ""
        self.key = unquote(parts[3]) if len(parts) > 3 else ""
        fault = None
        with lock:
            comp = self.q.get("comp")
            if self.dfs:
                comp = self.q.get("resource", "rename")
            what = self.command + " " + (comp or ("container" if not self.key else "blob"))
            counts[what] = counts.get(what, 0) + 1
            for x in faults:
                if x.get("method") in (None, self.command) and x.get("times", 1) > 0 and \
                        x.get("comp", comp) == comp:
                    x["times"] = x.get("times", 1) - 1
                    fault = x
                    break
        if fault and "status" in fault:
            extra = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
            return self.refuse(Refused(fault["status"], fault.get("code", "")), extra)
        try:
            with lock:
                if fault and fault.get("drop_blocks"):
                    waiting.pop((self.container, self.key), None)
                if parts[1] != ACCOUNT:
                    raise Refused(400, "InvalidUri")
                self.authorised()
                status, fields, body = self.serve()
        except Refused as e:
            return self.refuse(e)
        if fault and fault.get("lost"):
            self.close_connection = True
            return None
        if fault and "fields" in fault:
            fields = {k: v for k, v in {**fields, **fault["fields"]}.items() if v is not None}
        if fault and "body" in fault:
            body = fault["body"].encode()
            fields.pop("Content-Length", None)
        return self.answer(status, fields, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

    def answer(self, status, fields, body=b""):
        self.send_response(status)
        fields = {"x-ms-request-id": "r%d" % time.monotonic_ns(), "x-ms-version": "2025-07-05",
                  "Content-Length": str(len(body)), **fields}
        for k, v in fields.items():
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, e, extra=None):
        if self.dfs:
            body = json.dumps({"error": {"code": e.code, "message": e.text}})
            return self.answer(e.status, {"x-ms-error-code": e.code, "Content-Type": "application/json",
                                          **(extra or {})}, body.encode())
        body = "<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>" % (
            e.code, escape(e.text))
        fields = {"x-ms-error-code": e.code, "Content-Type": "application/xml"} if e.code else {}
        self.answer(e.status, {**fields, **(extra or {})}, body.encode())

    def control(self):
        global token_s
        with lock:
            if self.command == "GET":
                return self.answer(200, {}, json.dumps(counts).encode())
            c = json.loads(self.body)
            faults[:] = c.get("faults", faults)
            token_s = c.get("token_s", token_s)
            for t in c.get("refuse", []):
                tokens[t] = 0
            if c.get("reset"):
                counts.clear()
        return self.answer(200, {})

    def token(self, path):
        form = {k: v[0] for k, v in parse_qs(self.body.decode()).items()}
        with lock:
            counts["token"] = counts.get("token", 0) + 1
        if path.startswith("/oauth/"):
            ok = form.get("client_id") == "client" and (
                form.get("client_secret") == "s3cret" or form.get("client_assertion") == "assertion")
            if not ok or form.get("scope") != "https://storage.azure.com/.default":
                return self.answer(401, {}, json.dumps({
                    "error": "invalid_client",
                    "error_description": "AADSTS7000215: Invalid client secret.\nTrace ID: x"}).encode())
        elif path == "/msi":
            if self.f.get("x-identity-header") != "header":
                return self.answer(403, {})
        elif self.f.get("metadata") != "true" or self.q.get("resource") != "https://storage.azure.com/":
            return self.answer(400, {}, b'{"error":"invalid_request"}')
        with lock:
            t = token_new()
        body = {"access_token": t, "token_type": "Bearer"}
        body["expires_in" if path.startswith("/oauth/") else "expires_on"] = \
            token_s if path.startswith("/oauth/") else str(int(time.time() + token_s))
        return self.answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def authorised(self):
        a = self.f.get("authorization", "")
        if "sig" in self.q or a.startswith("SharedKey " + ACCOUNT + ":"):
            return
        if not a.startswith("Bearer "):
            raise Refused(401, "NoAuthenticationInformation")
        if tokens.get(a[7:], 0) < time.time():
            raise Refused(401, "InvalidAuthenticationInfo", "Lifetime validation failed.")

    # ---- operations ----

    def serve(self):
        comp, method = self.q.get("comp"), self.command
        if self.q.get("restype") == "account":
            return 200, {"x-ms-is-hns-enabled": "true" if HNS else "false"}, b""
        if not self.container:
            return self.list_containers()
        if not self.key:
            return self.serve_container(method, comp)
        if self.container not in containers:
            raise Refused(404, "ContainerNotFound")
        self.blobs = containers[self.container]
        if self.dfs:
            return self.rename()
        if HNS and self.key.endswith("/"):
            raise Refused(400, "InvalidResourceName")
        if method == "PUT":
            return {None: self.put, "block": self.put_block, "blocklist": self.commit,
                    "tier": self.set_tier, "metadata": self.put_meta}[comp]()
        if method == "GET" and comp == "blocklist":
            return self.get_blocks()
        if method == "DELETE":
            return self.delete()
        return self.get()

    def serve_container(self, method, comp):
        name = self.container
        if method == "PUT":
            if name in containers:
                raise Refused(409, "ContainerAlreadyExists")
            containers[name] = {}
            return 201, {}, b""
        if name not in containers:
            raise Refused(404, "ContainerNotFound")
        if method == "DELETE":
            del containers[name]
            return 202, {}, b""
        return self.list_blobs(containers[name])

    def list_containers(self):
        each = "".join("<Container><Name>%s</Name></Container>" % c for c in sorted(containers))
        return 200, {}, ("<?xml version='1.0'?><EnumerationResults><Containers>%s</Containers>"
                         "<NextMarker/></EnumerationResults>" % each).encode()

    def list_blobs(self, blobs):
        prefix, delimiter = self.q.get("prefix", ""), self.q.get("delimiter")
        marker = self.q.get("marker", "")
        most, out, seen, last = int(self.q.get("maxresults", 5000)), [], set(), ""
        for key in sorted(blobs):
            if not key.startswith(prefix) or key < marker:
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key[:cut + 1] if cut >= 0 else key
            if name in seen:
                continue
            if len(out) == most:
                last = key
                break
            seen.add(name)
            out.append("<BlobPrefix><Name>%s</Name></BlobPrefix>" % escape(name) if cut >= 0
                       else self.list_one(key, blobs[key]))
        return 200, {}, ("\ufeff<?xml version='1.0' encoding='utf-8'?><EnumerationResults><Blobs>%s"
                         "</Blobs><NextMarker>%s</NextMarker></EnumerationResults>" % (
                             "".join(out), escape(last))).encode()

    def list_one(self, key, b):
        state = b.state()
        odd = re.search("[\ufffe\uffff]", key)
        name = "<Name Encoded='true'>%s</Name>" % quote(key) if odd else "<Name>%s</Name>" % escape(key)
        return "<Blob>%s<Properties><Last-Modified>%s</Last-Modified><Etag>%s</Etag>" \
            "<Content-Length>%d</Content-Length><BlobType>BlockBlob</BlobType>" \
            "<AccessTier>%s</AccessTier>%s%s%s</Properties><Metadata>%s</Metadata></Blob>" % (
                name, email.utils.formatdate(b.time, usegmt=True), b.etag.strip('"'), len(b.data),
                b.tier, "<AccessTierInferred>true</AccessTierInferred>" if b.inferred else "",
                "<ArchiveStatus>%s</ArchiveStatus>" % state if state else "",
                "<ResourceType>%s</ResourceType>" % ("directory" if b.directory else "file")
                if HNS else "",
                "".join("<%s>%s</%s>" % (k, escape(v), k) for k, v in b.meta.items()))

    def find(self, key=None):
        b = self.blobs.get(key or self.key)
        if b is None:
            raise Refused(404, "BlobNotFound")
        return b

    def conditions(self, b):
        if self.f.get("if-none-match") == "*" and b is not None:
            raise Refused(409, "BlobAlreadyExists")
        if "if-match" in self.f and (b is None or self.f["if-match"] != b.etag):
            raise Refused(412, "ConditionNotMet")

    def store(self, blob):
        old = self.blobs.get(self.key)
        self.conditions(old)
        if old is not None and old.archived():
            raise Refused(409, "BlobArchived")
        if HNS:
            if old is not None and old.directory != blob.directory:
                raise Refused(409, "PathConflict")
            at = self.key
            while "/" in at:
                at = at.rsplit("/", 1)[0]
                if at not in self.blobs:
                    self.blobs[at] = Blob(b"", {"x-ms-meta-hdi_isfolder": "true"}, directory=True)
                elif not self.blobs[at].directory:
                    raise Refused(409, "PathConflict")
        self.blobs[self.key] = blob
        waiting.pop((self.container, self.key), None)
        mirror(self.container, self.key, blob)
        return 201, self.stamp(blob), b""

    @staticmethod
    def stamp(b):
        return {"ETag": b.etag, "Last-Modified": email.utils.formatdate(b.time, usegmt=True)}

    def put(self):
        if "x-ms-copy-source" in self.f:
            return self.copy()
        want = self.f.get("content-md5")
        if want and base64.b64encode(hashlib.md5(self.body).digest()).decode() != want:
            raise Refused(400, "Md5Mismatch")
        folder = HNS and self.f.get("x-ms-meta-hdi_isfolder") == "true"
        return self.store(Blob(self.body, self.f, directory=folder))

    def source(self):
        u = urlsplit(self.f["x-ms-copy-source"])
        if "sig" not in parse_qs(u.query) and "x-ms-copy-source-authorization" not in self.f:
            raise Refused(403, "CannotVerifyCopySource")
        container, key = (unquote(x) for x in u.path.split("/", 3)[2:])
        b = containers.get(container, {}).get(key)
        if b is None:
            raise Refused(404, "CannotVerifyCopySource")
        if b.archived():
            raise Refused(409, "BlobArchived")
        if self.f.get("x-ms-source-if-match", b.etag) != b.etag:
            raise Refused(412, "SourceConditionNotMet")
        return b

    def copy(self):
        b = self.source()
        fields = dict(self.f)
        if not any(k.startswith("x-ms-meta-") for k in fields):
            fields.update({"x-ms-meta-" + k: v for k, v in b.meta.items()})
        new = Blob(b.data, fields)
        new.kept = dict(b.kept)
        status, out, _ = self.store(new)
        return 202, {**out, "x-ms-copy-status": "success"}, b""

    def rename_source(self):
        value = self.f.get("x-ms-rename-source", "")
        m = re.match(r"((?:[A-Za-z0-9._~/-]|%[0-9A-Fa-f]{2})+)(?:\?(.*))?$", value)
        if not m or not value.startswith("/" + self.container + "/"):
            raise Refused(400, "InvalidHeaderValue")
        if "sig" in self.q and "sig" not in parse_qs(m[2] or ""):
            raise Refused(403, "AuthenticationFailed")
        key = unquote(m[1].split("/", 2)[2])
        b = self.blobs.get(key)
        if b is None:
            raise Refused(404, "SourcePathNotFound")
        if self.f.get("x-ms-source-if-match", b.etag) != b.etag:
            raise Refused(412, "SourceConditionNotMet")
        return key, b

    def rename(self):
        if not HNS or self.command != "PUT" or self.body:
            raise Refused(400, "UnsupportedRequest")
        if self.q.get("resource") == "directory":
            if self.key in self.blobs and self.f.get("if-none-match") == "*":
                raise Refused(409, "PathAlreadyExists")
            at = self.key.split("/")
            for n in range(1, len(at) + 1):
                there = self.blobs.setdefault("/".join(at[:n]), Blob(
                    b"", {"x-ms-meta-hdi_isfolder": "true"}, directory=True))
                if not there.directory:
                    raise Refused(409, "PathConflict")
            return 201, self.stamp(self.blobs[self.key]), b""
        if self.q.get("resource"):
            raise Refused(400, "UnsupportedRequest")
        key, b = self.rename_source()
        old, parent = self.blobs.get(self.key), self.key.rpartition("/")[0]
        if old is not None and self.f.get("if-none-match") == "*":
            raise Refused(409, "PathAlreadyExists")
        self.conditions(old)
        if parent and parent not in self.blobs:
            raise Refused(404, "RenameDestinationParentPathNotFound")
        if b.directory or (old is not None and old.directory):
            raise Refused(409, "InvalidSourceOrDestinationResourceType")
        if parent and not self.blobs[parent].directory:
            raise Refused(409, "PathConflict")
        self.blobs[self.key] = self.blobs.pop(key)
        waiting.pop((self.container, self.key), None)
        mirror(self.container, key, None)
        mirror(self.container, self.key, b)
        return 201, {}, b""

    def put_block(self):
        b = self.blobs.get(self.key)
        if b is not None and b.archived():
            raise Refused(409, "BlobArchived")
        data = self.body
        if "x-ms-copy-source" in self.f:
            m = re.match(r"bytes=(\d+)-(\d+)$", self.f["x-ms-source-range"])
            data = self.source().data[int(m[1]):int(m[2]) + 1]
        raw = base64.b64decode(self.q["blockid"], validate=True)
        there = waiting.setdefault((self.container, self.key), {})
        if any(len(base64.b64decode(i)) != len(raw) for i in there):
            raise Refused(400, "InvalidBlobOrBlock")
        if not data:
            raise Refused(400, "InvalidHeaderValue")
        there.pop(self.q["blockid"], None)
        there[self.q["blockid"]] = data
        return 201, {}, b""

    def get_blocks(self):
        b, there = self.blobs.get(self.key), waiting.get((self.container, self.key), {})
        if b is None and not there:
            raise Refused(404, "BlobNotFound")
        if b is not None and b.archived():
            raise Refused(409, "BlobArchived")
        each = lambda v: "".join("<Block><Name>%s</Name><Size>%d</Size></Block>" % (i, len(d))
                                 for i, d in v)
        body = "<?xml version='1.0'?><BlockList><CommittedBlocks>%s</CommittedBlocks>" \
            "<UncommittedBlocks>%s</UncommittedBlocks></BlockList>" % (
                each(b.blocks if b else []), each(there.items()))
        return 200, self.stamp(b) if b else {}, body.encode()

    def commit(self):
        b, there = self.blobs.get(self.key), waiting.get((self.container, self.key), {})
        self.conditions(b)
        old, blocks = dict(b.blocks) if b else {}, []
        for kind, i in re.findall(r"<(Committed|Uncommitted|Latest)>([^<]*)<", self.body.decode()):
            data = there.get(i) if kind != "Committed" else old.get(i)
            if data is None:
                raise Refused(400, "InvalidBlockList")
            blocks.append((i, data))
        fields = {k: v for k, v in self.f.items() if k not in KEPT}
        return self.store(Blob(b"".join(d for _, d in blocks), fields, blocks))

    def set_tier(self):
        b, to = self.find(), self.f["x-ms-access-tier"]
        if to not in ("Hot", "Cool", "Cold", "Archive"):
            raise Refused(400, "InvalidHeaderValue")
        if not b.archived():
            b.tier, b.inferred = to, False
            return 200, {}, b""
        if b.state():
            raise Refused(409, "BlobBeingRehydrated")
        if to != "Archive":
            b.to, b.ready = to, time.time() + REHYDRATE
        return 202, {}, b""

    def put_meta(self):
        b = self.find()
        self.conditions(b)
        if b.archived():
            raise Refused(409, "BlobArchived")
        new = Blob(b"", self.f)
        b.meta, b.etag, b.time = new.meta, new.etag, new.time
        return 200, self.stamp(b), b""

    def delete(self):
        b = self.find()
        self.conditions(b)
        if b.directory and any(k.startswith(self.key + "/") for k in self.blobs):
            raise Refused(409, "DirectoryIsNotEmpty")
        del self.blobs[self.key]
        mirror(self.container, self.key, None)
        return 202, {}, b""

    def get(self):
        b = self.find()
        self.conditions(b)
        state = b.state()
        fields = {**self.stamp(b), **b.kept, "x-ms-blob-type": "BlockBlob", "x-ms-access-tier": b.tier,
                  "Content-Length": str(len(b.data))}
        fields.update({"x-ms-meta-" + k: v for k, v in b.meta.items()})
        if b.inferred:
            fields["x-ms-access-tier-inferred"] = "true"
        if state:
            fields["x-ms-archive-status"] = state
        if HNS:
            fields["x-ms-resource-type"] = "directory" if b.directory else "file"
        if self.command == "HEAD":
            return 200, fields, b""
        if b.archived():
            raise Refused(409, "BlobArchived")
        data, status = b.data, 200
        m = re.match(r"bytes=(\d+)-(\d+)$", self.f.get("x-ms-range", ""))
        if m:
            first, end = int(m[1]), min(int(m[2]) + 1, len(data))
            if first >= len(data):
                raise Refused(416, "InvalidRange")
            fields["Content-Range"] = "bytes %d-%d/%d" % (first, end - 1, len(data))
            data, status = data[first:end], 206
        if self.f.get("x-ms-range-get-content-crc64"):
            raise Refused(400, "UnsupportedHeader")
        if self.f.get("x-ms-range-get-content-md5"):
            fields["content-md5"] = base64.b64encode(hashlib.md5(data).digest()).decode()
        fields["Content-Length"] = str(len(data))
        return status, fields, data


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        with open(sys.argv[1] + ".new", "w", encoding="ascii") as f:
            f.write(str(server.server_address[1]))
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        server.serve_forever()
