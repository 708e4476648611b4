"""The C interface from other languages, against the real daemon: what a binding needs is in memgov.h alone."""

import pathlib
import time
from collections.abc import Callable

import pytest

from harness.processes import Service, wait_until
from harness.rust import RustProgram, Unavailable

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE

PROGRAMS = pathlib.Path(__file__).with_name("programs")
# Settings off: an eager jemalloc would give back before it is asked.
POLICY = ENFORCE + "    actions: [release, shed]\n"


def rust_service(feature: str, native: str) -> str:
    try:
        return str(RustProgram(PROGRAMS / "rust_service", feature, build=BUILD, native=native).build())
    except Unavailable as why:
        pytest.skip(str(why))


def cross_until(crosser: Service, given: Callable[[], bool], what: str) -> None:
    """Over the wire, and again if the crossing has ended before: on a busy machine a request may stop early, where one
    slice took longer than the policy's stall bound."""
    def ended() -> int:
        return sum("crossed_ns" in line for line in list(crosser.lines))

    deadline = time.monotonic() + DEADLINE
    while not given():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE} s"
        before = ended()
        crosser.say("cross 0")
        wait_until(lambda: ended() > before or given(), DEADLINE, "the end of the crossing")


def serves_and_gives(stage, command: list[str], runtime: str) -> None:
    """It attaches, is asked for what it holds free and then for its cache, gives, and ends as it should."""
    governor = stage.govern(POLICY)
    leaf = stage.parent.child("service")
    service = Service("service", command, directory=stage.directory, cgroup=leaf, commands=True,
                      env={"MEMGOV_SOCKET": str(governor.socket)})
    stage.services.append(service)
    service.wait_for(lambda line: line.get("ready") and line["version"], DEADLINE, "ready")
    assert runtime in governor.wait_for("attached", DEADLINE)["text"]
    held = leaf.usage()
    crosser = stage.start_crosser(scaled(150))
    cross_until(crosser, lambda: sum(event["bytes"] for event in governor.of("returned")) >= scaled(100), "what it gives")
    assert leaf.usage() < held - scaled(100)
    assert service.wait_for(lambda line: line.get("outcome"), DEADLINE, "its own word of an outcome")["outcome"] == 1
    wait_until(lambda: crosser.latest("crossed_ns"), DEADLINE, "the end of the crossing")
    # Nothing is free any more: the next crossing costs the cache.
    cross_until(crosser, lambda: any(line.get("gave", 0) >= MIB for line in list(service.lines)), "what its hook gives")
    service.process.stdin.close()
    assert service.process.wait(DEADLINE) == 0, service.last_words()
    assert service.stop() == 0 and service.lines[-1] == service.lines[-1] | {"final": True}, service.last_words()
    assert stage.parent.oom_kills() == 0


def test_a_rust_program_on_jemalloc(stage):
    program = rust_service("jemalloc", "tikv-jemalloc-sys")
    serves_and_gives(stage, [program, str(scaled(200) // MIB), str(scaled(60) // MIB)], "jemalloc")


def test_a_rust_program_on_google_tcmalloc(stage):
    """Also what a load needed a moment ago, which tcmalloc by itself would keep for minutes."""
    program = rust_service("tcmalloc", "libtcmalloc-sys")
    serves_and_gives(stage, [program, str(scaled(200) // MIB), str(scaled(60) // MIB)], "google/tcmalloc + glibc")


def test_a_python_program_by_ctypes(stage):
    python = "/usr/bin/python3"
    if not pathlib.Path(python).exists():
        pytest.skip("no /usr/bin/python3 here (apt-get install python3)")
    library = BUILD / "client/c/libmemgov.so"
    serves_and_gives(stage, [python, str(PROGRAMS / "ctypes_service.py"), str(library), str(scaled(200) // MIB),
                             str(scaled(60) // MIB)], "glibc")
