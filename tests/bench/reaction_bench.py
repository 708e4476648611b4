#!/usr/bin/python3
"""From crossing the wire to the directive at the client, and to 256 MiB of free memory gone from the cgroup.

One parent limit of 1 GiB with two tenants: a holder (jemalloc, libmemgov) that keeps 256 MiB free, and a crosser
that drives usage over the wire again and again, half of the times at 400 MiB/s and half at full speed. The crosser
reads usage as it goes and so knows the instant of the crossing: that of pressing usage, which leaves inactive page
cache out. The client library stamps the directive.
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

from harness import cgroups  # noqa: E402
from harness.crossings import WAIT, Crossing, CrossingTenant  # noqa: E402
from harness.figures import MIB, percentile  # noqa: E402
from harness.governor import Governor  # noqa: E402
from harness.processes import ServiceError, wait_until  # noqa: E402

GROUP = "/memgov-bench-reaction"
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: reaction
    match: {cgroup: "/memgov-bench-reaction/**"}
    mode: enforce
    # The wire alone wakes: a forecast would ask before the crossing.
    wake: {usage: 85%, timeToLimit: never}
    critical: {usage: 98%, timeToLimit: never}
    actions: [release]
    pace: {cooldown: 100ms}
"""
REPORT_EVERY = 1.3  # seconds: the clients' period and a margin
RATES = (400, 0)  # MiB/s, in turn; 0 is full speed


class Rig:
    """The cgroup, the two programs of the tenant and the governor, ready for crossings."""

    def __init__(self, scale: float, directory: pathlib.Path):
        build = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
        self.parent = cgroups.Cgroup.create(cgroups.detect(), GROUP, int(1024 * MIB * scale))
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        self.governor = Governor(build / "governor/memgovd", policy, directory, [GROUP])
        self.tenant = CrossingTenant(build, directory, self.parent, self.governor.socket, hold=int(256 * MIB * scale),
                                     base=int(400 * MIB * scale))
        self.tenant.wait_until_ready()

    def cross(self, rate: int) -> Crossing:
        """One crossing at `rate` MiB/s (0: full speed)."""
        relaxed = len(self.governor.of("relaxed"))
        self.tenant.refill(REPORT_EVERY)
        crossing = self.tenant.cross(rate)
        if crossing.received_ms is None or crossing.returned_ms is None:
            last = [event["text"] for event in self.governor.events[-5:]]
            raise ServiceError(f"memory did not come back: {crossing}; memgovd: {last}")
        wait_until(lambda: len(self.governor.of("relaxed")) > relaxed, WAIT, "event relaxed")
        return crossing

    def close(self) -> None:
        self.tenant.stop()
        self.governor.stop()
        self.parent.remove()


def figures(received: list[float], returned: list[float]) -> dict[str, float]:
    result: dict[str, float] = {"crossings": len(received)}
    for name, values in (("received", received), ("returned", returned)):
        result[f"{name}_p50_ms"] = round(percentile(values, 50), 3)
        result[f"{name}_p99_ms"] = round(percentile(values, 99), 3)
        result[f"{name}_max_ms"] = round(max(values), 3)
    return result


def measure(crossings: int, scale: float) -> dict[str, float]:
    received: list[float] = []
    returned: list[float] = []
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
        rig = Rig(scale, pathlib.Path(directory))
        try:
            for number in range(crossings):
                crossing = rig.cross(RATES[number % len(RATES)])
                received.append(crossing.received_ms)
                returned.append(crossing.returned_ms)
                print(f"\rcrossing {number + 1} of {crossings}: directive {crossing.received_ms:.2f} ms, memory back "
                      f"{crossing.returned_ms:.1f} ms   ", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
        finally:
            rig.close()
    return figures(received, returned)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench reaction", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crossings", type=int, default=100, metavar="N")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes (default 1; in the VM 0.5)")
    parser.add_argument("--vm", action="store_true", help="in the cgroup v2 VM (emulated: its times are no host's)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.crossings < 1 or not 0.1 <= options.scale <= 1.5:
        parser.error("--crossings is at least 1, --scale 0.1 to 1.5")
    if options.vm:
        from bench import in_vm  # not inside the machine: it brings no emulator
        result = in_vm.run("reaction", ["--crossings", str(options.crossings), "--scale", "0.5"])
    else:
        result = measure(options.crossings, options.scale)
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"{result['crossings']} crossings          p50         p99         max")
    for name, text in (("received", "directive at client"), ("returned", "256 MiB back")):
        print(f"  {text:<20}" + "".join(f"{result[f'{name}_{part}_ms']:9.2f} ms" for part in ("p50", "p99", "max")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
