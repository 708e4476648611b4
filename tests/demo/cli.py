"""The command line of the demo, and the order in which the story is told."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import sys

from harness.busy import Busy
from harness.cgroups import PREFIX, Cgroup, CgroupError, Hierarchy, detect
from harness.figures import MIB
from harness.processes import ServiceError

from . import again, in_vm, picture, report
from . import run as play
from .report import Pair, Printer
from .result import Result
from .run import Memgov
from .scene import REPOSITORY, DemoError, Programs, Scene

ROOT = f"/{PREFIX}demo-{os.getpid()}"
INTRODUCTION = {
    "kill": "One limit of {limit:.0f} MiB for four services, as a pod's slice has. Three of them grew to {service:.0f} MiB, freed\n"
            "90 % of it and keep the pages, as allocators and collectors do. redis-server is the only one with work:\n"
            "{fill:.0f} MiB of values{rate}.",
    "stall": "The same four services under one limit of {limit:.0f} MiB, but their programs' file pages are charged inside it.\n"
             "At the limit the kernel can always drop some code and read it again: it thrashes before it kills.",
}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev demo", description="The kernel kills the only service that works, beside "
                                     "700 MiB that nobody needs; then the same with memgov.")
    parser.add_argument("--scene", choices=("kill", "stall"), default="kill",
                        help="stall: the programs' file pages count too, so the kernel thrashes")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play it N times and sum up")
    parser.add_argument("--busy", action="store_true",
                        help="then N runs with memgov while a loop spins on each processor, at normal weight")
    parser.add_argument("--json", action="store_true", help="the last line of output is one JSON object; the rest goes to stderr")
    parser.add_argument("--vm", action="store_true", help="play it in a virtual machine with cgroup v2")
    parser.add_argument("--encore", action=argparse.BooleanOptionalAction, default=None,
                        help="redis filled at full speed, too (default: after a single run for people)")
    parser.add_argument("--pattern", choices=("runs", "scattered"), default="runs",
                        help="scattered: what survives lies between what was freed, so less can be returned")
    parser.add_argument("--scale", type=float, metavar="F",
                        help=f"all sizes and rates times F, 0.1 to 1 (default 1, with --vm {in_vm.SCALE:g})")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "build/demo-out", metavar="DIR",
                        help="where the pictures go (default build/demo-out)")
    parser.add_argument("--build", type=pathlib.Path, metavar="DIR",
                        default=pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release")),
                        help="the build to take the programs from (default build/release)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """0: memgov held what it promises; 1: it did not; 2: the demo could not be played."""
    parser = arguments()
    options = parser.parse_args(argv)
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    if options.scale is not None and not 0.1 <= options.scale <= 1:
        parser.error("--scale must be 0.1 to 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that cgroups are removed
    try:
        return in_vm.play(options) if options.vm else _here(options)
    except (DemoError, CgroupError, ServiceError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130


def _here(options: argparse.Namespace) -> int:
    hierarchy = _check_host()
    programs = Programs.find(options.build.resolve())
    scene = Scene.named(options.scene, options.pattern).scaled(options.scale or 1.0)
    printer = Printer(sys.stderr if options.json else sys.stdout)
    printer.title(f"memgov demo, scene \"{scene.name}\", on {hierarchy.describe()}")
    printer.line(introduction(scene))

    journal = options.out.resolve() / "demo-journal"
    pairs = [_pair(scene, programs, hierarchy, printer, turn, options.repeat, journal) for turn in range(options.repeat)]
    printer.title("Side by side" + (f", {len(pairs)} runs each: median (lowest-highest)" if len(pairs) > 1 else ""))
    for line in report.table(pairs):
        printer.line(line)
    if note := report.fragmentation_note(pairs[-1]):
        printer.line("  " + note)
    busy = [_on_busy(scene, programs, hierarchy, printer, turn, options.repeat)
            for turn in range(options.repeat)] if options.busy else None
    if busy:
        printer.line("  " + report.busy_words(busy))

    encore = options.encore if options.encore is not None else not options.json and options.repeat == 1
    results = list(pairs[-1])
    name = scene.name if scene.pattern == "runs" else f"{scene.name}-{scene.pattern}"
    if scene.name == "stall":
        results.append(_late(scene, programs, hierarchy, printer))
    files = picture.write(results, options.out, f"demo-{name}")
    files.append(report.write_events(results[-1], options.out / f"demo-{name}-memgovd.jsonl"))
    if encore and scene.name == "kill":
        files += _encore(scene, programs, hierarchy, printer, options.out)
    printer.title("Pictures, and memgovd's own record")
    for file in files:
        printer.line(f"  {file}")
    if scene.name == "kill":
        printer.title("The last run with memgov once more, from its journal")
        for line in again.lines(programs.memgovctl, journal, *pairs[-1]):
            printer.line(line)
    if options.json:
        print(json.dumps(report.summary(pairs, busy)), flush=True)
    return 0 if report.held(pairs, busy) else 1


def introduction(scene: Scene) -> str:
    rate = "" if scene.rate is None else f" at {scene.rate / MIB:.0f} MiB/s"
    return INTRODUCTION[scene.name].format(limit=scene.limit / MIB, service=scene.service / MIB, fill=scene.fill / MIB,
                                           rate=rate)


def _pair(scene: Scene, programs: Programs, hierarchy: Hierarchy, printer: Printer, turn: int, turns: int,
          journal: pathlib.Path) -> Pair:
    of = f" ({turn + 1} of {turns})" if turns > 1 else ""
    printer.title(f"Run A{of}: without memgov")
    without = play.run(scene, programs, hierarchy, ROOT, Memgov.OFF, printer.say)
    printer.say(without.ended_at, "end", picture.headline(without)[0])
    printer.title(f"Run B{of}: with memgov")
    shutil.rmtree(journal, ignore_errors=True)
    journal.parent.mkdir(parents=True, exist_ok=True)
    with_ = play.run(scene, programs, hierarchy, ROOT, Memgov.ON, printer.say, journal)
    printer.say(with_.ended_at, "end", picture.headline(with_)[0])
    return without, with_


def _on_busy(scene: Scene, programs: Programs, hierarchy: Hierarchy, printer: Printer, turn: int, turns: int) -> Result:
    """The same with memgov, which has to get a processor first."""
    of = f" ({turn + 1} of {turns})" if turns > 1 else ""
    printer.title(f"With memgov, on busy processors{of}")
    with Busy():
        result = play.run(scene, programs, hierarchy, ROOT, Memgov.ON, printer.say)
    printer.say(result.ended_at, "end", picture.headline(result)[0])
    return result


def _late(scene: Scene, programs: Programs, hierarchy: Hierarchy, printer: Printer) -> Result:
    """What memgov does about a stall that is there already."""
    printer.title("Run C: the same stall, and memgov is started into it")
    result = play.run(scene, programs, hierarchy, ROOT, Memgov.LATE, printer.say)
    printer.say(result.ended_at, "end", report.late_words(result))
    return result


def _encore(scene: Scene, programs: Programs, hierarchy: Hierarchy, printer: Printer, out: pathlib.Path) -> list[pathlib.Path]:
    """redis as fast as it can. Nothing here counts for the verdict: such growth is not always preventable."""
    fast = dataclasses.replace(scene, rate=None)
    printer.title("Encore: with memgov, and redis filled at full speed")
    result = play.run(fast, programs, hierarchy, ROOT, Memgov.ON, printer.say)
    printer.say(result.ended_at, "end", picture.headline(result)[0])
    return picture.write([result], out, f"demo-{scene.name}-full-speed")


def _check_host() -> Hierarchy:
    if os.geteuid() != 0:
        raise DemoError("cgroups are made by root: run it as root, or try --vm")
    hierarchy = detect()
    _remove_leftovers(hierarchy)
    return hierarchy


def _remove_leftovers(hierarchy: Hierarchy) -> None:
    """Cgroups of demos that were killed: named by a pid that no longer lives."""
    for path in hierarchy.mount.glob(f"{PREFIX}demo-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdigit() and not pathlib.Path(f"/proc/{pid}").exists():
            Cgroup(hierarchy, f"/{path.name}").remove()
