"""Observe mode changes nothing: it writes no knob, makes no cgroup, asks nobody. All it does to a cgroup is to register
for being woken."""

import pathlib
import signal

import pytest
from harness.inotify import DirectoryWatch
from harness.processes import wait_until

from .conftest import DEADLINE
from .policies import ENFORCE, OBSERVE

# Eventfds of v1 and pressure triggers: registrations, gone with the descriptor.
REGISTERS = {"cgroup.event_control", "memory.pressure"}


def directories(stage, *cgroups) -> list[pathlib.Path]:
    mounts = [stage.parent.hierarchy.mount] + [cgroup.path for cgroup in cgroups]
    return mounts + [cgroup.mirror for cgroup in cgroups if cgroup.mirror]


def trials(watch: DirectoryWatch) -> set[str]:
    """What trying out leaves for a watcher to see: a cgroup of memgovd's own, a request to reclaim nothing."""
    return {name for name in watch.made() if name.startswith("memgov-doctor-")} | watch.written() & {"memory.reclaim"}


def start_filler(stage):
    filler = stage.start("filler", "tests/workloads/hold_pages", commands=True)
    filler.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return filler


def needs(stage, filler) -> None:
    """Fills nine tenths of the limit and waits until memgovd has seen it."""
    size = stage.parent.limit * 9 // 10 - stage.parent.usage()
    filler.say(f"take {size >> 20}MiB")
    filler.wait_for(lambda line: line.get("taken"), DEADLINE, "taken")
    stage.governor.service.wait_for(lambda line: line.get("event") in ("woke", "critical"), DEADLINE, "a need")


@pytest.mark.parametrize("policy,arguments", [(None, []), (OBSERVE, []), (ENFORCE, ["--observe"])],
                         ids=["no-policy", "a-policy-that-observes", "--observe"])
def test_it_writes_nothing_but_registrations(stage, policy, arguments):
    filler = start_filler(stage)
    with DirectoryWatch(*directories(stage, stage.parent, filler.cgroup)) as watch:
        stage.govern(policy, *arguments)
        needs(stage, filler)
        assert trials(watch) == set()
        if stage.parent.hierarchy.version == 1:  # the mount's own files: whoever else runs here
            assert "cgroup.event_control" in watch.written(), "the watch sees what memgovd writes"
    assert not stage.events("asked")


def test_what_is_written_in_the_watched_cgroups_are_registrations_alone(stage):
    filler = start_filler(stage)
    with DirectoryWatch(*directories(stage, stage.parent, filler.cgroup)[1:]) as watch:
        stage.govern(OBSERVE)
        needs(stage, filler)
        assert watch.made() == set()
        assert watch.written() <= REGISTERS


def test_an_enforcing_policy_does_try_at_its_start(stage):
    with DirectoryWatch(*directories(stage, stage.parent)) as watch:
        stage.govern(ENFORCE)
        assert any(name.startswith("memgov-doctor-") for name in trials(watch))


def test_levers_are_tried_when_a_policy_that_enforces_is_loaded(stage):
    if stage.parent.hierarchy.version == 1:
        pytest.skip("the only lever that is tried by a write is memory.reclaim, of cgroup v2")
    with DirectoryWatch(stage.parent.hierarchy.mount) as watch:
        stage.govern(OBSERVE)
        assert "memory.reclaim" not in watch.written()
        (stage.directory / "policy.yaml").write_text(ENFORCE)
        stage.governor.service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "memory.reclaim" in watch.written(), DEADLINE, "trial of memory.reclaim")
