#!/usr/bin/python3
"""What switching between lazy and eager release saves and costs: always FREE, always DONTNEED, and switched by memgovd.

A service on jemalloc with 128 MiB of live data allocates, writes and frees 64 MiB again and again, in a cgroup with a
limit of 1 GiB beside a neighbour, which takes so much that usage stays over the wire, and goes again: then it is calm.
Each round has three new services, each in a cgroup of its own, that do the same in turn; who begins alternates:

free       MALLOC_CONF=dirty_decay_ms:100,muzzy_decay_ms:-1, what memgov sets as the lazy mode: freed pages go with MADV_FREE
dontneed   dirty_decay_ms:0,muzzy_decay_ms:0, the eager mode: they go with MADV_DONTNEED, at once
memgov     a session with a memgovd, which sets the eager mode while there is a need, and while there is none what --calm
           says: by default the lazy mode, as its policy has it (`calm: {releaseMode: lazy}`); with --calm program the same,
           but set by the service itself, at run time; with --calm default nothing, and jemalloc's defaults know no
           MADV_FREE: dirty pages go with MADV_DONTNEED in 10 s

speed      bytes allocated, written and freed, by second of CPU time (of the whole process, the agent's thread too), so
           that a busy machine has little say in it
calm       a calm phase begins with some seconds of the same work, told apart: jemalloc begins to learn how many dirty pages
           are used again when decay times are set, at the start and when the eager mode ends
pressed    resident memory after each freeing, median over the phase: lazily freed pages count, as in RSS they do
switch     from the beginning of the neighbour's step of 2 MiB that crosses the wire, until the service has set the
           eager mode; the longest. 0: the forecast had switched it before
refault    the CPU time of calm work that switching spares, compared with being eager always
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups  # noqa: E402
from harness.figures import MIB  # noqa: E402
from harness.governor import Governor, socket_in  # noqa: E402
from harness.processes import Service, wait_until  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-bench-modes"
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: modes
    match: {cgroup: "/memgov-bench-modes/**"}
    mode: enforce
    pace: {ttl: 3s}
"""
LAZY_WHILE_CALM = "    calm: {releaseMode: lazy}\n"
ARMS = ["free", "dontneed", "memgov"]
FIXED = {"free": "dirty_decay_ms:100,muzzy_decay_ms:-1", "dontneed": "dirty_decay_ms:0,muzzy_decay_ms:0"}
LIMIT = 1024 * MIB
WIRE = LIMIT * 85 // 100
HELD = WIRE + 16 * MIB  # what usage without lazily freed pages stands at while pressed, when the service has freed all
CYCLE_MIB = 64
WARM = {"policy": 2.0, "program": 2.0, "default": 10.0}  # seconds; jemalloc's own dirty_decay_ms is 10 s
LIVE_MIB = 128
CALM_SLICE = 5  # cycles
WAIT = 60.0


class Neighbour:
    """Takes memory in the same limit, so that usage stays over the wire; gives all of it back at its end."""

    def __init__(self, parent: cgroups.Cgroup, directory: pathlib.Path):
        self.parent = parent
        self.crossed_ns: int | None = None  # CLOCK_MONOTONIC, just before the step of 2 MiB that leads over the wire
        self.cgroup = parent.child("neighbour")
        self.service = Service("neighbour", [str(BUILD / "tests/workloads/hold_pages")], directory=directory,
                               cgroup=self.cgroup, commands=True)
        self.service.wait_for(lambda line: line.get("ready"), WAIT, "ready")

    def pressing(self) -> int:
        """What the governor goes by: usage without what the kernel takes back by itself, lazily freed pages among it."""
        return self.parent.usage() - self.parent.stat()["inactive_file"]

    def press(self, seconds: float) -> None:
        """Takes what is missing to HELD; from the crossing on for so long again what others give back."""
        end = None
        while end is None or time.monotonic() < end:
            pressing = self.pressing()
            missing = (HELD - pressing) // MIB
            if missing <= 0:
                time.sleep(0.002)
                continue
            began_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            # At most 250 and 400 MiB/s: slow enough that the forecast (300 ms to the limit) does not switch before the wire.
            step, pause = (2, 0.008) if missing <= 200 else (8, 0.02)
            # Of usage as it is, at which the kernel's alarm rings. Known before, because the answer may come when others
            # have given back already.
            if self.crossed_ns is None and self.parent.usage() + step * MIB >= WIRE:
                self.crossed_ns = began_ns
                end = time.monotonic() + seconds
            self.service.ask(f"take {step}MiB", "taken", WAIT)
            time.sleep(pause)

    def end(self) -> None:
        self.service.stop()
        self.cgroup.remove()


