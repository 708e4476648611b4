"""kill -9 of the governor, of its guard, and of both, while a domain is braking: is a memory.high of ours left?

    brake_life.py governor|guard|both KILLS LANES

One domain for each lane: a client that is asked and never answers, so that help is always "coming", and a hog that
goes over the brake and back. Only the daemons are started anew. Prints one JSON object.
"""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

TREE = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TREE / "tests"))

from harness.cgroups import Cgroup, detect  # noqa: E402
from harness.figures import MIB, percentile  # noqa: E402
from harness.governor import Governor, socket_in  # noqa: E402
from harness.processes import Service, wait_until  # noqa: E402

BUILD = pathlib.Path(os.environ["MEMGOV_BUILD"])
MEMGOVD = BUILD / "governor/memgovd"
LIMIT = 64 * MIB
CLAIM = 16 * MIB
BASE = 47 * MIB  # relaxed: below 80 % of the limit
OVER = 57 * MIB  # the brake stands at 85 % and a MiB: 55.4
DEADLINE = 40.0
POLICY = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: life
    match: {cgroup: "/memgov-life-*/**"}
    mode: enforce
    wake: {usage: 85%, timeToLimit: never}
    critical: {usage: 98%, timeToLimit: never}
    brake: {at: 85%, longest: 60s}
    actions: [release]
    pace: {cooldown: 100ms, deadline: 60s, ttl: 60s}
"""
HOG = """\
import mmap, sys
more = int(sys.argv[1])
private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
memory, rest = mmap.mmap(-1, more, private), mmap.mmap(-1, 64 << 20, private)
def touch(where, size):
    for at in range(0, size, 4096):
        where[at] = 1
print('{"ready": true}', flush=True)
for line in sys.stdin:
    word, *size = line.split()
    if word == "base":
        touch(rest, int(size[0]))
    elif word == "up":
        touch(memory, more)
    else:
        memory.madvise(mmap.MADV_DONTNEED, 0, more)
    print('{"did": "%s"}' % word, flush=True)
"""


class Lane:
    """One domain with its governor."""

    def __init__(self, name: str, directory: pathlib.Path):
        self.directory = directory
        self.policy = directory / "policy.yaml"
        self.policy.write_text(POLICY)
        self.domain = Cgroup.create(detect(), f"/memgov-life-{name}", LIMIT)
        self.high = self.domain.path / "memory.high"
        self.state = directory / "state/brake.state"
        self.governor: Governor | None = None
        self.client = Service("client", [str(BUILD / "tests/conformance/bad_client"), "--mode", "hang", "--again",
                                         "--claim", str(CLAIM)],
                              directory=directory, cgroup=self.domain.child("client"),
                              env={"MEMGOV_SOCKET": str(socket_in(directory))})
        wait_until(lambda: self.domain.usage() > CLAIM, DEADLINE, "the client's memory")
        self.hog = Service("hog", [sys.executable, "-c", HOG, str(OVER - BASE)], directory=directory,
                           cgroup=self.domain.child("hog"), commands=True)
        self.hog.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
        self.settle()
        self.hog.say(f"base {BASE - self.domain.usage()}")
        self.hog.wait_for(lambda line: line.get("did") == "base", DEADLINE, "the base")
        self.downs = 0

    def settle(self) -> None:
        """Until the programs have started: usage is the same for a second."""
        usage, since = -1, time.monotonic()
        while time.monotonic() - since < 1:
            now = self.domain.usage()
            if abs(now - usage) > MIB // 4:
                usage, since = now, time.monotonic()
            time.sleep(0.05)

    def start(self, *arguments: str) -> None:
        self.governor = Governor(MEMGOVD, self.policy, self.directory, [self.domain.name], arguments=list(arguments))

    def brake(self) -> None:
        """Waits until the brake is armed, and drives the domain into it."""
        braking = len(self.of("braking"))
        wait_until(self.holds, DEADLINE, "an armed brake")
        self.hog.say("up")
        wait_until(lambda: len(self.of("braking")) > braking, DEADLINE, "an episode")

    def relax(self) -> None:
        self.hog.say("down")
        self.downs += 1
        wait_until(lambda: sum(line.get("did") == "down" for line in self.hog.lines) >= self.downs, DEADLINE,
                   "the hog going down")

    def of(self, kind: str) -> list[dict]:
        return self.governor.of(kind) if self.governor else []

    def holds(self) -> bool:
        return self.high.read_text() != "max\n"

    def released(self, since: float) -> float:
        """Waits until our value is gone; milliseconds from `since`."""
        wait_until(lambda: not self.holds(), DEADLINE, f"memory.high of {self.domain.name} let go", every=0.001)
        return (time.monotonic() - since) * 1000

    def reap(self) -> None:
        self.governor.service.stop()
        self.governor = None

    def close(self) -> None:
        if self.governor:
            self.governor.stop()
        self.hog.process.kill()
        self.client.process.kill()
        for service in (self.hog, self.client):
            service.stop()
        self.domain.remove()


def guard_of(daemon: int) -> int:
    """The pid of the guard: the daemon's only child."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == daemon and fields[0] != "Z":
            return int(entry.name)
    return 0


