"""Grows to so many MiB of blocks of glibc's malloc, frees all but every 64th run, says so, and idles: by default
in short sleeps, or for ever in one call, named by the second argument. Knows no memgov.

Then "lock": locks all its memory first; "later": waits for a line on stdin first, and says {"here": true}."""

import ctypes
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
C = ctypes.CDLL(None)
if "lock" in sys.argv and C.mlockall(3) != 0:
    sys.exit("mlockall is not allowed")
if "later" in sys.argv:
    print(json.dumps({"here": True}), flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:  # a small program attaches where it sleeps
        time.sleep(0.1)
    sys.stdin.readline()
blocks = [bytes([number % 251]) * 4000 for number in range(int(sys.argv[1]) * 256)]
kept = {number: block for number, block in enumerate(blocks) if number % 2560 < 40}
del blocks
print(json.dumps({"ready": True}), flush=True)
WAITS = {"input": sys.stdin.readline, "recv": lambda: socket.socketpair()[0].recv(1),
         "child": lambda: subprocess.run(["/bin/sh", "-c", "read line"], check=False),
         "condition": lambda: threading.Event().wait(), "pause": signal.pause,
         "sleep": lambda: time.sleep(1000)}
if len(sys.argv) > 2 and sys.argv[2] in WAITS:
    WAITS[sys.argv[2]]()
while True:
    time.sleep(0.1)
    assert all(block == bytes([number % 251]) * 4000 for number, block in kept.items())
