#!/usr/bin/python3
"""What a client costs memgovd: memory, threads, and the time from connect to Welcome; also of another build.

Clients are raw connections that say Hello and stay, as many in each of several cgroups. --against names other memgovd
programs, which are measured in turn with ours, so that two ways to serve sessions can be compared in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups, peer  # noqa: E402
from harness.figures import MIB, percentile  # noqa: E402
from harness.governor import Governor  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-bench-sessions"
WAIT = 60.0
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: sessions
    match: {cgroup: "/memgov-bench-sessions/**"}
    mode: enforce
"""


def status_of(pid: int) -> dict[str, int]:
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"rss": int(fields["VmRSS"].split()[0]) * 1024, "threads": int(fields["Threads"])}


def measure(memgovd: pathlib.Path, groups: int, clients: int) -> dict:
    parent = cgroups.Cgroup.create(cgroups.detect(), GROUP)
    services = []
    try:
        with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
            path = pathlib.Path(directory)
            policy = path / "policy.yaml"
            policy.write_text(POLICY)
            with Governor(memgovd, policy, path, [GROUP]) as governor:
                before = status_of(governor.pid)
                took = []
                for number in range(groups):
                    service = peer.start(f"peer{number}", path, parent.child(f"c{number}", 256 * MIB), governor.socket)
                    services.append(service)
                    for _ in range(clients):
                        answer = service.ask("attach x", "took_ms", WAIT)
                        if "ended" in answer:
                            raise SystemExit(f"{memgovd}: refused: {answer}")
                        took.append(answer["took_ms"])
                after = status_of(governor.pid)
                for service in services:
                    service.stop()
                services.clear()
                return {"clients": groups * clients, "threads": after["threads"],
                        "rss_mib": round(before["rss"] / MIB, 2),
                        "kib_per_client": round((after["rss"] - before["rss"]) / 1024 / (groups * clients), 1),
                        "attach_p50_ms": round(statistics.median(took), 2),
                        "attach_p99_ms": round(percentile(took, 99), 2)}
    finally:
        for service in services:
            service.stop()
        parent.remove()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=4, help="cgroups with clients (default 4)")
    parser.add_argument("--clients", type=int, default=60, help="in each of them (default 60)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; medians are shown (default 3)")
    parser.add_argument("--against", action="append", default=[], metavar="MEMGOVD", help="another program to measure beside ours")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    programs = [BUILD / "governor/memgovd", *map(pathlib.Path, arguments.against)]
    rounds: dict[str, list[dict]] = {str(program): [] for program in programs}
    for _ in range(arguments.repeat):
        for program in programs:
            rounds[str(program)].append(measure(program, arguments.groups, arguments.clients))
    result = {}
    print(f"{'program':<50} clients threads  idle MiB  KiB a client  attach p50 ms   p99 ms")
    for program, measured in rounds.items():
        row = {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        result[program] = row
        print(f"{program[-50:]:<50} {row['clients']:>7.0f} {row['threads']:>7.0f} {row['rss_mib']:>9} {row['kib_per_client']:>13} "
              f"{row['attach_p50_ms']:>14} {row['attach_p99_ms']:>8}")
    if arguments.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
