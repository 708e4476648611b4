#!/usr/bin/python3
"""1,000 cgroups and up to 1,000 clients that come and go, with a need now and then, for hours: memgovd's memory and descriptors
must stay as they are.

Prints a line each minute and one JSON object at the end. Exit code 1 when memgovd grew or ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import random
import signal
import statistics
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups, process_watch  # noqa: E402
from harness.cgroups import Cgroup  # noqa: E402
from harness.figures import MIB, mib  # noqa: E402
from harness.governor import Governor  # noqa: E402
from harness.processes import Service  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-soak"
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: soak
    match: {cgroup: "/memgov-soak/**"}
    mode: enforce
    actions: [release]
"""
LIMIT = 1900 * MIB  # of all clients together
CGROUPS, CLIENTS = 1000, 1000
CHANGES_PER_SECOND = 10  # of cgroups, and of clients
NEED_EVERY, NEED_LASTS = 10.0, 3.0  # seconds
RETAINED_KIB = 128
# Every tenth is worth asking, and it is their limits that come down.
LARGE_EVERY, LARGE_KIB = 10, 4096
WARM_UP = 0.2  # of the time, at most WARM_UP_MOST: buffers and tables find their size
WARM_UP_MOST = 1200.0  # seconds
# What may be between the beginning and the end, a fifth of the time each, by the median.
MAY_GROW_MIB, MAY_GROW_DESCRIPTORS = 2.0, 40


@dataclasses.dataclass
class Home:
    """One cgroup, and the client in it."""

    cgroup: Cgroup
    client: Service | None = None
    large: bool = False


