#!/usr/bin/python3
"""What memory.high as a brake buys between the wire and the kill, and what it costs the one who is braked.

A domain of 128 MiB (wire at 85 %) in which a client that is asked never answers, and a grower at 50 MiB/s, 200 MiB/s
and full speed: how long from crossing the wire until the kernel kills it, without the brake and with it. The policy
ends an episode after --cap seconds, so with the brake a kill that comes later than that was let happen: the time
bought is then the cap, and "at least" what the brake could buy. Then short episodes, again and again: how long after
the brake was let go the grower goes on. Needs cgroup v2: --vm on other hosts.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import struct
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups  # noqa: E402
from harness.figures import MIB, percentile  # noqa: E402
from harness.governor import Governor, socket_in  # noqa: E402
from harness.processes import Service, wait_until  # noqa: E402

GROUP = "/memgov-bench-brake"
LIMIT = 128 * MIB
WIRE = LIMIT * 85 // 100
BASE = WIRE - 24 * MIB  # calm, below 80 %
WAIT = 90.0  # seconds; generous, the emulated machine is slow
RATES = {"50mib": 50, "200mib": 200, "full": 0}  # MiB/s; 0 is full speed
SHORT_MS = 400  # of the episodes that ask how soon the grower goes on
EPISODES_A_GOVERNOR = 8  # the request that keeps help "coming" is over after a minute
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: brake
    match: {cgroup: "/memgov-bench-brake/**"}
    mode: enforce
    wake: {usage: 85%%, timeToLimit: never}
    critical: {usage: 99%%, timeToLimit: never}
    brake: {enabled: %s, longest: %dms}
    actions: [release]
    pace: {cooldown: 100ms, deadline: 60s, ttl: 60s}
"""


