"""The kernel's own record of OOM kills, from /dev/kmsg: who died, in which cgroup, for whose limit.

A service that ends with SIGKILL proves nothing, and on v1 the parent's counter stays 0: this record and the leaf's
counter are the two witnesses that the demo and the tests ask.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time

_OOM = re.compile(r"oom-kill:constraint=(?P<constraint>\w+).*?,oom_memcg=(?P<domain>[^,]*),"
                  r"task_memcg=(?P<cgroup>[^,]*),task=(?P<task>.*),pid=(?P<pid>\d+),uid=\d+")


@dataclasses.dataclass(frozen=True)
class OomKill:
    at: float  # monotonic seconds, when we read it (the record's own stamp is another clock)
    pid: int  # in the kernel's first pid namespace
    task: str  # the victim's comm
    cgroup: str  # of the victim
    domain: str  # whose limit was hit


def parse(record: str, at: float) -> OomKill | None:
    """One record of /dev/kmsg ("priority,sequence,µs,flags;text")."""
    match = _OOM.search(record)
    if not match:
        return None
    return OomKill(at, int(match["pid"]), match["task"], match["cgroup"], match["domain"])


class KernelLog:
    """OOM kills from the moment of construction on. `available` is False where /dev/kmsg may not be read."""

    def __init__(self, path: str = "/dev/kmsg"):
        self._kills: list[OomKill] = []
        self.lost = False  # the ring was overrun: absence of a record proves nothing any more
        try:
            self._fd: int | None = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self._fd = None

    @property
    def available(self) -> bool:
        return self._fd is not None

    def poll(self) -> list[OomKill]:
        """Reads what is new without waiting; returns all kills so far."""
        while self._fd is not None:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # records were overwritten before we read them
                self.lost = True
                continue
            if not record:
                break
            kill = parse(record.decode(errors="replace"), time.monotonic())
            if kill:
                self._kills.append(kill)
        return list(self._kills)

    def kills_below(self, cgroup: str) -> list[OomKill]:
        """Kills whose victim was in `cgroup` (path below the hierarchy's root) or below it."""
        return [kill for kill in self.poll() if (kill.cgroup + "/").startswith(cgroup.rstrip("/") + "/")]

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> "KernelLog":
        return self

    def __exit__(self, *exc) -> None:
        self.close()
