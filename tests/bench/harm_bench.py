#!/usr/bin/python3
"""What memgov does to steady services whose limit is rightly full: throughput, p99, misses, with memgov against without.

Nobody is in danger here, so whatever memgov asks for is asked in vain. Each round plays every service twice, with memgov
and without, in alternating order; the ratio of a round is with ÷ without, and figures are medians over rounds. A service
gets 100 requests a second, at times fixed beforehand; each waits 4 ms for another service and works a little.

hot_cache             a cache of 100 MiB, every entry as likely to be read as any other, beside 370 MiB that stay; limit 512 MiB
active_page_cache     the same cache beside a file of 380 MiB that was read thrice and is read on; limit 512 MiB
fragmented_heap       glibc's malloc, 94 % of a limit of 500 MiB; what is free lies in small pieces between what lives: the first
                      release returns a few percent, the others nothing
go_beside_page_cache  a Go service with 50 MiB of live data beside that file

throughput  requests that can be answered in a second of serving
p99         from when a request was due to its answer. Time in which the service was ready to run and another program had
            the processor counts for neither
misses      of the caches: entries that had to be made again; of the heap: requests that took more than 50 ms; of the Go
            service: collections that were forced
asked       times a minute that memgovd asked somebody for memory, while the service served
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups, with_and_without  # noqa: E402
from harness.figures import MIB, percentile  # noqa: E402
from harness.file_pages import unread_file  # noqa: E402
from harness.processes import Service  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
WORKLOADS = BUILD / "tests/workloads"
GROUP = "/memgov-bench-harm"
FOR_MEMORY = ("release", "collect", "shed", "page_out", "reclaim")  # the others are settings
WAIT = 90.0
EXAMPLES = """\
examples:
  ./dev bench harm
  ./dev bench harm --services hot_cache active_page_cache --rounds 5 --seconds 20
  ./dev bench harm --json
  ./dev bench harm --memgovd OLD/governor/memgovd      another build of memgovd, to compare with
"""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A service, and what stands beside it below the same limit."""

    limit: int
    command: Callable[[bool], list[str]]  # with memgov, or without
    misses: str  # what counts as such, in the service's last line
    anonymous: int = 0
    file: int = 0


def steady(work: str, size: int) -> Callable[[bool], list[str]]:
    command = [str(WORKLOADS / "steady_service"), "--work", work, "--size", f"{size // MIB}MiB"]
    return lambda memgov: command + (["--memgov"] if memgov else [])


def steady_go(size: int) -> Callable[[bool], list[str]]:
    return lambda _: [str(WORKLOADS / "goscenes"), "steady", "-size", f"{size // MIB}MiB"]  # its environment says whether


SCENES = {
    "hot_cache": Scene(512 * MIB, steady("cache", 100 * MIB), "misses", anonymous=370 * MIB),
    "active_page_cache": Scene(512 * MIB, steady("cache", 100 * MIB), "misses", file=380 * MIB),
    "fragmented_heap": Scene(500 * MIB, steady("heap", 465 * MIB), "late"),
    "go_beside_page_cache": Scene(512 * MIB, steady_go(50 * MIB), "forced", file=380 * MIB),
}