class Rig:
    """The domain and its silent client; a governor and a grower for each run."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.build = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
        hierarchy = cgroups.detect()
        if hierarchy.version != 2:
            raise cgroups.CgroupError("the brake is memory.high of cgroup v2; this host has v1: use --vm")
        self.domain = cgroups.Cgroup.create(hierarchy, GROUP, LIMIT)
        self.place = self.domain.child("grower")
        self.high = self.domain.path / "memory.high"
        self.client = Service("client", [str(self.build / "tests/conformance/bad_client"), "--mode", "hang",
                                         "--again", "--claim", str(16 * MIB)], directory=directory,
                              cgroup=self.domain.child("client"), env={"MEMGOV_SOCKET": str(socket_in(directory))})
        self.governor: Governor | None = None
        self.grower: Service | None = None

    def govern(self, brake: bool, longest_ms: int) -> None:
        policy = self.directory / "policy.yaml"
        policy.write_text(POLICY % ("true" if brake else "false", longest_ms))
        self.governor = Governor(self.build / "governor/memgovd", policy, self.directory, [GROUP])
        self.governor.wait_for("attached", WAIT)

    def seat(self) -> None:
        """A new grower, and the domain filled up to its calm base."""
        self.grower = Service("grower", [str(self.build / "tests/bench/bench_brake_grower"), "--usage-file",
                                         str(self.domain.usage_file), "--diary", str(self.directory / "diary"),
                                         "--wire", str(WIRE)], directory=self.directory, cgroup=self.place, commands=True)
        self.grower.wait_for(lambda line: line.get("ready"), WAIT, "ready")
        self.grower.say(f"base {BASE - self.domain.usage()}")
        self.grower.wait_for(lambda line: line.get("base"), WAIT, "the base")

    def diary(self) -> tuple[int, list[tuple[int, int]]]:
        """When the wire was crossed (0: not yet), and every page that took more than a millisecond."""
        data = (self.directory / "diary").read_bytes()
        crossed, count = struct.unpack_from("QQ", data)
        return crossed, [struct.unpack_from("QQ", data, 16 + 16 * number) for number in range(count)]

    def braked(self) -> bool:
        return self.high.read_text() != "max\n"

    def rest(self) -> None:
        if self.governor:
            self.governor.stop()
        self.governor = None
        if self.grower:
            self.grower.process.kill()
            self.grower.stop()
        self.grower = None

    def close(self) -> None:
        self.rest()
        self.client.process.kill()
        self.client.stop()
        self.domain.remove()

    def to_the_kill(self, rate: int, brake: bool, cap_ms: int) -> tuple[float, float]:
        """One run: milliseconds from the wire to the kill, and the longest throttle."""
        self.govern(brake, cap_ms)
        self.seat()
        if brake:
            wait_until(self.braked, WAIT, "an armed brake")
        self.grower.say(f"grow {rate} 0")
        wait_until(lambda: self.grower.ended_at is not None, WAIT, "the kill", every=0.002)
        crossed, stalls = self.diary()
        if not self.grower.process.wait(WAIT) or not crossed:
            raise RuntimeError("the grower ended without a kill")
        if not brake and self.governor.of("brake_armed"):
            raise RuntimeError("a brake where there should be none")
        took = self.grower.ended_at * 1e3 - crossed / 1e6
        longest = max((ended - began for began, ended in stalls), default=0) / 1e6
        self.rest()
        return took, longest

    def resumes(self, episodes: int) -> tuple[list[float], float]:
        """Short episodes: milliseconds from letting go until the grower goes on, and the longest throttle."""
        self.govern(True, SHORT_MS)
        self.seat()
        found, longest = [], 0.0
        for number in range(1, episodes + 1):
            wait_until(self.braked, WAIT, "an armed brake")
            self.grower.say(f"grow 0 {WIRE + 8 * MIB}")
            released = self.governor.wait_for("brake_released", WAIT, number)["t"] * 1e9
            wait_until(lambda: sum("grown" in line for line in self.grower.lines) >= number, WAIT, "the grower's end")
            _, stalls = self.diary()
            found += [max(ended - released, 0) / 1e6 for began, ended in stalls if began <= released < ended] or [0.0]
            longest = max([longest, *((ended - began) / 1e6 for began, ended in stalls)])
        self.rest()
        return found, longest


def measure(repeats: int, episodes: int, cap_s: float) -> dict[str, float]:
    result: dict[str, float] = {"cap_ms": cap_s * 1000, "repeats": repeats}
    longest = 0.0
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
        rig = Rig(pathlib.Path(directory))
        try:
            wait_until(lambda: rig.domain.usage() > 16 * MIB, WAIT, "the client's memory")
            time.sleep(1)
            for name, rate in RATES.items():
                without, with_brake = [], []
                for number in range(repeats):
                    without.append(rig.to_the_kill(rate, False, int(cap_s * 1000))[0])
                    took, throttle = rig.to_the_kill(rate, True, int(cap_s * 1000))
                    with_brake.append(took)
                    longest = max(longest, throttle)
                    print(f"{name} {number + 1} of {repeats}: wire to kill {without[-1]:.0f} ms without, "
                          f"{took:.0f} ms with the brake", file=sys.stderr, flush=True)
                result[f"without_ms_{name}"] = round(statistics.median(without), 1)
                result[f"with_ms_{name}"] = round(statistics.median(with_brake), 1)
                result[f"bought_ms_{name}"] = round(statistics.median(with_brake) - statistics.median(without), 1)
                for kind, times in (("without", without), ("with", with_brake)):
                    result[f"{kind}_ms_{name}_least"] = round(min(times), 1)
                    result[f"{kind}_ms_{name}_most"] = round(max(times), 1)
                result[f"capped_{name}"] = sum(took >= cap_s * 1000 for took in with_brake)
            resumed: list[float] = []
            while len(resumed) < episodes:
                found, throttle = rig.resumes(min(EPISODES_A_GOVERNOR, episodes - len(resumed)))
                resumed += found
                longest = max(longest, throttle)
                print(f"{len(resumed)} of {episodes} episodes: resumed after {found[-1]:.0f} ms", file=sys.stderr, flush=True)
        finally:
            rig.close()
    return result | {"episodes": len(resumed), "resume_ms_p50": round(percentile(resumed, 50), 1),
                     "resume_ms_p99": round(percentile(resumed, 99), 1), "longest_throttle_ms": round(longest, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench brake", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each kind and rate (3)")
    parser.add_argument("--episodes", type=int, default=24, metavar="N", help="short episodes (24)")
    parser.add_argument("--cap", type=float, default=10.0, metavar="SECONDS", help="the policy's longest brake (10)")
    parser.add_argument("--vm", action="store_true", help="in the cgroup v2 VM (emulated: its times are no host's)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.repeats < 1 or options.episodes < 1 or not 0.1 <= options.cap <= 30:
        parser.error("--repeats and --episodes are at least 1, --cap is 0.1 to 30")
    if options.vm:
        from bench import in_vm  # not inside the machine: it brings no emulator
        result = in_vm.run("brake", ["--repeats", str(options.repeats), "--episodes", str(options.episodes), "--cap",
                                     str(options.cap)])
    else:
        result = measure(options.repeats, options.episodes, options.cap)
    print("wire to kill, median        without         with       bought")
    for name, rate in RATES.items():
        speed = f"{rate} MiB/s" if rate else "full speed"
        line = "".join(f"{result[f'{part}_ms_{name}']:10.0f} ms" for part in ("without", "with", "bought"))
        line += "   (without: {:.0f} to {:.0f})".format(result[f"without_ms_{name}_least"], result[f"without_ms_{name}_most"])
        capped = result[f"capped_{name}"]
        print(f"  {speed:<20}{line}" + (f"\n{'':<22}at least: the policy let go after "
                                        f"{options.cap:g} s in {capped:.0f} of {result['repeats']:.0f} runs" if capped else ""))
    print(f"resumed after letting go: {result['resume_ms_p50']:.0f} ms (median), {result['resume_ms_p99']:.0f} ms (p99) "
          f"of {result['episodes']:.0f}; longest throttle {result['longest_throttle_ms']:.0f} ms")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
