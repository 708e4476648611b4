"""An honest tenant that crosses its wire again and again: a holder with free memory (tests/bench/holder.cc) and a crosser that
knows the instant of the crossing (tests/bench/crosser.cc) below one limit. The client library stamps the directive."""

from __future__ import annotations

import dataclasses
import pathlib
import time

from .cgroups import Cgroup
from .figures import MIB
from .processes import Service, ServiceError, wait_until

WAIT = 60.0  # seconds; generous, the emulated machine is slow
WAKE_PERCENT = 85
SAID_WITHIN = 2.0  # seconds: the crosser may be heard before the holder


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Milliseconds after the crossing; None: it did not come."""

    received_ms: float | None  # the directive, at the client
    returned_ms: float | None  # the memory, in the cgroup


class CrossingTenant:
    """`parent` has a limit, and its rule wakes at WAKE_PERCENT. The holder keeps `hold` bytes free, the crosser uses `base`."""

    def __init__(self, build: pathlib.Path, directory: pathlib.Path, parent: Cgroup, socket: pathlib.Path, *, hold: int,
                 base: int, back_percent: int = 97, patience_s: int = 10):
        self.parent = parent
        wire = parent.limit * WAKE_PERCENT // 100
        self.holder = Service(
            "holder", [str(build / "tests/bench/bench_holder"), "--hold", str(hold)], directory=directory,
            cgroup=parent.child("holder"), commands=True,
            # Kept until asked for: jemalloc's own decay would give it back between the crossings.
            env={"MEMGOV_SOCKET": str(socket), "MALLOC_CONF": "dirty_decay_ms:-1"})
        self.crosser = Service(
            "crosser", [str(build / "tests/bench/bench_crosser"), "--usage-file", str(parent.usage_file), "--stat-file",
                        str(parent.path / "memory.stat"), "--wire", str(wire), "--base", str(base), "--back",
                        str(hold * back_percent // 100), "--patience", str(patience_s)],
            directory=directory, cgroup=parent.child("crosser"), commands=True)

    def wait_until_ready(self) -> None:
        self.holder.wait_for(lambda line: line.get("welcomed"), WAIT, "a welcome")
        self.crosser.wait_for(lambda line: line.get("ready"), WAIT, "ready")

    def refill(self, reported_within: float) -> None:
        """The holder has its free memory again; waits as long as its report may take."""
        self.holder.ask("refill", "refilled", WAIT)
        time.sleep(reported_within)

    def cross(self, mib_per_second: int = 0) -> Crossing:
        """One crossing (0: at full speed). Returns when the memory is back, or the crosser's patience has ended."""
        heard = len(self.holder.lines)
        crossing = self.crosser.ask(f"cross {mib_per_second}", "crossed_ns", WAIT)
        directive = self._directive_since(heard, SAID_WITHIN if crossing["came_back"] else 0)
        crossed = crossing["crossed_ns"]
        return Crossing((directive["at_ns"] - crossed) / 1e6 if directive and crossed else None,
                        (crossing["back_ns"] - crossed) / 1e6 if crossing["came_back"] else None)

    def _directive_since(self, heard: int, timeout: float) -> dict | None:
        try:
            return self.holder.wait_for(lambda line: "directive" in line, timeout, "a directive", since=heard)
        except ServiceError:
            return None

    def wait_until_below(self, percent: int, timeout: float) -> None:
        """Until usage is so far down that the governor sees a calm domain."""
        wait_until(lambda: self.parent.usage() < self.parent.limit * percent // 100, timeout,
                   f"usage below {percent} % of {self.parent.limit // MIB} MiB")

    def stop(self) -> None:
        for service in (self.crosser, self.holder):
            service.stop()