class Arm:
    """One of the three: a cgroup with a limit, the service, and for memgov a governor over it."""

    def __init__(self, name: str, calm: str, hierarchy: cgroups.Hierarchy, directory: pathlib.Path):
        self.directory = directory / name
        self.directory.mkdir()
        self.parent = cgroups.Cgroup.create(hierarchy, f"{GROUP}/{name}", LIMIT)
        self.governor = None
        if name == "memgov":
            policy = self.directory / "policy.yaml"
            policy.write_text(POLICY + (LAZY_WHILE_CALM if calm == "policy" else ""))
            self.governor = Governor(BUILD / "governor/memgovd", policy, self.directory, [self.parent.name])
        env = {"MEMGOV_SOCKET": str(socket_in(self.directory))}
        if name in FIXED:
            env["MALLOC_CONF"] = FIXED[name]
        argv = [str(BUILD / "tests/bench/bench_modes_service"), str(LIVE_MIB)] + (["--memgov"] if self.governor else [])
        argv += ["--lazy"] if self.governor and calm == "program" else []
        self.calm_dirty_ms = 10000 if calm == "default" else 100
        self.service = Service("service", argv, directory=self.directory, env=env, commands=True,
                               cgroup=self.parent.child("service"))
        self.service.wait_for(lambda line: line.get("ready"), WAIT, "ready")
        if self.governor:
            self.governor.wait_for("attached", WAIT)
            self.await_calm_mode()

    def await_calm_mode(self) -> None:
        wait_until(lambda: self.service.ask("decay", "dirty_ms", WAIT)["dirty_ms"] == self.calm_dirty_ms, WAIT,
                   "the mode of calm days", every=0.1)

    def work(self, cycles: int, pause_ms: int) -> dict:
        return self.service.ask(f"cycles {cycles} {CYCLE_MIB} {pause_ms}", "cycles", WAIT)

    def work_for(self, seconds: float, cycles: int, pause_ms: int) -> dict:
        """Works for so long; the sum."""
        total = {"bytes": 0, "cpu_ns": 0}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            part = self.work(cycles, pause_ms)
            total = {key: total[key] + part[key] for key in total}
        return total

    def work_pressed(self, cycles: int, pause_ms: int) -> dict:
        """The same while usage stands over the wire. For memgov with "switch_ms"."""
        began_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        neighbour = Neighbour(self.parent, self.directory)
        try:
            neighbour.press(1.5)
            result = self.work(cycles, pause_ms)
        finally:
            neighbour.end()
        if self.governor:
            sets = [line["at_ns"] for line in self.service.lines if line.get("mode") == "set" and line["eager"]]
            result["switch_ms"] = max(0.0, min(at for at in sets if at > began_ns) - neighbour.crossed_ns) / 1e6
            self.await_calm_mode()  # when the eager mode's time to live has ended
        return result

    def close(self) -> None:
        self.service.stop()
        if self.governor:
            self.governor.stop()
        self.parent.remove()


def speed(work: dict) -> float:
    """MiB a second of CPU time."""
    return work["bytes"] / MIB / (work["cpu_ns"] / 1e9)


def calm_in_turn(arms: dict[str, Arm], order: list[str], cycles: int, pause_ms: int) -> dict[str, float]:
    """The speed of each over so many calm cycles, a few at a time in turn: the median of those, since a ratio of whole
    phases would be one of how busy the machine was in each."""
    speeds: dict[str, list[float]] = {arm: [] for arm in order}
    for _ in range(0, cycles, CALM_SLICE):
        for arm in order:
            speeds[arm].append(speed(arms[arm].work(CALM_SLICE, pause_ms)))
    return {arm: statistics.median(each) for arm, each in speeds.items()}


@dataclasses.dataclass
class Round:
    """What one round showed, by arm: MiB a second of CPU time while warming up and calm, resident MiB while pressed."""

    warming: dict[str, float]
    calm: dict[str, float]
    pressed_rss: dict[str, float]
    switch_ms: float


