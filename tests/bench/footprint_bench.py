#!/usr/bin/python3
"""What memgovd costs a node with 1, 100 and 1,000 cgroups, and what the C and the Go client add to a process.

memgovd enforces its default thresholds over cgroups with a limit each; CPU is its own share of one core over a
quiet period. A client's cost is the difference between two builds of one idle program, medians of several starts.
"""

from __future__ import annotations

import argparse
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
from harness.governor import Governor  # noqa: E402
from harness.processes import Service  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-bench-footprint"
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: footprint
    match: {cgroup: "/memgov-bench-footprint/**"}
    mode: enforce
"""
CGROUPS = (1, 100, 1000)
SETTLE = 3.0  # seconds before the quiet period begins
WAIT = 60.0


def status_of(pid: int) -> dict[str, float]:
    """Resident and anonymous memory in MiB, and threads, from /proc/PID/status."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"rss_mib": int(fields["VmRSS"].split()[0]) / 1024, "anon_mib": int(fields["RssAnon"].split()[0]) / 1024,
            "threads": int(fields["Threads"])}


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads. Jiffies are too coarse for an idle daemon; schedstat counts ns."""
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def governor_cost(count: int, seconds: float, directory: pathlib.Path) -> dict[str, float]:
    parent = cgroups.Cgroup.create(cgroups.detect(), GROUP)
    try:
        for number in range(count):
            parent.child(f"c{number}", 64 * MIB)
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        with Governor(BUILD / "governor/memgovd", policy, directory, [GROUP]) as governor:
            time.sleep(SETTLE)
            started, cpu = time.monotonic(), cpu_seconds(governor.pid)
            time.sleep(seconds)
            share = (cpu_seconds(governor.pid) - cpu) / (time.monotonic() - started)
            return status_of(governor.pid) | {"cpu_percent": 100 * share}
    finally:
        parent.remove()


def process_cost(argv: list[str], socket: pathlib.Path, directory: pathlib.Path) -> dict[str, float]:
    """One start of an idle program: milliseconds until it runs its main, then its memory once it has attached."""
    started = time.monotonic()
    service = Service("idle", argv, directory=directory, commands=True,
                      env={"MEMGOV_SOCKET": str(socket), "GOMAXPROCS": "2"})
    try:
        up = service.wait_for(lambda line: line.get("up"), WAIT, "up")
        service.wait_for(lambda line: line.get("settled"), WAIT, "settled")
        time.sleep(0.2)
        return status_of(service.pid) | {"start_ms": (up["at"] - started) * 1000}
    finally:
        service.stop()


def added(plain: list[str], linked: list[str], repeats: int, socket: pathlib.Path,
          directory: pathlib.Path) -> dict[str, float]:
    """Median of the linked program less median of the plain one, started in turn."""
    costs: dict[str, list[dict[str, float]]] = {"plain": [], "linked": []}
    for _ in range(repeats):
        costs["plain"].append(process_cost(plain, socket, directory))
        costs["linked"].append(process_cost(linked, socket, directory))
    return {key: statistics.median(cost[key] for cost in costs["linked"]) -
            statistics.median(cost[key] for cost in costs["plain"]) for key in costs["plain"][0]}


def measure(seconds: float, repeats: int) -> dict[str, float]:
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as name:
        directory = pathlib.Path(name)
        for count in CGROUPS:
            print(f"memgovd with {count} cgroups, {seconds:.0f} s", file=sys.stderr)
            cost = governor_cost(count, seconds, directory)
            result[f"governor_rss_mib_{count}"] = round(cost["rss_mib"], 2)
            result[f"governor_anon_mib_{count}"] = round(cost["anon_mib"], 2)
            result[f"governor_cpu_percent_{count}"] = round(cost["cpu_percent"], 3)
            result["governor_threads"] = int(cost["threads"])
        policy = directory / "policy.yaml"
        # The idle programs run where we run: everything is watched, nothing enforced.
        policy.write_text("apiVersion: memgov/v1\nkind: Policy\n")
        with Governor(BUILD / "governor/memgovd", policy, directory, ["/"]) as governor:
            print("the C client", file=sys.stderr)
            c = added([str(BUILD / "tests/bench/bench_idle")], [str(BUILD / "tests/bench/bench_idle_memgov")], repeats,
                      governor.socket, directory)
            print("the Go client", file=sys.stderr)
            go = added([str(BUILD / "tests/bench/goidle")], [str(BUILD / "tests/bench/goidle_memgov")], repeats, governor.socket, directory)
    for language, cost in (("c", c), ("go", go)):
        for key in ("rss_mib", "anon_mib", "start_ms"):
            result[f"{language}_client_{key}"] = round(cost[key], 2)
        result[f"{language}_client_threads"] = int(cost["threads"])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench footprint", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="quiet period for CPU (default 20)")
    parser.add_argument("--repeat", type=int, default=11, metavar="N", help="starts of each program (default 11)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.seconds <= 0 or options.repeat < 1:
        parser.error("--seconds is more than 0, --repeat at least 1")
    result = measure(options.seconds, options.repeat)
    if options.json:
        print(json.dumps(result))
        return 0
    for count in CGROUPS:
        print(f"memgovd, {count:>5} cgroups: {result[f'governor_rss_mib_{count}']:6.2f} MiB resident, "
              f"{result[f'governor_anon_mib_{count}']:6.2f} MiB anonymous, "
              f"{result[f'governor_cpu_percent_{count}']:.3f} % of a core")
    print(f"memgovd: {result['governor_threads']} threads")
    for language, name in (("c", "C"), ("go", "Go")):
        print(f"{name} client adds: {result[f'{language}_client_rss_mib']:.2f} MiB resident "
              f"({result[f'{language}_client_anon_mib']:.2f} anonymous), {result[f'{language}_client_threads']} threads, "
              f"{result[f'{language}_client_start_ms']:.2f} ms at start")
    return 0


if __name__ == "__main__":
    sys.exit(main())
