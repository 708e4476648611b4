"""Usage of some cgroups over time, read about 100 times a second from kept file descriptors.

Near a level that the caller names (the wire) it reads every millisecond, so that a crossing is known to about a
millisecond. Usage and kill counts are read even while their cgroup is being killed empty: fds stay valid.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time

from .cgroups import Cgroup, parse_pairs
from .kernel_log import KernelLog, OomKill

PERIOD = 0.010
FAST_PERIOD = 0.001


@dataclasses.dataclass
class Timeline:
    """Parallel columns: time_s[i] is when usage[name][i] (bytes) was read."""

    time_s: list[float]
    usage: dict[str, list[int]]
    oom_kills: dict[str, int]  # of each cgroup, the highest count seen
    kills: list[OomKill]

    def crossings(self, name: str, level: int) -> list[float]:
        """Times at which usage of `name` rose to `level`, interpolated between two readings."""
        values, found = self.usage[name], []
        for i in range(1, len(values)):
            low, high = values[i - 1], values[i]
            if low < level <= high:
                share = (level - low) / (high - low)
                found.append(self.time_s[i - 1] + share * (self.time_s[i] - self.time_s[i - 1]))
        return found

    def first_below(self, name: str, level: int, after: float) -> float | None:
        """The first reading at or after `after` with usage of `name` below `level`."""
        for when, value in zip(self.time_s, self.usage[name]):
            if when >= after and value < level:
                return when
        return None


class Sampler:
    """A thread that fills a Timeline until stop(). The first cgroup is the one compared with `wire`."""

    def __init__(self, groups: dict[str, Cgroup], wire: int | None = None, kernel_log: KernelLog | None = None):
        self._watched = next(iter(groups))
        self._near = None if wire is None else (wire * 0.96, wire * 1.01)
        self._usage_fds = {name: os.open(group.usage_file, os.O_RDONLY) for name, group in groups.items()}
        self._kill_fds = {name: os.open(group.oom_kill_file, os.O_RDONLY) for name, group in groups.items()}
        self._log = kernel_log
        self.timeline = Timeline([], {name: [] for name in groups}, {name: 0 for name in groups}, [])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        period = PERIOD
        while not self._stop.wait(period):
            self._sample()
            period = PERIOD
            if self._near and self._near[0] < self.timeline.usage[self._watched][-1] < self._near[1]:
                period = FAST_PERIOD
        self._sample()

    def _sample(self) -> None:
        line = self.timeline
        readings = {name: _number(fd) for name, fd in self._usage_fds.items()}
        line.time_s.append(time.monotonic())
        for name, value in readings.items():
            column = line.usage[name]
            column.append(value if value is not None else (column[-1] if column else 0))
        for name, fd in self._kill_fds.items():
            line.oom_kills[name] = max(line.oom_kills[name], _kills(fd))
        if self._log:
            line.kills = self._log.poll()

    def stop(self) -> Timeline:
        """A last reading, then the whole timeline. Call it before the cgroups are removed."""
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()
            for fd in [*self._usage_fds.values(), *self._kill_fds.values()]:
                os.close(fd)
        return self.timeline

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()


def _number(fd: int) -> int | None:
    try:
        return int(os.pread(fd, 32, 0))
    except (OSError, ValueError):  # ENODEV: the cgroup was removed
        return None


def _kills(fd: int) -> int:
    try:
        return parse_pairs(os.pread(fd, 1024, 0).decode()).get("oom_kill", 0)
    except OSError:
        return 0