def play_round(options: argparse.Namespace, order: list[str], hierarchy: cgroups.Hierarchy) -> Round:
    """Services of its own: where in physical memory the pages of a process happen to lie makes a fifth of its speed.
    Pressed first, so that the calm phase is the one after a switch, of pages that were given back and taken again."""
    arms: dict[str, Arm] = {}
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as name:
        try:
            for arm in order:
                arms[arm] = Arm(arm, options.calm, hierarchy, pathlib.Path(name))
                arms[arm].work_for(1, options.cycles, options.pause)
            pressed = {arm: arms[arm].work_pressed(options.cycles, options.pause) for arm in order}
            warming = {arm: arms[arm].work_for(WARM[options.calm], options.cycles, options.pause) for arm in order}
            calm = calm_in_turn(arms, order, 4 * options.cycles, options.pause)
        finally:
            for started in arms.values():
                started.close()
    return Round({arm: speed(work) for arm, work in warming.items()}, calm,
                 {arm: statistics.median(work["resident"]) / MIB for arm, work in pressed.items()},
                 pressed["memgov"]["switch_ms"])


def measure(options: argparse.Namespace) -> dict[str, float]:
    rounds = []
    hierarchy = cgroups.detect()
    top = cgroups.Cgroup.create(hierarchy, GROUP)
    try:
        for number in range(options.repeat):
            # Who begins alternates.
            print(f"round {number + 1} of {options.repeat}", file=sys.stderr)
            rounds.append(play_round(options, ARMS[number % 3:] + ARMS[:number % 3], hierarchy))
    finally:
        top.remove()
    calm, warming, pressed_rss = ({arm: [getattr(each, what)[arm] for each in rounds] for arm in ARMS}
                                  for what in ("calm", "warming", "pressed_rss"))
    switches = [each.switch_ms for each in rounds]
    result = {}
    for arm in ARMS:
        result[f"calm_mib_per_cpu_s_{arm}"] = round(statistics.median(calm[arm]), 1)
        result[f"pressed_rss_mib_{arm}"] = round(statistics.median(pressed_rss[arm]), 2)
    of_free = [100 * ours / free for ours, free in zip(calm["memgov"], calm["free"])]
    of_free_warming = [100 * ours / free for ours, free in zip(warming["memgov"], warming["free"])]
    saved = [100 * (1 - eager / ours) for ours, eager in zip(calm["memgov"], calm["dontneed"])]
    of_dontneed = [100 * ours / eager for ours, eager in zip(pressed_rss["memgov"], pressed_rss["dontneed"])]
    return result | {
        "calm_speed_of_free_percent": round(statistics.median(of_free), 1),
        "calm_speed_of_free_percent_min": round(min(of_free), 1),
        "warming_speed_of_free_percent": round(statistics.median(of_free_warming), 1),
        "pressed_rss_of_dontneed_percent": round(statistics.median(of_dontneed), 1),
        "pressed_rss_of_dontneed_percent_max": round(max(of_dontneed), 1),
        "switch_max_ms": round(max(switches), 1),
        "switch_median_ms": round(statistics.median(switches), 1),
        "refault_cpu_saved_percent": round(statistics.median(saved), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench modes", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="rounds, each of new services (default 7)")
    parser.add_argument("--cycles", type=int, default=30, metavar="N", help="cycles in a pressed phase, calm ones have four times as many (default 30)")
    parser.add_argument("--pause", type=int, default=20, metavar="MS", help="small work between cycles (default 20)")
    parser.add_argument("--calm", choices=list(WARM), default="policy", help="who makes memgov's service lazy while calm, if anybody (default policy)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.repeat < 1 or options.cycles < 1 or options.pause < 0:
        parser.error("--repeat and --cycles are at least 1, --pause is not negative")
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"{'':10} {'calm, MiB per CPU second':>25} {'pressed, MiB resident':>22}")
    for arm in ARMS:
        print(f"{arm:10} {result[f'calm_mib_per_cpu_s_{arm}']:25.0f} {result[f'pressed_rss_mib_{arm}']:22.1f}")
    print(f"memgov: {result['calm_speed_of_free_percent']:.1f} % of always-FREE's speed while calm (target: at least 90), "
          f"{result['pressed_rss_of_dontneed_percent']:.1f} % of always-DONTNEED's RSS when pressed (target: at most 102)")
    print(f"in the {WARM[options.calm]:.0f} s before, from the end of the eager mode: {result['warming_speed_of_free_percent']:.1f} %")
    print(f"switch: {result['switch_median_ms']:.1f} ms, at most {result['switch_max_ms']:.1f} ms (target: at most 250); "
          f"CPU of calm work saved over always-DONTNEED: {result['refault_cpu_saved_percent']:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
