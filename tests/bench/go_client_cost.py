"""What the Go client adds to an idle program, with a gRPC server and client of its own or without, attached to a governor.

The four builds of tests/workloads/goservice/idle run side by side, so that all meet the same noise.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile

from harness.governor import Governor
from harness.processes import Service

SECONDS = 20.0
WAIT = 60.0
PROGRAMS = ("idle", "idle_memgov", "idle_grpc", "idle_grpc_memgov")
OBSERVE = "apiVersion: memgov/v1\nkind: Policy\n"  # they run where we run: everything is watched, nothing enforced


def measure(build: pathlib.Path, repeats: int) -> dict[str, float]:
    """Differences of medians."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as name:
        directory = pathlib.Path(name)
        policy = directory / "policy.yaml"
        policy.write_text(OBSERVE)
        with Governor(build / "governor/memgovd", policy, directory, ["/"]) as governor:
            for _ in range(repeats):
                for program, cost in _run(build, directory, governor).items():
                    seen[program].append(cost)
            attached = len(governor.of("attached"))
    if attached < 2 * repeats:
        raise RuntimeError(f"{attached} of {2 * repeats} programs have attached")

    def added(key: str, program: str) -> float:
        return (statistics.median(cost[key] for cost in seen[f"{program}_memgov"]) -
                statistics.median(cost[key] for cost in seen[program]))

    return {
        "client_cpu_percent_idle": round(added("cpu_percent", "idle_grpc"), 4),
        "client_cpu_percent_idle_without_grpc": round(added("cpu_percent", "idle"), 4),
        "client_rss_mib": round(added("rss_mib", "idle_grpc"), 2),
        "client_anon_mib": round(added("anon_mib", "idle_grpc"), 2),
        "client_rss_mib_without_grpc": round(added("rss_mib", "idle"), 2),
        "client_anon_mib_without_grpc": round(added("anon_mib", "idle"), 2),
        "client_goroutines": int(added("goroutines", "idle_grpc")),
    }


def _run(build: pathlib.Path, directory: pathlib.Path, governor: Governor) -> dict[str, dict[str, float]]:
    running = {name: Service(name, [str(build / "tests/workloads" / name)], directory=directory,
                             env={"MEMGOV_SOCKET": str(governor.socket), "GOMAXPROCS": "2"}) for name in PROGRAMS}
    try:
        return {name: _cost(service) for name, service in running.items()}
    finally:
        for service in running.values():
            service.stop()


def _cost(service: Service) -> dict[str, float]:
    """From the lines that it prints once a second; the first seconds are its start."""
    settled = 3
    lines = service.lines
    service.wait_for(lambda _: len(lines) > settled + SECONDS, WAIT + SECONDS, f"{SECONDS:.0f} lines")
    first, last = lines[settled], lines[settled + int(SECONDS)]
    return {"rss_mib": last["rss_mib"], "anon_mib": last["anon_mib"], "goroutines": last["goroutines"],
            "cpu_percent": (last["cpu_ms"] - first["cpu_ms"]) / 10 / (last["at"] - first["at"])}
