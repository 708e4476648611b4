"""Whoever has memory that it does not need is found and asked, wherever it is; and whoever has none to
give says why, and is left alone."""

import time

import pytest

from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE, MIB, SCALE, scaled
from .test_preload import PRELOAD, PROGRAMS, RELEASE, asked_and_gave, attached, program, start


def retain(stage, size: int, *arguments: str, **keywords) -> Service:
    """A Python program under the preload that keeps most of `size` bytes, freed."""
    service = start(stage, "retain", program("python3"), str(PROGRAMS / "retain.py"), str(size // MIB), *arguments, **keywords)
    service.wait_for(lambda line: line.get("here") if "later" in arguments else line.get("ready"), DEADLINE, "ready")
    return service


def given_by(stage, pid: int) -> int:
    return sum(event["bytes"] for event in stage.governor.of("returned") if event["pid"] == pid)


def hold(stage, cgroup, name: str = "neighbour") -> Service:
    """A neighbour without a client; it takes what it is told to."""
    service = Service(name, [str(BUILD / "tests/workloads/hold_pages")], directory=stage.directory, cgroup=cgroup, commands=True)
    stage.services.append(service)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return service


# --- in another cgroup than at first ------------------------------------------------------------------------------
def test_a_process_that_was_moved_and_grows_there_is_asked_for_its_new_cgroup(stage):
    stage.govern(RELEASE)
    old, new = stage.parent.child("old", scaled(400)), stage.parent.child("new", scaled(300))
    service = Service("mover", [program("python3"), str(PROGRAMS / "retain.py"), str(scaled(200) // MIB), "sleep", "later"],
                      directory=stage.directory, cgroup=old, commands=True,
                      env={"LD_PRELOAD": str(PRELOAD), "MEMGOV_SOCKET": str(stage.governor.socket)})
    stage.services.append(service)
    service.wait_for(lambda line: line.get("here"), DEADLINE, "here")
    attached(stage, service.pid)
    assert stage.governor.of("attached")[0]["cgroup"].endswith("/old")
    new.add(service.pid)
    service.say("grow")
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    neighbour = hold(stage, new)
    for number in range(1, 14):
        neighbour.say(f"take {scaled(10) // MIB}MiB")
        wait_until(lambda: sum("taken" in line for line in neighbour.lines) >= number, DEADLINE, "its pages")
        time.sleep(0.1)
    wait_until(lambda: given_by(stage, service.pid) >= scaled(50), DEADLINE, "memory of the process that was moved")
    assert stage.governor.of("attached")[-1]["cgroup"].endswith("/new")
    assert {event["domain"] for event in stage.governor.of("asked")} == {new.name}
    assert service.alive and neighbour.alive and new.oom_kills() == 0


# --- among many ---------------------------------------------------------------------------------------------------
def test_a_large_process_that_comes_after_eighty_small_ones_is_asked(stage):
    if SCALE < 0.5:
        pytest.skip("eighty processes do not shrink with the sizes: they take most of the room")
    stage.govern(RELEASE)
    server = start(stage, "server", "tests/bench/bench_workers", "80", "512")
    wait_until(lambda: len(stage.governor.of("attached")) >= 80, DEADLINE, "the small ones")
    service = retain(stage, scaled(200), "sleep")
    attached(stage, service.pid)
    asked_and_gave(stage, service)
    assert server.alive


# --- those that have nothing to give ------------------------------------------------------------------------------
def test_memory_that_is_locked_is_not_given_and_that_is_said(stage):
    stage.govern(RELEASE)
    service = retain(stage, scaled(200), "sleep", "lock")
    attached(stage, service.pid)
    stage.start_crosser(scaled(150)).say("cross 0")
    wait_until(lambda: any("locked" in event["text"] for event in stage.events("declined") if event["pid"] == service.pid),
               DEADLINE, "its reason")
    assert service.alive, service.last_words()
