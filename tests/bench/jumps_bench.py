#!/usr/bin/python3
"""Programs whose work is one step of 40 % of their limit, again and again: how many are killed, how long they take.

Each takes 400 MiB at once, fills them, reads them, and has no use for them any more; ten times, below a limit of 1000 MiB.
Each run is played with memgov and without, in alternating order. What lives takes as long as memgov makes it take.

go          a slice that is made anew while the old one is garbage: two fit, the third is killed; whether it comes to that
            depends on when the collector has run
c_glibc     malloc and free beside 500 MiB that stay: usage jumps from 50 to 90 % of the limit and back
c_jemalloc  the same on jemalloc, which keeps the step for the next one: what is taken from it is touched again at once

kills       runs of so many in which the kernel killed
time ratio  the median time of the runs with memgov that lived ÷ that of those without memgov that lived
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

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import cgroups, with_and_without  # noqa: E402
from harness.figures import MIB  # noqa: E402
from harness.processes import Service, ServiceError  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
WORKLOADS = BUILD / "tests/workloads"
GROUP = "/memgov-bench-jumps"
LIMIT = 1000 * MIB
STEP = "400MiB"
ROUNDS = 10
WAIT = 120.0
EXAMPLES = """\
examples:
  ./dev bench jumps
  ./dev bench jumps --programs go --runs 20 --json
  ./dev bench jumps --memgovd OLD/governor/memgovd      another build of memgovd, to compare with
"""


@dataclasses.dataclass(frozen=True)
class Run:
    killed: bool
    took_s: float | None  # None: it did not come to its end
    rounds: int  # that it came through
    asked: int


def command(program: str, memgov: bool) -> list[str]:
    if program == "go":  # its environment says whether with memgov
        return [str(WORKLOADS / "goscenes"), "slice", "-size", STEP, "-rounds", str(ROUNDS), "-fill", "0s"]
    words = [str(WORKLOADS / program.replace("c_", "jumps_")), "--size", STEP, "--rounds", str(ROUNDS), "--base", "500MiB"]
    return words + (["--memgov"] if memgov else [])


PROGRAMS = ("go", "c_glibc", "c_jemalloc")


def play(program: str, memgov: bool, memgovd: pathlib.Path) -> Run:
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memgov-bench-")))
        parent = stack.enter_context(cgroups.Cgroup.create(cgroups.detect(), GROUP, LIMIT))
        leaf = parent.child(program)
        governor = with_and_without.govern(stack, memgovd, parent, directory) if memgov else None
        env = with_and_without.environment(memgov, directory) | {"GOGC": "100"}
        service = stack.enter_context(Service(program, command(program, memgov), directory=directory, env=env, cgroup=leaf))
        took = None
        with contextlib.suppress(ServiceError):  # it was killed, or else we say so below
            begun = service.wait_for(lambda line: line.get("ready"), WAIT, "ready")["at"]
            final = service.wait_for(lambda line: line.get("final"), WAIT, "the last round")
            if final["errors"]:
                raise RuntimeError(f"{program}: {final['errors']} rounds were not as they had been made")
            took = final["at"] - begun
        killed = leaf.oom_kills() > 0
        if took is None and not killed:
            raise RuntimeError(f"{program} did not come to its end: {service.last_words()}")
        return Run(killed, took, sum(1 for line in service.lines if "round" in line), len(governor.of("asked")) if governor else 0)


def summary(without: list[Run], with_: list[Run]) -> dict[str, float | None]:
    def median(runs: list[Run]) -> float | None:
        times = [run.took_s for run in runs if run.took_s is not None]
        return statistics.median(times) if times else None

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    base, governed = median(without), median(with_)
    return {"runs": len(with_), "kills_with": sum(run.killed for run in with_), "kills_without": sum(run.killed for run in without),
            "time_ratio": rounded(governed / base if governed and base else None),
            "seconds_with": rounded(governed), "seconds_without": rounded(base),
            "asked": round(statistics.mean(run.asked for run in with_), 1)}


def measure(options: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    result = {}
    for program in options.programs:
        runs: dict[bool, list[Run]] = {False: [], True: []}
        for number in range(options.runs):
            for memgov in with_and_without.arms(number):
                run = play(program, memgov, options.memgovd)
                runs[memgov].append(run)
                end = f"{run.took_s:.2f} s" if run.took_s is not None else f"killed after {run.rounds} of {ROUNDS} rounds"
                print(f"run {number + 1} of {options.runs}: {program}, {'with' if memgov else 'without'} memgov: {end}"
                      + (f", asked {run.asked} times" if memgov else ""), file=sys.stderr)
        result[program] = summary(runs[False], runs[True])
    return result


def print_table(result: dict[str, dict[str, float | None]]) -> None:
    def seconds(value: float | None) -> str:
        return "none lived" if value is None else f"{value:.2f} s"

    print(f"{'':11} {'runs':>5} {'kills with':>10} {'without':>8} {'with':>10} {'without':>10} {'time ratio':>10} {'asked a run':>11}")
    for name, figures in result.items():
        ratio = figures["time_ratio"]
        print(f"{name:11} {figures['runs']:5} {figures['kills_with']:10} {figures['kills_without']:8} "
              f"{seconds(figures['seconds_with']):>10} {seconds(figures['seconds_without']):>10} "
              f"{'none' if ratio is None else f'{ratio:.2f}':>10} {figures['asked']:11.1f}")


def main() -> int:
    parser = with_and_without.parser("jumps", __doc__, EXAMPLES, BUILD)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS, metavar="NAME", help="only these")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="of each program, with memgov and without (default 20)")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs is at least 1")
    with_and_without.begin(parser, options)
    result = measure(options)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