class Soak:
    def __init__(self, directory: pathlib.Path, most_clients: int, most_cgroups: int, seed: int):
        self.directory = directory
        self.most_clients, self.most_cgroups = most_clients, most_cgroups
        self.random = random.Random(seed)
        self.top = Cgroup.create(cgroups.detect(), GROUP, LIMIT)
        self.homes: list[Home] = []
        self.made = self.started = self.needs = 0
        self.counts: dict[str, int] = {}
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        # Hours of events are counted, not kept.
        self.governor = Governor(BUILD / "governor/memgovd", policy, directory, [GROUP], on_event=self._count)

    def _count(self, line: dict) -> None:
        self.counts[line.get("event", "")] = self.counts.get(line.get("event", ""), 0) + 1
        del self.governor_lines()[:-100]

    def governor_lines(self) -> list[dict]:
        governor = getattr(self, "governor", None)
        return governor.service.lines if governor else []

    def make_cgroup(self) -> None:
        self.made += 1
        self.homes.append(Home(Cgroup.create(self.top.hierarchy, f"{GROUP}/home-{self.made}", 64 * MIB)))

    def remove_cgroup(self) -> None:
        home = self.homes.pop(self.random.randrange(len(self.homes)))
        self.end_client(home)
        home.cgroup.remove()

    def start_client(self) -> None:
        empty = [home for home in self.homes if home.client is None]
        if not empty:
            return
        home = self.random.choice(empty)
        self.started += 1
        home.large = self.started % LARGE_EVERY == 0
        argv = [str(BUILD / "tests/bench/bench_workers"), "0", str(LARGE_KIB if home.large else RETAINED_KIB)]
        env = {"MEMGOV_SOCKET": str(self.governor.socket), "LD_PRELOAD": str(BUILD / "client/c/libmemgov_preload.so")}
        home.client = Service("client", argv, directory=self.directory, cgroup=home.cgroup, env=env)

    def end_client(self, home: Home) -> None:
        if home.client is None:
            return
        # Half of them without a farewell.
        home.client.process.send_signal(self.random.choice([signal.SIGTERM, signal.SIGKILL]))
        home.client.stop()
        home.client = None

    def clients(self) -> list[Home]:
        return [home for home in self.homes if home.client is not None]

    def change(self) -> None:
        """One cgroup and one client come, and some go."""
        self.make_cgroup()
        if len(self.homes) > self.most_cgroups:
            self.remove_cgroup()
        self.start_client()
        running = self.clients()
        # The crowd swells and shrinks.
        if len(running) > self.most_clients or self.random.random() < 0.3:
            self.end_client(self.random.choice(running))

    def need(self) -> Home | None:
        """A client's limit comes down to what it uses."""
        running = [home for home in self.clients() if home.large]
        if not running:
            return None
        home = self.random.choice(running)
        home.cgroup.set_limit(max(MIB, home.cgroup.usage() * 100 // 90))
        self.needs += 1
        return home

    def run(self, seconds: float) -> dict:
        began = now = time.monotonic()
        readings: list[process_watch.Reading] = []
        changes, minute, need_at, pressed = 0, 0, began + NEED_EVERY, None
        while now < began + seconds and self.governor.service.alive:
            if changes < (now - began) * CHANGES_PER_SECOND:
                self.change()
                changes += 1
            else:
                time.sleep(0.02)
            if now >= need_at:
                if pressed and pressed.cgroup.path.exists():
                    pressed.cgroup.set_limit(64 * MIB)
                pressed = None if pressed else self.need()
                need_at = now + (NEED_LASTS if pressed else NEED_EVERY)
            if not readings or now - readings[-1].at >= 1:
                reading = process_watch.read(self.governor.pid)
                if reading:
                    readings.append(reading)
            if now - began >= minute * 60:
                self.progress(now - began, readings)
                minute += 1
            now = time.monotonic()
        return self.result(seconds, began, readings)

    def progress(self, passed: float, readings: list[process_watch.Reading]) -> None:
        last = readings[-1]
        print(f"{passed / 60:6.1f} min: {mib(last.rss):6.1f} MiB, {last.descriptors:5} descriptors, {len(self.homes)} cgroups, "
              f"{len(self.clients())} clients, {self.counts.get('attached', 0)} attached so far, {self.needs} needs",
              file=sys.stderr, flush=True)

    def result(self, seconds: float, began: float, readings: list[process_watch.Reading]) -> dict:
        warm = began + min(WARM_UP * seconds, WARM_UP_MOST)
        # While the crowd still grows, so does what memgovd knows.
        crowd_full = began + max(self.most_cgroups, self.most_clients / 0.7) / CHANGES_PER_SECOND
        steady = [reading for reading in readings if reading.at >= max(warm, crowd_full)]
        result = {"hours": round(seconds / 3600, 3), "survived": self.governor.service.alive, "cgroups_made": self.made,
                  "clients_started": self.started, "needs": self.needs, "events": self.counts, "steady_s": 0.0}
        if len(steady) >= 10:
            part = max(1, len(steady) // 5)
            rss = [mib(reading.rss) for reading in steady]
            descriptors = [reading.descriptors for reading in steady]
            hours = [(reading.at - steady[0].at) / 3600 for reading in steady]
            result |= {"steady_s": round(steady[-1].at - steady[0].at, 1), "rss_mib": round(rss[-1], 1),
                       "rss_grown_mib": round(statistics.median(rss[-part:]) - statistics.median(rss[:part]), 2),
                       "rss_slope_mib_per_hour": round(statistics.linear_regression(hours, rss).slope, 3),
                       "descriptors_grown": statistics.median(descriptors[-part:]) - statistics.median(descriptors[:part]),
                       "cpu_percent": round(100 * (steady[-1].cpu_s - steady[0].cpu_s) / (steady[-1].at - steady[0].at), 2)}
        result["passed"] = bool(result["survived"] and result.get("rss_grown_mib", 0) <= MAY_GROW_MIB and
                                result.get("descriptors_grown", 0) <= MAY_GROW_DESCRIPTORS)
        return result

    def close(self) -> None:
        for home in self.homes:
            self.end_client(home)
        self.governor.stop()
        self.top.remove(timeout=120)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hours", type=float, help="for example 2, or 0.05 to see that it runs")
    parser.add_argument("--clients", type=int, default=CLIENTS, metavar="N", help="at most (default 1000)")
    parser.add_argument("--cgroups", type=int, default=CGROUPS, metavar="N", help="at a time (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of who comes and goes (default 1)")
    options = parser.parse_args()
    if not 0 < options.hours <= 240 or not 1 <= options.clients <= 1000 or not 1 <= options.cgroups <= 5000:
        parser.error("HOURS is up to 240, --clients 1 to 1000, --cgroups 1 to 5000")
    with tempfile.TemporaryDirectory(prefix="memgov-soak-") as directory:
        soak = Soak(pathlib.Path(directory), options.clients, options.cgroups, options.seed)
        try:
            result = soak.run(options.hours * 3600)
        finally:
            soak.close()
    print(json.dumps(result))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
