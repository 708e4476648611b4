"""Memory, descriptors and CPU of a process over time, read from /proc until it is gone."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import threading
import time

PERIOD = 0.05  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Reading:
    at: float  # time.monotonic()
    rss: int  # bytes
    descriptors: int
    cpu_s: float  # of all its threads so far, those that ended included


def read(pid: int) -> Reading | None:
    """None when there is no such process, or it is dead and not yet waited for."""
    proc = pathlib.Path(f"/proc/{pid}")
    try:
        status = (proc / "status").read_text()
        stat = (proc / "stat").read_text().rsplit(") ", 1)[1].split()
        descriptors = len(os.listdir(proc / "fd"))
    except (OSError, IndexError):
        return None
    resident = next((line for line in status.splitlines() if line.startswith("VmRSS")), None)
    if resident is None:
        return None
    return Reading(time.monotonic(), int(resident.split()[1]) * 1024, descriptors, (int(stat[11]) + int(stat[12])) / _TICKS)


class ProcessWatch:
    """A thread that reads until stop() or the end of the process."""

    def __init__(self, pid: int, period: float = PERIOD):
        self._pid, self._period = pid, period
        self.readings: list[Reading] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {pid}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (reading := read(self._pid)) is not None:
            self.readings.append(reading)
            if self._stop.wait(self._period):
                return

    def grown(self, since: float) -> int:
        """The most resident memory since then, less what there was at that time. Bytes."""
        before = [reading.rss for reading in self.readings if reading.at <= since][-1:]
        after = [reading.rss for reading in self.readings if reading.at > since]
        return max(after, default=0) - before[0] if before and after else 0

    def cpu_percent(self, since: float) -> float:
        """Of one core, since then."""
        span = [reading for reading in self.readings if reading.at >= since]
        if len(span) < 2:
            return 0.0
        return 100 * (span[-1].cpu_s - span[0].cpu_s) / (span[-1].at - span[0].at)

    def most_descriptors(self, since: float) -> int:
        return max((reading.descriptors for reading in self.readings if reading.at >= since), default=0)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> "ProcessWatch":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()
