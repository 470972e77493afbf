#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A proxy before an S3 server that bears only so many requests at a time: the others are answered
with 503 SlowDown, as AWS does.

    slowdown.py PORT-FILE SERVER-PORT MOST MS

Writes its port into PORT-FILE. Each request takes MS more than the server does, so that several are
under way. GET /-/counts answers with lines: requests, refused, most (under way together, those that
were refused with them).
"""
import asyncio
import os
import sys

BODY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""


class Counts:
    serving = there = requests = refused = most = 0


async def read_head(reader):
    """Bytes up to the empty line, and what of it says how much follows."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    return head, fields


async def read_body(reader, fields):
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        parts = []
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            parts += [line, await reader.readexactly(size + 2)]
            if not size:
                return b"".join(parts)
    return await reader.readexactly(int(fields.get(b"content-length", 0)))


def answer(status, body):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nServer: slowdown\r\n\r\n%s" % (status, len(body), body)


async def serve(server, head, body, pause):
    """The answer of the server, over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server)
    try:
        await asyncio.sleep(pause)
        writer.write(head + body)
        got, fields = await read_head(reader)
        if head.startswith(b"HEAD ") or got.split()[1] in (b"204", b"304"):
            return got
        return got + await read_body(reader, fields)
    finally:
        writer.close()


async def one(reader, server, most, pause):
    head, fields = await read_head(reader)
    body = await read_body(reader, fields)
    if head.startswith(b"GET /-/counts "):
        return answer(b"200 OK", b"%d\n%d\n%d\n" % (Counts.requests, Counts.refused, Counts.most))
    Counts.requests += 1
    Counts.there += 1
    Counts.most = max(Counts.most, Counts.there)
    try:
        if Counts.serving >= most:
            Counts.refused += 1
            await asyncio.sleep(pause)
            return answer(b"503 Slow Down", b"" if head.startswith(b"HEAD ") else BODY)
        Counts.serving += 1
        try:
            return await serve(server, head, body, pause)
        finally:
            Counts.serving -= 1
    finally:
        Counts.there -= 1


async def main():
    port_file, server, most, ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

    async def talk(reader, writer):
        try:
            while True:
                writer.write(await one(reader, server, most, ms / 1000))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    with open(port_file + ".new", "w", encoding="ascii") as f:
        f.write("%d\n" % listener.sockets[0].getsockname()[1])
    os.rename(port_file + ".new", port_file)
    async with listener:
        await listener.serve_forever()


asyncio.run(main())
