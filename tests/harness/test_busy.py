"""The loops spin while they are wanted, and not longer."""

import os
import pathlib
import subprocess
import sys

from harness.busy import Busy
from harness.processes import wait_until

DEADLINE = 30.0


def cpu_jiffies(pid: int) -> int:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_each_processor_gets_a_loop_that_uses_it():
    with Busy() as busy:
        assert len(busy.loops) == len(os.sched_getaffinity(0))
        wait_until(lambda: all(cpu_jiffies(loop.pid) >= 5 for loop in busy.loops), DEADLINE, "time used by each loop")
    assert all(loop.poll() is not None for loop in busy.loops)


def test_a_loop_ends_with_whoever_started_it():
    start = ("import os, sys\nfrom harness.busy import Busy\n"
             "busy = Busy(1).__enter__()\nprint(busy.loops[0].pid, flush=True)\nos._exit(0)\n")
    tests = pathlib.Path(__file__).resolve().parents[1]
    pid = subprocess.run([sys.executable, "-c", start], cwd=tests, capture_output=True, text=True, check=True).stdout.strip()
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), DEADLINE, "the end of the loop")
