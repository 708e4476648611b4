"""After a slow start it closes every descriptor that it does not know, as daemons do, and opens files of its own: so many
in the directory that is named. Idles for some seconds; then says how many bytes others wrote into its files, and how many
of them others closed. Knows no memgov."""

import json
import os
import sys
import time

directory, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
blocks = [bytes([number % 251]) * 100_000 for number in range(400)]
print(json.dumps({"grown": True}), flush=True)
sys.stdin.readline()  # until somebody has seen us attached
os.closerange(3, 1024)
files = [os.open(f"{directory}/data{number}", os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600) for number in range(count)]
del blocks
end = time.monotonic() + seconds
while time.monotonic() < end:
    time.sleep(0.1)
closed, stray = 0, 0
for file in files:
    try:
        stray += os.fstat(file).st_size
    except OSError:
        closed += 1
print(json.dumps({"final": True, "stray_bytes": stray, "closed": closed}), flush=True)