def play(scene: Scene, memgov: bool, seconds: float, memgovd: pathlib.Path) -> dict[str, float]:
    """One run; what the service said, and what was asked meanwhile."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memgov-bench-")))
        parent = stack.enter_context(cgroups.Cgroup.create(cgroups.detect(), GROUP, scene.limit))
        leaves = {name: parent.child(name) for name in ("service", "beside")}
        governor = with_and_without.govern(stack, memgovd, parent, directory) if memgov else None
        if scene.anonymous or scene.file:
            stack.enter_context(neighbour(scene, leaves["beside"], directory))
        env = with_and_without.environment(memgov, directory)
        service = stack.enter_context(Service("service", scene.command(memgov), directory=directory, env=env,
                                              cgroup=leaves["service"]))
        begun = service.wait_for(lambda line: line.get("ready"), WAIT, "ready")["at"]
        if governor:
            governor.wait_for("attached", WAIT)
        time.sleep(seconds)
        usage = parent.usage()
        service.stop()
        final = service.wait_for(lambda line: line.get("final"), WAIT, "the end")
        if final["errors"]:
            raise RuntimeError(f"{final['errors']} blocks were not as they had been made")
        asked = [event for event in governor.of("asked") if event["t"] >= begun] if governor else []
        return {"throughput": final["answered"] / final["busy_s"],
                "p99_ms": percentile(final["latencies_us"], 99) / 1000,
                "worst_ms": max(final["latencies_us"]) / 1000,
                "misses": final[scene.misses],
                "asked_per_minute": 60 / seconds * sum(1 for event in asked if event["action"] in FOR_MEMORY),
                "settings_per_minute": 60 / seconds * sum(1 for event in asked if event["action"] not in FOR_MEMORY),
                "kills": sum(group.oom_kills() for group in leaves.values()),
                "usage_percent": 100 * usage / scene.limit}


def neighbour(scene: Scene, leaf: cgroups.Cgroup, directory: pathlib.Path) -> Service:
    """What stands beside the service; it is there when this returns."""
    command = [str(WORKLOADS / "hold_pages"), "--anon", str(scene.anonymous)]
    if scene.file:
        command += ["--read", str(unread_file(directory / "file", scene.file)), "--again"]
    beside = Service("beside", command, directory=directory, cgroup=leaf, commands=True)
    try:
        beside.wait_for(lambda line: line.get("ready"), WAIT, "ready")
    except BaseException:
        beside.stop()
        raise
    return beside


def summary(rounds: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, float]:
    """Of (without, with) pairs. Ratios and what is measured: medians; what is counted: means."""
    def ratio(key: str) -> float:
        return round(statistics.median(with_[key] / without[key] for without, with_ in rounds), 4)

    def both(key: str, of: Callable, digits: int) -> dict[str, float]:
        return {f"{key}_with": round(of(with_[key] for _, with_ in rounds), digits),
                f"{key}_without": round(of(without[key] for without, _ in rounds), digits)}

    asked = {key: round(statistics.mean(with_[key] for _, with_ in rounds), 1)
             for key in ("asked_per_minute", "settings_per_minute")}
    return {"throughput_ratio": ratio("throughput"), "p99_ratio": ratio("p99_ms"), **both("misses", statistics.mean, 1), **asked,
            **both("p99_ms", statistics.median, 3), **both("worst_ms", statistics.median, 1), **both("kills", sum, 0),
            **both("usage_percent", statistics.median, 1)}


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    runs: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {name: [] for name in options.services}
    for number in range(options.rounds):
        for name in options.services:
            figures = {}
            for memgov in with_and_without.arms(number):
                print(f"round {number + 1} of {options.rounds}: {name}, {'with' if memgov else 'without'} memgov", file=sys.stderr)
                figures[memgov] = play(SCENES[name], memgov, options.seconds, options.memgovd)
                print("  " + ", ".join(f"{key} {value:.4g}" for key, value in figures[memgov].items()), file=sys.stderr)
            runs[name].append((figures[False], figures[True]))
    return {name: summary(rounds) for name, rounds in runs.items()}


def print_table(result: dict[str, dict[str, float]]) -> None:
    print(f"{'':21} {'throughput':>10} {'p99':>6} {'p99 with':>10} {'without':>10} {'misses with':>12} {'without':>8} "
          f"{'asked/min':>9} {'kills with':>10} {'without':>8}")
    for name, figures in result.items():
        print(f"{name:21} {figures['throughput_ratio']:10.3f} {figures['p99_ratio']:6.3f} {figures['p99_ms_with']:7.2f} ms "
              f"{figures['p99_ms_without']:7.2f} ms {figures['misses_with']:12.1f} {figures['misses_without']:8.1f} "
              f"{figures['asked_per_minute']:9.1f} {figures['kills_with']:10} {figures['kills_without']:8}")


def main() -> int:
    parser = with_and_without.parser("harm", __doc__, EXAMPLES, BUILD)
    parser.add_argument("--services", nargs="+", choices=SCENES, default=list(SCENES), metavar="NAME", help="only these")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each service (default 3)")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="that a service serves in a run (default 30)")
    options = parser.parse_args()
    if options.rounds < 1 or not 1 <= options.seconds <= 3600:
        parser.error("--rounds is at least 1, --seconds 1 to 3600")
    with_and_without.begin(parser, options)
    result = measure(options)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
