#!/usr/bin/python3
"""Each attack on the governor's socket, from one tenant, while an honest client of another crosses its wire.

Per attack a fresh memgovd in a cgroup of its own; the attacker in another, inside of what memgovd watches. Meanwhile an
honest tenant crosses its wire about once a second, and an honest process of it attaches anew four times a second. The
first two rows are no attacks: `calm` is the machine, `control` is what two busy loops that leave memgovd alone do to the
honest client. What an attack costs beyond `control` is memgovd's. `refused` counts attaches that failed; `full` counts
tries to which the kernel said that the listen queue had no room within 50 ms (EAGAIN): the queue is everybody's. A client waits
that long, and then tries again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness import attacks, cgroups, peer  # noqa: E402
from harness.attacks import Attack  # noqa: E402
from harness.crossings import CrossingTenant  # noqa: E402
from harness.figures import MIB, mib, percentile  # noqa: E402
from harness.governor import Governor  # noqa: E402
from harness.process_watch import ProcessWatch  # noqa: E402
from harness.processes import Service, ServiceError  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
GROUP = "/memgov-bench-hostile"
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: hostile
    match: {cgroup: "/memgov-bench-hostile/**"}
    mode: enforce
    # The wire alone wakes: a forecast would ask before the crossing.
    wake: {usage: 85%, timeToLimit: never}
    critical: {usage: 98%, timeToLimit: never}
    actions: [release]
    pace: {cooldown: 100ms}
"""
LIMIT, HOLD, BASE = 320 * MIB, 96 * MIB, 120 * MIB  # of the honest tenant
EVIL_LIMIT = 300 * MIB
GOVERNOR_LIMIT = 896 * MIB  # a governor that grows to it is killed, as on a node
REPORTED = 0.65  # seconds until a client has told that it retains more: it looks twice a second
PATIENCE = 3  # seconds for the memory to be back
PROBE_EVERY = 0.25  # seconds


@dataclasses.dataclass
class Honest:
    """What the other tenant saw."""

    received_ms: list[float] = dataclasses.field(default_factory=list)  # PATIENCE where no directive came
    missed: int = 0
    attach_ms: list[float] = dataclasses.field(default_factory=list)
    refusals: list[str] = dataclasses.field(default_factory=list)
    backlog_full: int = 0  # tries to which the kernel said EAGAIN; a client tries again


