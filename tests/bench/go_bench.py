#!/usr/bin/python3
"""Kills, work and latency of Go services under one limit: without, with GOMEMLIMIT, automemlimit, memgov; the client's cost.

An HTTP service gets few requests a second, and in bursts 120, each of which leaves a session of 512 KiB for 4 s. Requests
come at times that are fixed beforehand. "one": a service under a limit of its own, three bursts. "three": three services
below one limit, none with one of its own, and one burst of each, in turn. A service that is killed is started again.

unlimited      no cgroup limit at all: how fast it can be
default        the limit, and Go as it comes
gomemlimit     GOMEMLIMIT=90 % of the limit; of "three", each has its third
automemlimit   as github.com/KimMachineGun/automemlimit sets it, at 90 %: from the tightest limit above the process
memgov         the client, and memgovd with its defaults

kills     of services by the kernel, a run
work      requests that were answered, a run
p50, p99  from when a request was due to its answer. One that failed (no service, no answer in 5 s, 256 others that wait)
          counts as 5 s
gc CPU    of the CPU time that the services used
idle      resident memory of a service without a session, on average
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

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from bench import go_client_cost  # noqa: E402
from harness import cgroups  # noqa: E402
from harness.busy import Busy  # noqa: E402
from harness.figures import MIB, percentile  # noqa: E402
from harness.governor import Governor, socket_in  # noqa: E402
from harness.processes import Service  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GOBENCH = str(BUILD / "tests/bench/gobench")
ARMS = ("unlimited", "default", "gomemlimit", "automemlimit", "memgov")
STATIC_SHARE = 0.9
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: bench
    match: {cgroup: "/memgov-bench-go-*/**"}
    mode: enforce
"""
SECONDS = 36
PATIENCE_MS = 5000.0  # as the load has it
WAIT = 60.0
RESTART_AFTER = 1.0  # seconds, as a supervisor waits


@dataclasses.dataclass(frozen=True)
class Size:
    """A number of services and the limit above them."""
    limit: int
    bursts: list[str]  # of each service

    @property
    def services(self) -> int:
        return len(self.bursts)


SIZES = {"one": Size(384 * MIB, ["3s-9s,13s-19s,23s-29s"]),
         "three": Size(768 * MIB, ["3s-9s", "13s-19s", "23s-29s"])}


class Tenant:
    """One service in a cgroup of its own, started again whenever it dies, and its load."""

    def __init__(self, arm: str, size: Size, number: int, parent: cgroups.Cgroup, directory: pathlib.Path):
        self._directory = directory
        self._socket = directory / f"{number}.sock"
        self._argv = [GOBENCH, "serve", "-socket", str(self._socket), "-limit",
                      arm if arm in ("automemlimit", "memgov") else "none"]
        self._env = {"MEMGOV_SOCKET": str(socket_in(directory)), "GOMEMLIMIT": "off", "GODEBUG": ""}
        if arm == "gomemlimit":
            self._env["GOMEMLIMIT"] = str(int(size.limit / size.services * STATIC_SHARE))
        elif arm in ("automemlimit", "memgov"):
            del self._env["GOMEMLIMIT"]
        self.cgroup = parent.child(f"service{number}")
        self._number = number
        self.lives: list[Service] = []
        self._restart_at: float | None = None
        self._start()
        self.lives[0].wait_for(lambda line: line.get("ready"), WAIT, "ready")
        self._bursts = size.bursts[number]
        self.load: Service | None = None

    def _start(self) -> None:
        self.lives.append(Service(f"service{self._number}-{len(self.lives)}", self._argv, directory=self._directory,
                                  cgroup=self.cgroup, env=self._env))

    def begin(self) -> None:
        self.load = Service(f"load{self._number}",
                            [GOBENCH, "load", "-socket", str(self._socket), "-for", f"{SECONDS}s", "-bursts", self._bursts],
                            directory=self._directory)

    def watch(self) -> None:
        """Starts it again when it is dead; to be called often."""
        if self.lives[-1].alive:
            return
        if self._restart_at is None:
            self._restart_at = time.monotonic() + RESTART_AFTER
        elif time.monotonic() >= self._restart_at:
            self._restart_at = None
            self._start()

    def stop(self) -> None:
        for service in [*self.lives, *([self.load] if self.load else [])]:
            service.stop()


