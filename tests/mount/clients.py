# SPDX-License-Identifier: MIT
"""Clients and daemons that behave badly: clients.py silent DIR READY | full SOCKET READY |
ending SOCKET READY. READY is made when it stands."""
import os
import socket
import sys
import time

WHAT, AT, READY = sys.argv[1:4]


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(AT)
    return s


def ready():
    open(READY, "x").close()


def hello(s):
    s.settimeout(60)
    try:
        s.sendall(b'{"verb":"hello"}\n')
    except BrokenPipeError:     # refused, and told so before
        pass
    return b'"ok":true' in s.recv(4096)


held = []
if WHAT == "silent":
    for i in range(8):
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.join(AT, "silent%d.sock" % i))
        s.listen(8)
        held.append(s)
    ready()
    time.sleep(200)
elif WHAT == "full":
    while hello(s := connect()):
        held.append(s)
    ready()
    time.sleep(20)              # less than a connection may ask nothing
else:
    while not hello(s := connect()):    # those that filled it are on their way out
        time.sleep(0.05)
    ready()
    print(s.recv(4096).decode())