class Rig:
    """memgovd, the honest tenant, and a cgroup for the attacker."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        hierarchy = cgroups.detect()
        self.top = cgroups.Cgroup.create(hierarchy, GROUP)
        self.tenant: CrossingTenant | None = None
        self.services: list[Service] = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        own = self.top.child("memgovd", GOVERNOR_LIMIT)
        self.evil = self.top.child("evil", EVIL_LIMIT)
        honest = self.top.child("honest", LIMIT)
        other = self.top.child("other", EVIL_LIMIT)
        policy = self.directory / "policy.yaml"
        policy.write_text(POLICY)
        self.governor = Governor(BUILD / "governor/memgovd", policy, self.directory,
                                 [self.evil.name, honest.name, other.name], wrap=own.wrap)
        self.services.append(self.governor.service)
        self.tenant = CrossingTenant(BUILD, self.directory, honest, self.governor.socket, hold=HOLD, base=BASE,
                                     back_percent=90, patience_s=PATIENCE)
        self.prober = peer.start("prober", self.directory, other, self.governor.socket)
        self.services.append(self.prober)
        self.tenant.wait_until_ready()

    def cross(self, honest: Honest) -> None:
        self.tenant.refill(REPORTED)
        crossing = self.tenant.cross()
        if crossing.received_ms is None:
            honest.missed += 1
        honest.received_ms.append(PATIENCE * 1000.0 if crossing.received_ms is None else crossing.received_ms)
        try:
            self.tenant.wait_until_below(75, PATIENCE)
        except ServiceError:
            pass  # what was not given back was missed already

    def probe(self, honest: Honest) -> None:
        answer = self.prober.ask("probe honest", "took_ms", 3 * peer.PATIENCE)
        honest.backlog_full += answer.get("full", 0)
        if "cgroup" in answer:
            honest.attach_ms.append(answer["took_ms"])
        else:
            honest.refusals.append(f"{answer['ended']} {answer['code']}: {answer['text']}")

    def run(self, attack: Attack, seconds: int, nice: int) -> dict:
        self.cross(Honest())  # what memgovd allocates once, it has now
        self.probe(Honest())
        honest, began, attacker = Honest(), time.monotonic(), None
        with ProcessWatch(self.governor.pid) as watch:
            while not watch.readings:
                time.sleep(0.01)
            events, began = len(self.governor.service.lines), time.monotonic()
            if attack.program:
                attacker = attack.start(BUILD, self.directory, self.evil, self.governor.socket, seconds, nice)
                self.services.append(attacker)
            self._honest_meanwhile(honest, began + seconds)
            cpu = watch.cpu_percent(began)
            survived = self.governor.service.alive
        said = [line["event"] for line in self.governor.service.lines[events:]]
        return figures(honest) | {
            "rss_grown_mib": round(mib(watch.grown(began)), 1), "cpu_percent": round(cpu, 1), "survived": survived,
            "descriptors": watch.most_descriptors(began), "log_lines": len(said), "said": {
                event: said.count(event) for event in sorted(set(said))},
            "attacker": self._counted(attacker)}

    def _honest_meanwhile(self, honest: Honest, until: float) -> None:
        def probing() -> None:
            while time.monotonic() < until and self.governor.service.alive:
                self.probe(honest)
                time.sleep(PROBE_EVERY)

        prober = threading.Thread(target=probing)
        prober.start()
        while time.monotonic() < until and self.governor.service.alive:
            self.cross(honest)
        prober.join()

    @staticmethod
    def _counted(attacker: Service | None) -> dict:
        if attacker is None:
            return {}
        attacker.process.wait(30)
        attacker.stop()
        return {key: value for key, value in attacker.lines[-1].items() if key not in ("at", "started")}

    def close(self) -> None:
        if self.tenant:
            self.tenant.stop()
        for service in reversed(self.services):
            service.stop()
        self.top.remove()


def figures(honest: Honest) -> dict:
    def part(values: list[float], percent: int) -> float | None:
        return round(percentile(values, percent), 2) if values else None

    return {"honest_crossings": len(honest.received_ms), "honest_p50_ms": part(honest.received_ms, 50),
            "honest_p99_ms": part(honest.received_ms, 99), "honest_missed": honest.missed,
            "honest_refused": len(honest.refusals), "refusal": (honest.refusals or [""])[0][:200],
            "backlog_full": honest.backlog_full, "attaches": len(honest.attach_ms), "attach_p50_ms": part(honest.attach_ms, 50),
            "attach_p99_ms": part(honest.attach_ms, 99)}


def measure(attack: Attack, seconds: int, nice: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
        rig = Rig(pathlib.Path(directory))
        try:
            return {"attack": attack.name} | rig.run(attack, seconds, nice)
        finally:
            rig.close()


def row(result: dict) -> str:
    def text(key: str, form: str = "{}") -> str:
        return "-" if result[key] is None else form.format(result[key])

    return (f"{result['attack']:<19}{text('rss_grown_mib'):>9}{text('honest_p50_ms'):>9}{text('honest_p99_ms'):>9}"
            f"{text('honest_missed'):>7}{text('honest_refused'):>8}{text('backlog_full'):>6}{text('attach_p99_ms'):>9}{text('cpu_percent'):>7}"
            f"{'yes' if result['survived'] else 'DEAD':>6}")


HEAD = "attack              grew MiB  p50 ms   p99 ms missed refused  full attach99  CPU % alive"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench hostile", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="of each attack (default 60)")
    parser.add_argument("--attack", action="append", metavar="NAME", choices=sorted(attacks.BY_NAME),
                        help="only this one; may be given again. " + ", ".join(attacks.BY_NAME))
    parser.add_argument("--nice", type=int, default=0, metavar="N",
                        help="priority of the attacker, 0 to 19 (default 0: it takes the processors from the honest client, too)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object: an object for each attack")
    options = parser.parse_args()
    if options.seconds < 1 or not 0 <= options.nice <= 19:
        parser.error("--seconds is at least 1, --nice 0 to 19")
    chosen = [attacks.BY_NAME[name] for name in options.attack or attacks.BY_NAME]
    print(f"{options.seconds} s each, attacker at nice {options.nice}\n{HEAD}", file=sys.stderr if options.json else sys.stdout)
    results = {}
    for attack in chosen:
        results[attack.name] = measure(attack, options.seconds, options.nice)
        print(row(results[attack.name]), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