def kill_governor(lane: Lane, number: int) -> float:
    """The guard restores."""
    lane.start()
    lane.brake()
    assert lane.holds(), "it brakes"
    killed = time.monotonic()
    os.kill(lane.governor.pid, signal.SIGKILL)
    took = lane.released(killed)
    lane.reap()
    lane.relax()
    return took


def kill_guard(lane: Lane, number: int) -> float:
    """The daemon lets go, and has another guard."""
    if lane.governor is None:
        lane.start()
    started = len(lane.of("guard_started"))
    lane.brake()
    assert lane.holds(), "it brakes"
    guard = guard_of(lane.governor.pid)
    assert guard, "there is a guard"
    killed = time.monotonic()
    os.kill(guard, signal.SIGKILL)
    took = lane.released(killed)
    lane.relax()
    wait_until(lambda: len(lane.of("guard_started")) > started, DEADLINE, "another guard")
    return took


def kill_both(lane: Lane, number: int) -> float:
    """The next start restores, or --restore. Milliseconds from that start."""
    if lane.governor is None:
        lane.start()
    lane.brake()
    daemon = lane.governor.pid
    guard = guard_of(daemon)
    os.kill(lane.client.pid, signal.SIGSTOP)  # so that nothing is armed anew before it is looked at
    if number % 2 == 0:  # neither gets to react to the other's death
        os.kill(daemon, signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    os.kill(daemon, signal.SIGKILL)
    lane.reap()
    left = lane.holds()
    assert left or number % 2 == 1, "something is left to restore"
    lane.relax()
    began = time.monotonic()
    if number % 10 == 0:
        subprocess.run([MEMGOVD, "--restore", "--state-dir", lane.state.parent], check=True, timeout=DEADLINE)
    elif number % 10 == 2:  # an observing start restores too
        lane.start("--observe")
    else:
        lane.start()
    took = (time.monotonic() - began) * 1000
    assert not lane.holds() and not lane.state.exists(), "restored"
    if number % 10 == 2:
        lane.governor.stop()
        lane.governor = None
    os.kill(lane.client.pid, signal.SIGCONT)
    return took if left else -1.0


KINDS = {"governor": kill_governor, "guard": kill_guard, "both": kill_both}


def run_lane(kind: str, name: str, kills: int) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory(prefix="memgov-life-") as directory:
        lane = Lane(name, pathlib.Path(directory))
        try:
            took = [KINDS[kind](lane, number) for number in range(kills)]
            if lane.governor:
                assert lane.governor.stop() == 0
                lane.governor = None
            left = int(lane.holds() or lane.state.exists())
            assert lane.domain.oom_kills() == 0
        except BaseException:
            for event in lane.governor.events[-12:] if lane.governor else []:
                print(event.get("text", event), file=sys.stderr)
            print(f"lane {name}: high {lane.high.read_text().strip()}, usage {lane.domain.usage()}", file=sys.stderr)
            raise
        finally:
            lane.close()
    return took, left


def main() -> int:
    kind, kills, lanes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        results = list(pool.map(lambda n: run_lane(kind, f"{kind}-{n}", kills // lanes), range(lanes)))
    took = [ms for times, _ in results for ms in times]
    braked = [ms for ms in took if ms >= 0]
    print(json.dumps({"kills": len(took), "left_before": len(braked), "left_after": sum(left for _, left in results),
                      "p50_ms": round(percentile(braked, 50), 1), "max_ms": round(max(braked), 1),
                      "seconds": round(time.monotonic() - began, 1)}))
    return 0


if __name__ == "__main__":
    threading.excepthook = lambda arguments: None  # the futures carry what went wrong
    sys.exit(main())