def play(arm: str, size: Size, directory: pathlib.Path) -> dict[str, float]:
    """One run of one arm."""
    parent = cgroups.Cgroup.create(cgroups.detect(), f"/memgov-bench-go-{os.getpid()}",
                                   None if arm == "unlimited" else size.limit)
    governor = None
    tenants: list[Tenant] = []
    try:
        if arm == "memgov":
            policy = directory / "policy.yaml"
            policy.write_text(POLICY)
            governor = Governor(BUILD / "governor/memgovd", policy, directory, [parent.name])
        for number in range(size.services):
            tenants.append(Tenant(arm, size, number, parent, directory))
        for tenant in tenants:
            tenant.begin()
        while any(tenant.load.alive for tenant in tenants):
            for tenant in tenants:
                tenant.watch()
            time.sleep(0.05)
        for tenant in tenants:
            tenant.stop()
        figures = figures_of(tenants)
        if governor:
            figures["asked"] = len(governor.of("asked"))
        return figures
    finally:
        for tenant in tenants:
            tenant.stop()
        if governor:
            governor.stop()
        parent.remove()


def figures_of(tenants: list[Tenant]) -> dict[str, float]:
    lives = [life for tenant in tenants for life in tenant.lives]
    lines = [line for life in lives for line in life.lines if "gc_s" in line]
    if any(line["broken"] for line in lines):
        raise RuntimeError("a session was not as it had been made")
    last = [life.lines[-1] for life in lives if life.lines and "gc_s" in life.lines[-1]]
    loads = [tenant.load.wait_for(lambda line: line.get("final"), WAIT, "the end") for tenant in tenants]
    latencies = [us / 1000 for load in loads for us in load["latencies_us"]]
    latencies += [PATIENCE_MS] * sum(load["failed"] for load in loads)
    return {
        "kills": sum(tenant.cgroup.oom_kills() for tenant in tenants),
        "planned": sum(load["planned"] for load in loads),
        "work": sum(load["done"] for load in loads),
        "p50_ms": percentile(latencies, 50),
        "p99_ms": percentile(latencies, 99),
        "gc_cpu_percent": 100 * sum(line["gc_s"] for line in last) / max(sum(line["used_s"] for line in last), 0.001),
        "idle_held_mib": statistics.mean(line["rss_bytes"] / MIB for line in lines if line["sessions"] == 0),
        "limit_mib": lives[0].lines[0]["limit"] / MIB,  # the runtime's; at the start
    }


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Means of what is counted, medians of what is measured."""
    return {key: round(statistics.mean(run[key] for run in runs) if key in ("kills", "planned", "work")
                       else statistics.median(run[key] for run in runs), 2) for key in runs[0]}


def measure(options: argparse.Namespace) -> dict[str, object]:
    runs: dict[str, list[dict[str, float]]] = {}
    for round_number in range(options.repeat):
        for size in options.sizes:
            for arm in options.arms:
                print(f"run {round_number + 1} of {options.repeat}: {arm}, {size}", file=sys.stderr)
                with tempfile.TemporaryDirectory(prefix="memgov-bench-") as name, Busy() if options.busy else contextlib.nullcontext():
                    figures = play(arm, SIZES[size], pathlib.Path(name))
                runs.setdefault(f"{arm}_{size}", []).append(figures)
                print("  " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), file=sys.stderr)
    result: dict[str, object] = {name: summary(of) for name, of in runs.items()}
    if not options.no_client:
        print(f"what the client costs, {options.repeat} times {go_client_cost.SECONDS} s", file=sys.stderr)
        result |= go_client_cost.measure(BUILD, options.repeat)
    return result


def print_table(result: dict[str, object]) -> None:
    print(f"{'':22} {'kills':>6} {'work':>7} {'of':>7} {'p50':>9} {'p99':>9} {'gc CPU':>7} {'idle':>8}")
    for name, figures in result.items():
        if not isinstance(figures, dict):
            continue
        print(f"{name:22} {figures['kills']:6.1f} {figures['work']:7.0f} {figures['planned']:7.0f} "
              f"{figures['p50_ms']:6.1f} ms {figures['p99_ms']:6.1f} ms {figures['gc_cpu_percent']:5.1f} % "
              f"{figures['idle_held_mib']:4.0f} MiB")
    if "client_rss_mib" in result:
        print(f"the client adds {result['client_rss_mib']:.2f} MiB resident to a program with gRPC, "
              f"{result['client_rss_mib_without_grpc']:.2f} MiB to one without, {result['client_goroutines']} goroutines, "
              f"{result['client_cpu_percent_idle']:.3f} % of a core")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench go", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help=f"runs of {SECONDS} s of each arm and size (default 3)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, metavar="ARM", help="only these")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="SIZE", help="one, three")
    parser.add_argument("--busy", action="store_true", help="a loop spins on each processor meanwhile, at normal weight")
    parser.add_argument("--no-client", action="store_true", help="leave out what the client costs")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat is at least 1")
    result = measure(options)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
