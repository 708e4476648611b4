"""Grows to so many MiB of blocks of glibc's malloc, frees all but every 64th run, says so, and idles. Knows no memgov."""

import json
import signal
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
blocks = [bytes([number % 251]) * 4000 for number in range(int(sys.argv[1]) * 256)]
kept = {number: block for number, block in enumerate(blocks) if number % 2560 < 40}
del blocks
print(json.dumps({"ready": True}), flush=True)
while True:
    time.sleep(0.1)
    assert all(block == bytes([number % 251]) * 4000 for number, block in kept.items())
