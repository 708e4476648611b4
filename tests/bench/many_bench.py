#!/usr/bin/python3
"""500 workers of one server in one container, each with the preload: how fast all attach, and how fast all answer one need.

Each worker keeps 2 MiB that it has freed. Once all are attached the container is driven over its wire, and so much is
to leave it that everybody is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups, process_watch  # noqa: E402
from harness.figures import MIB, mib  # noqa: E402
from harness.governor import Governor  # noqa: E402
from harness.processes import Service, ServiceError  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-bench-many"
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: many
    match: {cgroup: "/memgov-bench-many/**"}
    mode: enforce
    wake: {usage: 85%, timeToLimit: never, stall: never}
    critical: {usage: 99%, timeToLimit: never, stall: never}
    relax: {usage: 5%}
    actions: [release]
"""
LIMIT = 1950 * MIB
RETAINED_KIB = 2048  # a client with less than 1 MiB is not worth asking
WAIT = 90.0  # seconds until we give up
SETTLE = 1.5  # seconds: until everybody has reported


def measure(workers: int, directory: pathlib.Path) -> dict:
    """Never raises for what memgovd does not do: the counts tell."""
    container = cgroups.Cgroup.create(cgroups.detect(), GROUP, LIMIT)
    services: list[Service] = []
    try:
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        governor = Governor(BUILD / "governor/memgovd", policy, directory, [GROUP])
        services.append(governor.service)
        server = Service("server", [str(BUILD / "tests/bench/bench_workers"), str(workers), str(RETAINED_KIB)],
                         directory=directory, cgroup=container.child("server"),
                         env={"MEMGOV_SOCKET": str(governor.socket),
                              "LD_PRELOAD": str(BUILD / "client/c/libmemgov_preload.so")})
        began = time.monotonic()
        services.append(server)
        server.wait_for(lambda line: line.get("started"), WAIT, "started")
        spawned_s = time.monotonic() - began
        attached_at = wait_for_pids(governor, "attached", workers)
        time.sleep(SETTLE)
        woke, returned_at = need(container, governor, len(attached_at), directory, services)
        reading = process_watch.read(governor.pid)
        return {"workers": workers, "attached": len(attached_at), "spawned_s": round(spawned_s, 2),
                "attach_s": round(max(attached_at.values(), default=0) - began, 2) if attached_at else None,
                "returned": len(returned_at),
                "round_s": round(max(returned_at.values()) - woke, 2) if returned_at else None,
                "governor_rss_mib": round(mib(reading.rss), 1) if reading else None,
                "governor_descriptors": reading.descriptors if reading else None,
                "refusal": next((event["text"] for event in governor.of("refused", "dropped")), "")}
    finally:
        container.kill()
        for service in reversed(services):
            service.stop()
        container.remove()


def wait_for_pids(governor: Governor, kind: str, count: int) -> dict[int, float]:
    """When each process had its first event of this kind. Returns when there are `count`, or nothing new came for a while."""
    first: dict[int, float] = {}
    grew_at = time.monotonic()
    while len(first) < count and time.monotonic() - grew_at < WAIT / 6:
        before = len(first)
        for event in governor.of(kind):
            first.setdefault(event["pid"], event["t"])
        if len(first) > before:
            grew_at = time.monotonic()
        time.sleep(0.02)
    return first


def need(container: cgroups.Cgroup, governor: Governor, clients: int, directory: pathlib.Path,
         services: list[Service]) -> tuple[float, dict[int, float]]:
    """Over the wire: when memgovd saw it, and when each client had given back."""
    wire = LIMIT * 85 // 100
    crosser = Service("crosser", [str(BUILD / "tests/bench/bench_crosser"), "--usage-file", str(container.usage_file),
                                  "--stat-file", str(container.path / "memory.stat"), "--wire", str(wire), "--base", "0",
                                  "--back", str(LIMIT), "--patience", "20"],
                      directory=directory, cgroup=container.child("crosser"), commands=True)
    services.append(crosser)
    crosser.wait_for(lambda line: line.get("ready"), WAIT, "ready")
    crosser.say("cross 0")
    try:
        woke = governor.wait_for("woke", WAIT)["t"]
    except ServiceError:
        return 0.0, {}
    return woke, wait_for_pids(governor, "returned", clients)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench many", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=500, metavar="N", help="1 to 1000 (default 500)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if not 1 <= options.workers <= 1000:
        parser.error("--workers is 1 to 1000")
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
        result = measure(options.workers, pathlib.Path(directory))
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"{result['attached']} of {result['workers']} attached within {result['attach_s']} s (started within "
          f"{result['spawned_s']} s); {result['returned']} answered one need within {result['round_s']} s; memgovd: "
          f"{result['governor_rss_mib']} MiB, {result['governor_descriptors']} descriptors")
    if result["refusal"]:
        print(result["refusal"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
