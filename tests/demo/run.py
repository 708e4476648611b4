"""One run of a scene: cgroups, governor, services, redis and its filler, in this order, and their orderly end."""

from __future__ import annotations

import contextlib
import enum
import pathlib
import tempfile
import time
from collections.abc import Callable

from harness.cgroups import Cgroup, Hierarchy
from harness.figures import MIB
from harness.file_pages import read_from_outside, unread_copy, unread_file
from harness.governor import Governor, socket_in
from harness.kernel_log import KernelLog
from harness.processes import Service, ServiceError, wait_until
from harness.sampler import Sampler, Timeline

from . import scene as stage
from .result import Kill, Result, flows_again, longest_standstill, measure
from .scene import Programs, Scene

START_DEADLINE = 120.0  # seconds for services to grow, clients to attach, redis to listen
TAIL = 1.5  # seconds that are recorded after the filling ended
STALL_PATIENCE = 15.0  # seconds at the limit without an end or a kill; then it counts as stalled
AT_LIMIT = 0.98  # of the limit
SLOWNESS = 10  # a machine may take so many times as long as it should before the run is given up
LATE_AFTER = 2.0  # seconds of (nearly) no progress after which memgov comes, when it comes late


class Memgov(enum.Enum):
    OFF = "without memgov"
    ON = "with memgov"
    LATE = "memgov comes late"  # started into the stall; the clients have been waiting for it


Say = Callable[[float | None, str, str], None]  # seconds since the filling began (None before), kind, text


