"""cgroup v1, where no memory.high slows anybody: a policy may let the fastest grower stand still for a moment while a
client gives memory back. Whoever dies meanwhile, nobody stays frozen."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest
from harness.containers import sweep
from harness.figures import MIB
from harness.processes import wait_until

from .conftest import BUILD, DEADLINE, scaled
from .policies import ENFORCE

FREEZE = ENFORCE + """\
    brake: {freeze: true}
"""
# Long enough to be killed in.
LONG_FREEZE = ENFORCE + """\
    brake: {freeze: true, freezeLongest: 5s}
    pace: {deadline: 10s}
"""


@pytest.fixture
def freezer(hierarchy, stage):
    """Where the stage's cgroups are in the freezer's hierarchy."""
    if hierarchy.version == 2:
        pytest.skip("cgroup v2 has memory.high: nobody is frozen there")
    mount = hierarchy.mount.parent / "freezer"
    if not (mount / "tasks").exists():
        pytest.skip(f"no freezer hierarchy at {mount}")
    group = mount / stage.parent.name.lstrip("/")
    yield group
    for file in group.glob("*/freezer.state"):  # what is frozen cannot even die
        file.write_text("THAWED")
    for service in stage.services:
        if service.alive:
            service.process.kill()
            service.process.wait(DEADLINE)
    sweep(stage.parent.name)


def state(group: pathlib.Path) -> str:
    return (group / "freezer.state").read_text().strip()


class Grower:
    """A tenant without a client that grows in steps, in the same cgroup of both hierarchies."""

    def __init__(self, stage, freezer: pathlib.Path):
        self.service = stage.start("grower", "tests/workloads/hold_pages", commands=True)
        self.service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
        self.group = freezer / "grower"
        self.group.mkdir(parents=True)
        (self.group / "cgroup.procs").write_text(str(self.service.pid))

    def grow(self, stage, percent: int) -> None:
        """In steps of 4 MiB, 50 a second at most, up to so much of the limit."""
        size = stage.parent.limit * percent // 100 - stage.parent.usage()
        for _ in range(size // (4 * MIB)):
            self.service.say("take 4MiB")
            time.sleep(0.02)


def freeze_somebody(stage, freezer: pathlib.Path) -> Grower:
    """A client that is slow to answer, because it stands still too, and a grower that is frozen meanwhile."""
    client = stage.start_retaining("jemalloc", scaled(300))
    stage.govern(LONG_FREEZE)
    stage.governor.wait_for("attached", DEADLINE)
    grower = Grower(stage, freezer)
    time.sleep(2.5)  # two readings at rest: growth is what comes then
    client.process.send_signal(signal.SIGSTOP)
    grower.grow(stage, 97)
    stage.governor.wait_for("frozen", DEADLINE)
    wait_until(lambda: state(grower.group) == "FROZEN", DEADLINE, "the grower stands still", every=0.001)
    return grower


def guard_of(pid: int) -> int:
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children
                if pathlib.Path(f"/proc/{child}/comm").read_text() == "memgov-guard\n")


def test_the_fastest_grower_stands_still_while_a_client_gives(stage, freezer):
    client = stage.start_retaining("jemalloc", scaled(300))
    stage.govern(FREEZE)
    stage.governor.wait_for("attached", DEADLINE)
    grower = Grower(stage, freezer)
    time.sleep(2.5)
    client.process.send_signal(signal.SIGSTOP)  # so that the request is under way for long enough to be seen
    grower.grow(stage, 97)
    frozen = stage.governor.wait_for("frozen", DEADLINE)
    assert frozen["cgroup"] == f"{stage.parent.name}/grower"
    client.process.send_signal(signal.SIGCONT)
    thawed = stage.governor.wait_for("thawed", DEADLINE)
    print(f"{frozen['text']}\n{thawed['text']}")
    assert 0 < thawed["took_ms"] < 700, "half a second at most, and what a loaded machine adds"
    stage.governor.wait_for("returned", DEADLINE)
    wait_until(lambda: state(grower.group) == "THAWED", DEADLINE, "the grower goes on")
    assert len(stage.events("frozen")) == len(stage.events("thawed"))
    assert client.alive and grower.service.alive
    assert stage.events("oom_kill") == []
    assert stage.governor.stop() == 0
    assert not (stage.directory / "state/freeze.state").exists()


def test_a_policy_that_does_not_ask_freezes_nobody(stage, freezer):
    client = stage.start_retaining("jemalloc", scaled(300))
    stage.govern(ENFORCE)
    stage.governor.wait_for("attached", DEADLINE)
    grower = Grower(stage, freezer)
    time.sleep(2.5)
    client.process.send_signal(signal.SIGSTOP)
    grower.grow(stage, 97)
    stage.governor.wait_for("critical", DEADLINE)
    client.process.send_signal(signal.SIGCONT)
    stage.governor.wait_for("returned", DEADLINE)
    assert stage.events("frozen") == []
    assert state(grower.group) == "THAWED"


def test_the_guard_thaws_when_the_daemon_is_killed(stage, freezer):
    grower = freeze_somebody(stage, freezer)
    os.kill(stage.governor.pid, signal.SIGKILL)
    wait_until(lambda: state(grower.group) == "THAWED", DEADLINE, "the guard thaws")
    wait_until(lambda: not (stage.directory / "state/freeze.state").exists(), DEADLINE, "and the record goes")
    assert grower.service.alive


@pytest.mark.parametrize("by", ["--restore", "the next start"])
def test_when_both_are_killed_the_next_one_thaws(stage, freezer, by):
    grower = freeze_somebody(stage, freezer)
    guard = guard_of(stage.governor.pid)
    os.kill(stage.governor.pid, signal.SIGSTOP)  # or it would thaw, and start another guard
    os.kill(guard, signal.SIGKILL)
    os.kill(stage.governor.pid, signal.SIGKILL)
    stage.governor.service.process.wait(DEADLINE)
    assert state(grower.group) == "FROZEN", "nobody is left to thaw it"
    if by == "--restore":
        subprocess.run([str(BUILD / "governor/memgovd"), "--restore", "--state-dir", str(stage.directory / "state")],
                       check=True, timeout=DEADLINE)
    else:
        stage.govern(ENFORCE)
    assert state(grower.group) == "THAWED"
    assert not (stage.directory / "state/freeze.state").exists()
    assert grower.service.alive


def mended(stage) -> bool:
    return any("stands still longer" in event["text"] for event in stage.events("mended"))


def test_a_thaw_needs_no_descriptor(stage, freezer):
    """A tenant that holds connections must not be able to keep another one frozen."""
    grower = freeze_somebody(stage, freezer)
    pid = stage.governor.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
    try:
        wait_until(lambda: state(grower.group) == "THAWED", DEADLINE, "it is thawed without a descriptor")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    wait_until(lambda: not (stage.directory / "state/freeze.state").exists(), DEADLINE, "and the record goes")


def test_a_thaw_that_fails_is_tried_again_and_the_note_of_it_ends(stage, freezer):
    freeze_somebody(stage, freezer)
    record = stage.directory / "state/freeze.state"
    record.unlink()
    record.mkdir()  # so that it cannot be removed
    note = stage.governor.service.wait_for(
        lambda line: line.get("event") == "degraded" and "stands still longer" in line["text"], DEADLINE, "a note")
    status = stage.directory / "state/status.json"
    wait_until(lambda: note["text"] in json.loads(status.read_text())["degraded"], DEADLINE, "status.json says so too")
    record.rmdir()
    wait_until(lambda: mended(stage), DEADLINE, "it is mended")
    wait_until(lambda: note["text"] not in json.loads(status.read_text())["degraded"], DEADLINE, "there as well")


def test_the_guard_thaws_when_the_daemon_does_not_run(stage, freezer):
    grower = freeze_somebody(stage, freezer)
    pid = stage.governor.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: state(grower.group) == "THAWED", DEADLINE, "the guard thaws")
        assert (stage.directory / "state/freeze.state").exists(), "the record is the daemon's"
    finally:
        os.kill(pid, signal.SIGCONT)
    stage.governor.wait_for("thawed", DEADLINE)
    wait_until(lambda: not (stage.directory / "state/freeze.state").exists(), DEADLINE, "the record goes")
    assert state(grower.group) == "THAWED"
    assert grower.service.alive
