"""As gunicorn --preload does: the master grows to so many MiB and frees nearly all, then forks so many workers. What is free
is free in all of them, and leaves the cgroup when the last one has given it back. Knows no memgov."""

import json
import os
import signal
import sys
import time

blocks = [bytes([number % 251]) * 4000 for number in range(int(sys.argv[1]) * 256)]
kept = blocks[::2560]
del blocks
master = os.getpid()
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        break
if os.getpid() == master:
    print(json.dumps({"ready": True}), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while os.getpid() == master or os.getppid() == master:
    time.sleep(0.1)
    assert all(len(block) == 4000 for block in kept)