def run(scene: Scene, programs: Programs, hierarchy: Hierarchy, root: str, memgov: Memgov, say: Say,
        journal: pathlib.Path | None = None) -> Result:
    """Plays the scene once in the cgroup `root`; memgovd records in `journal`. DemoError or ServiceError when it could not
    be played at all."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memgov-demo-")))
        player = _Player(scene, programs, directory, memgov, say, journal)
        player.parent = stack.enter_context(Cgroup.create(hierarchy, root, scene.limit))
        player.leaves = {name: player.parent.child(name) for name in stage.TENANTS}
        player.prepare_files()
        player.log = stack.enter_context(KernelLog())
        player.sampler = stack.enter_context(
            Sampler({"total": player.parent, **player.leaves}, scene.wire, player.log))
        player.start_services(stack)
        if memgov is Memgov.ON:
            player.start_governor(stack)
        player.start_redis(stack)
        player.fill(stack)
        return player.finish()


class _Player:
    """The state of one run; run() calls the steps in their order."""

    parent: Cgroup
    leaves: dict[str, Cgroup]
    log: KernelLog
    sampler: Sampler
    governor: Governor | None = None

    def __init__(self, scene: Scene, programs: Programs, directory: pathlib.Path, memgov: Memgov, say: Say,
                 journal: pathlib.Path | None):
        self.scene, self.programs, self.directory, self.memgov, self._say = scene, programs, directory, memgov, say
        self.journal = journal
        self.services: dict[str, Service] = {}
        self.filler: Service | None = None
        self.zero: float | None = None  # monotonic time of the filling's begin
        self.result = Result(memgov is not Memgov.OFF, scene)
        self._env: dict[str, dict[str, str]] = {name: {} for name in stage.TENANTS}
        self._code: dict[str, pathlib.Path] = {}
        self._paths = dict(zip(stage.TENANTS, programs.tenants()))

    def say(self, kind: str, text: str, at: float | None = None) -> None:
        now = time.monotonic() if at is None else at
        self._say(None if self.zero is None else now - self.zero, kind, text)

    def heard(self, event: dict) -> None:
        """A line of memgovd, on its reader thread."""
        self.say(event.get("event", "?"), event.get("text") or event.get("event", "?"), event.get("t"))

    def prepare_files(self) -> None:
        if self.scene.name == "stall":
            for name, program in self._paths.items():
                self._paths[name], self._env[name] = unread_copy(program, self.directory / "copies")
            for name in stage.SERVICES[:2]:
                self._code[name] = unread_file(self.directory / "copies" / f"{name}.code", self.scene.code)
        else:
            read_from_outside(self.programs.tenants())

    def start_governor(self, stack: contextlib.ExitStack) -> None:
        """Outside the limit: a governor that needs the memory it governs would be no help. The services have been
        waiting for it; they have grown and freed by now, so that both runs begin alike."""
        self.governor = stack.enter_context(Governor(self.programs.memgovd, stage.POLICY, self.directory,
                                                     [self.parent.name], on_event=self.heard,
                                                     arguments=["--journal", str(self.journal)] if self.journal else []))
        if self.memgov is Memgov.ON:
            self.governor.wait_for("attached", START_DEADLINE, len(stage.SERVICES))

    def start_services(self, stack: contextlib.ExitStack) -> None:
        for name in stage.SERVICES:
            env = self._env[name] | {"MEMGOV_SOCKET": str(socket_in(self.directory))}
            command = stage.service_command(name, self._paths[name], self.scene, self.result.memgov,
                                            self._code.get(name))
            self.services[name] = stack.enter_context(
                Service(name, command, directory=self.directory, cgroup=self.leaves[name], env=env))
        for name, service in self.services.items():
            service.wait_for(lambda line: line.get("ready") is True, START_DEADLINE, "ready")
            self.say("tenant", f"{stage.TITLES[name]}: grew, freed 90 %, still holds "
                               f"{self.leaves[name].usage() / MIB:.0f} MiB")

    def start_redis(self, stack: contextlib.ExitStack) -> None:
        command = stage.redis_command(self._paths["redis"], self.directory)
        redis = Service("redis", command, directory=self.directory, cgroup=self.leaves["redis"],
                        env=self._env["redis"])
        self.services["redis"] = stack.enter_context(redis)
        socket = self.directory / "redis.sock"
        wait_until(lambda: socket.exists() or not redis.alive, START_DEADLINE, f"redis's socket {socket}")
        if not redis.alive:
            raise ServiceError(f"redis-server ended at once: {redis.last_words()}")

    def fill(self, stack: contextlib.ExitStack) -> None:
        """Fills redis until it is full, dead, or so slow that the run counts as stalled."""
        rate = self.scene.rate
        command = [str(self.programs.redis_fill), "--socket", str(self.directory / "redis.sock"),
                   "--total", str(self.scene.fill)] + ([] if rate is None else ["--rate", str(rate)])
        self.say("tenant", f"redis-server: {self.scene.fill / MIB:.0f} MiB of 4 KiB values are coming"
                           + (" at full speed" if rate is None else f" at {rate / MIB:.0f} MiB/s"))
        faults = self._major_faults()
        self.filler = stack.enter_context(Service("redis_fill", command, directory=self.directory))
        self.zero = self.filler.wait_for(lambda line: line.get("ready") is True, START_DEADLINE, "ready")["at"]
        deadline = self.zero + 30 + SLOWNESS * self.scene.fill / (rate or stage.FULL_SPEED)
        reported, next_look, free_at = 0, self.zero + 1, self.zero
        while self.filler.ended_at is None and time.monotonic() < free_at + STALL_PATIENCE:
            time.sleep(0.02)
            now = time.monotonic()
            reported = self._report_kills(reported)
            if self.parent.usage() < AT_LIMIT * self.scene.limit:
                free_at = now
            if now >= next_look:
                self.say("usage", self._usage_line())
                next_look = now + 1
            if now > deadline:
                raise ServiceError(f"after {now - self.zero:.0f} s {self._usage_line()}: this machine is too busy or too "
                                   "slow for the scene; try again, or a smaller --scale")
            if self.memgov is Memgov.LATE and self.governor is None and self._stands_still():
                self.say("stall", f"redis has taken next to nothing for {LATE_AFTER:.0f} s: memgov is started now")
                self.start_governor(stack)
                free_at = time.monotonic()
        self.result.stalled = self.filler.ended_at is None
        if self.result.stalled:
            self.say("stall", f"{STALL_PATIENCE:.0f} s at the limit: nothing is killed, nothing moves, and redis has "
                              f"{self.filler.latest('written_mib')} MiB of values")
        self.result.major_faults = self._major_faults() - faults
        tail = time.monotonic() + TAIL
        while time.monotonic() < tail:
            time.sleep(0.02)
            reported = self._report_kills(reported)

    def _written(self) -> list[tuple[float, float]]:
        """(seconds, MiB so far) as the filler said it."""
        return [(0.0, 0.0)] + [(line["at"] - self.zero, line["written_mib"]) for line in list(self.filler.lines)
                               if "written_mib" in line]

    def _stands_still(self) -> bool:
        """Less than a tenth of what was wanted went through lately."""
        now = time.monotonic() - self.zero
        recent = [size for when, size in self._written() if when > now - LATE_AFTER]
        wanted = LATE_AFTER * (self.scene.rate or 0) / MIB
        return now > LATE_AFTER and (not recent or recent[-1] - recent[0] < 0.1 * wanted)

    def _usage_line(self) -> str:
        usage, written = self.parent.usage() / MIB, self.filler.latest("written_mib") or 0
        return f"{usage:.0f} of {self.scene.limit / MIB:.0f} MiB used, redis has {written:.0f} MiB of values"

    def _report_kills(self, reported: int) -> int:
        kills = self.log.kills_below(self.parent.name)
        for kill in kills[reported:]:
            self.say("kill", f"the kernel kills {kill.task} (pid {kill.pid}) in {kill.cgroup}", kill.at)
        return len(kills)

    def _major_faults(self) -> int:
        return self.parent.stat().get("pgmajfault", 0)

    def finish(self) -> Result:
        """Ends everything in order and turns what was recorded into the result."""
        result = self.result
        result.ended_at = time.monotonic() - self.zero
        result.zero = self.zero
        self.filler.stop()
        result.fill = next((line for line in reversed(self.filler.lines) if line.get("final")), {})
        redis_lives = self.services["redis"].alive
        if self.governor:
            self.governor.stop()
        for service in self.services.values():
            service.stop()
        timeline = self.sampler.stop()
        if self.governor:
            result.events = [event | {"s": event["t"] - self.zero} for event in self.governor.events if "t" in event]
        result.kills = self._kills(timeline)
        for name in stage.SERVICES:
            self._judge_service(name)
        if self.memgov is Memgov.LATE and self.governor:
            result.started_at = self.governor.of("ready")[0]["t"] - self.zero
            result.flowing_at = flows_again(self._written(), result.started_at, (self.scene.rate or 0) / MIB)
        result.standstill_s = longest_standstill(self._written())
        result.completed["redis"] = redis_lives and result.fill.get("completed") is True
        result.work["redis"] = f"{result.fill.get('written_mib', 0):.0f} of {self.scene.fill / MIB:.0f} MiB written"
        measure(result, timeline, self.zero, self.filler.ended_at)
        return result

    def _judge_service(self, name: str) -> None:
        """A service did its work when it lived to the end and every byte of its data was right then."""
        last = self.services[name].lines[-1] if self.services[name].lines else {}
        right = last.get("final") is True and last.get("errors") == 0 and last.get("work_done", 0) > 0
        self.result.completed[name] = right and self.services[name].process.returncode == 0
        self.result.work[name] = "all data verified" if self.result.completed[name] else "did not finish"

    def _kills(self, timeline: Timeline) -> list[Kill]:
        """Kills by both witnesses: the leaf's counter decides, the kernel's record names the victim."""
        records = self.log.kills_below(self.parent.name)
        found = []
        for name, leaf in self.leaves.items():
            mine = [record for record in records if record.cgroup == leaf.name]
            for record in mine:
                found.append(Kill(record.at - self.zero, name, record.task, record.pid, True))
            for _ in range(timeline.oom_kills[name] - len(mine)):
                gone = self.services[name].ended_at or timeline.time_s[-1]
                found.append(Kill(gone - self.zero, name, stage.TITLES[name], self.services[name].pid, False))
        return sorted(found, key=lambda kill: kill.at)
