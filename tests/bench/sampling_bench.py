#!/usr/bin/python3
"""What it costs to watch 1,000 cgroups, at memgovd's adaptive rhythm, at a fixed 10 Hz, and without kept descriptors.

Idle, and with 50 of them at work: 40 far from their limit and 10 near their wire. The cgroups lie as a kubelet lays
them out: pods of three containers each, in slices with long names. Each figure is the median of several rounds, all
arms in each round; CPU is that of the process that reads, as a share of one core.

reopen_ratio compares governors: how much dearer are the same samples (usage, limit, memory.high, kills at 10 Hz; stat
and pressure every 10 s) to one that keeps nothing, and so opens, reads and closes each file of a sample each time.
Ours keeps the descriptor of usage, reads a limit when inotify tells that it was written, and counts kills when usage
has changed. reread_ratio compares descriptors alone: the very readings of ours, with open and close around each.
Both count the CPU of reading and parsing, per sample.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from bench.footprint_bench import cpu_seconds, status_of  # noqa: E402
from harness import cgroups  # noqa: E402
from harness.figures import MIB  # noqa: E402
from harness.governor import Governor  # noqa: E402
from harness.processes import Service  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-bench-sampling"
POLICY = f"""\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: sampling
    match: {{cgroup: "{GROUP}/**"}}
    mode: enforce
"""
LIMIT = 64 * MIB
CONTAINERS = 3  # of each pod
FAR, NEAR = 40, 10  # cgroups at work: with 2 MiB of their 64, and with 50
SETTLE = 15.0  # seconds until every alarm is armed, and an idle cgroup is known to be at rest
WAIT = 60.0


def wakeups(pid: int) -> int:
    """How often any of its threads has gone to sleep by itself, and so was woken."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        total += int(fields["voluntary_ctxt_switches"])
    return total


def adaptive(directory: pathlib.Path, seconds: float) -> dict[str, float]:
    """The real memgovd."""
    policy = directory / "policy.yaml"
    policy.write_text(POLICY)
    with Governor(BUILD / "governor/memgovd", policy, directory, [GROUP]) as governor:
        time.sleep(SETTLE)
        started, cpu, woken = time.monotonic(), cpu_seconds(governor.pid), wakeups(governor.pid)
        time.sleep(seconds)
        took = time.monotonic() - started
        return {"cpu_percent": 100 * (cpu_seconds(governor.pid) - cpu) / took,
                "wakeups_per_s": (wakeups(governor.pid) - woken) / took, "rss_mib": status_of(governor.pid)["rss_mib"]}


def fixed(seconds: float, *arguments: str) -> dict[str, float]:
    """CPU percent of reading all of them ten times a second and ticking an engine; microseconds of reading for each
    sample, so that one that a busy machine has held up counts for what it did."""
    command = [str(BUILD / "tests/bench/bench_sampler"), "--root", GROUP, "--seconds", str(int(seconds)), *arguments]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"cpu_percent": result["cpu_percent"],
            "sample_us": result["reading_cpu_percent"] * 1e4 / result["readings_per_s"]}


def make_pods(parent: cgroups.Cgroup, count: int) -> list[cgroups.Cgroup]:
    """`count` cgroups as systemd's driver of a kubelet makes them. Returns the containers."""
    slice_ = parent.child("kubepods.slice").child("kubepods-burstable.slice")
    containers: list[cgroups.Cgroup] = []
    made = 2
    while made < count:
        uid = f"{made:08x}_1c2d_4e3f_8a9b_0123456789ab"
        pod = slice_.child(f"kubepods-burstable-pod{uid}.slice", LIMIT * CONTAINERS)
        made += 1
        for number in range(min(CONTAINERS, count - made)):
            containers.append(pod.child(f"cri-containerd-{made:032x}{number:032x}.scope", LIMIT))
            made += 1
    return containers


class Work:
    """The cgroups at work, while inside."""

    def __init__(self, groups: list[cgroups.Cgroup], directory: pathlib.Path):
        self.services = []
        for name, base, some in (("far", "2MiB", groups[:FAR]), ("near", "50MiB", groups[FAR:FAR + NEAR])):
            files = [argument for group in some for argument in ("--procs", str(group.path / "cgroup.procs"))]
            self.services.append(Service(name, [str(BUILD / "tests/bench/bench_swinger"), "--base", base, *files],
                                         directory=directory, commands=True))

    def __enter__(self) -> None:
        for service in self.services:
            service.wait_for(lambda line: line.get("ready"), WAIT, "ready")

    def __exit__(self, *exc) -> None:
        for service in self.services:
            service.stop()


def measure(count: int, seconds: float, repeats: int) -> dict[str, float]:
    rounds: list[dict[str, float]] = []
    parent = cgroups.Cgroup.create(cgroups.detect(), GROUP)
    try:
        groups = make_pods(parent, count)
        with tempfile.TemporaryDirectory(prefix="memgov-bench-") as name:
            directory = pathlib.Path(name)
            for number in range(repeats):
                print(f"round {number + 1} of {repeats}", file=sys.stderr)
                idle = adaptive(directory, seconds)
                with Work(groups, directory):
                    active = adaptive(directory, seconds)
                    kept, reopened, reread = fixed(seconds), fixed(seconds, "--reopen"), fixed(seconds, "--reread")
                    rounds.append({"adaptive_idle_cpu_percent": idle["cpu_percent"],
                                   "idle_wakeups_per_s": idle["wakeups_per_s"],
                                   "adaptive_cpu_percent": active["cpu_percent"],
                                   "wakeups_per_s": active["wakeups_per_s"], "rss_mib": active["rss_mib"],
                                   "fixed10hz_cpu_percent": kept["cpu_percent"],
                                   "reopen_cpu_percent": reopened["cpu_percent"],
                                   "reopen_ratio": reopened["sample_us"] / kept["sample_us"],
                                   "reread_ratio": reread["sample_us"] / kept["sample_us"]})
    finally:
        parent.remove()
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench sampling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cgroups", type=int, default=1000, metavar="N", help="how many (default 1000, at least 100)")
    parser.add_argument("--seconds", type=float, default=10, help="of each arm in each round (default 10)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.cgroups < 2 * (FAR + NEAR) or options.seconds < 1 or options.repeat < 1:
        parser.error(f"--cgroups is at least {2 * (FAR + NEAR)}, --seconds and --repeat at least 1")
    result = measure(options.cgroups, options.seconds, options.repeat)
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"{options.cgroups} cgroups, medians of {options.repeat} rounds, CPU in percent of one core")
    print(f"  memgovd, all idle        {result['adaptive_idle_cpu_percent']:7.2f} %   "
          f"{result['idle_wakeups_per_s']:5.0f} wake-ups/s")
    print(f"  memgovd, {FAR + NEAR} at work      {result['adaptive_cpu_percent']:7.2f} %   "
          f"{result['wakeups_per_s']:5.0f} wake-ups/s   {result['rss_mib']:.1f} MiB resident")
    print(f"  all at 10 Hz, kept       {result['fixed10hz_cpu_percent']:7.2f} %")
    print(f"  all at 10 Hz, reopened   {result['reopen_cpu_percent']:7.2f} %   a sample {result['reopen_ratio']:.1f} "
          f"times as dear; the same readings {result['reread_ratio']:.1f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
