"""Who answers a crossing is scheduled before who causes it: the kernel's shortest slices for the threads in between."""

import ctypes
import os
import pathlib

import pytest
from harness.processes import wait_until

from .conftest import DEADLINE, scaled
from .policies import ENFORCE

SCHED_GETATTR = 315  # of x86-64
SHORTEST_NS = 100_000


class SchedAttr(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("policy", ctypes.c_uint32), ("flags", ctypes.c_uint64), ("nice", ctypes.c_int32),
                ("priority", ctypes.c_uint32), ("runtime", ctypes.c_uint64), ("deadline", ctypes.c_uint64),
                ("period", ctypes.c_uint64)]


def slice_ns(thread: int) -> int:
    """Of a thread; 0: of the calling one."""
    libc, attributes = ctypes.CDLL(None, use_errno=True), SchedAttr()
    failed = libc.syscall(SCHED_GETATTR, thread, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    assert not failed, os.strerror(ctypes.get_errno())
    return attributes.runtime


def slices(pid: int) -> dict[str, set[int]]:
    """By the names of threads; the main thread is `main`."""
    found: dict[str, set[int]] = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = "main" if task.name == str(pid) else (task / "comm").read_text().strip()
        found.setdefault(name, set()).add(slice_ns(int(task.name)))
    return found


def test_the_threads_between_a_crossing_and_a_release_have_short_slices(stage):
    usual = slice_ns(0)
    if not usual:
        pytest.skip("one slice for all: before Linux 6.12")
    governor = stage.govern(ENFORCE)
    client = stage.start_retaining("glibc", scaled(40))
    governor.wait_for("attached", DEADLINE)
    wait_until(lambda: slices(governor.pid)["main"] == {SHORTEST_NS}, DEADLINE, "the control thread's slice")
    of_governor = slices(governor.pid)
    assert of_governor["memgovd-session"] == {SHORTEST_NS}
    assert of_governor["memgovd"] == {usual}, "those that do slow work wait as everybody does"
    of_client = slices(client.pid)
    assert of_client["memgov"] == {SHORTEST_NS} and of_client["main"] == {usual}
