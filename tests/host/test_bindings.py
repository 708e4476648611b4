"""The C interface from other languages, against the real daemon: what a binding needs is in memgov.h alone."""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE

PROGRAMS = pathlib.Path(__file__).with_name("programs")
# Settings off: an eager jemalloc would give back before it is asked.
POLICY = ENFORCE + "    actions: [release, shed]\n"


@pytest.fixture(scope="module")
def rust_service() -> str:
    """The Rust program with tikv-jemallocator; cargo decides what is stale."""
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        pytest.skip("no cargo and rustc here (1.77 or newer, from rustup.rs or your distribution)")
    # Kept with other caches: jemalloc takes minutes to build, once.
    target = pathlib.Path(os.environ["MEMGOV_CACHE"]) / "rust" if "MEMGOV_CACHE" in os.environ else BUILD / "tests/host/rust"
    source = PROGRAMS / "rust_service"
    built = subprocess.run(["cargo", "build", "--release", "--locked", "--manifest-path", str(source / "Cargo.toml"),
                            "--target-dir", str(target)], env=os.environ | {"MEMGOV_BUILD": str(BUILD)},
                           capture_output=True, text=True)
    if built.returncode != 0 and ("failed to download" in built.stderr or "failed to get" in built.stderr
                                  or "lock file version" in built.stderr or "requires rustc" in built.stderr):
        pytest.skip(f"the crates cannot be had here: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr[-2000:]
    return str(target / "release/rust_service")


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
    crosser.say("cross 0")
    wait_until(lambda: sum(event["bytes"] for event in governor.of("returned")) >= scaled(100), DEADLINE, "what it gives")
    assert leaf.usage() < held - scaled(100)
    assert service.wait_for(lambda line: line.get("outcome"), DEADLINE, "its own word of an outcome")["outcome"] == 1
    wait_until(lambda: crosser.latest("crossed_ns"), DEADLINE, "the end of the crossing")
    # Nothing is free any more: the next crossing costs the cache.
    crosser.say("cross 0")
    service.wait_for(lambda line: line.get("gave", 0) >= MIB, DEADLINE, "what its hook gives")
    service.process.stdin.close()
    assert service.process.wait(DEADLINE) == 0, service.last_words()
    assert service.stop() == 0 and service.lines[-1] == service.lines[-1] | {"final": True}, service.last_words()
    assert stage.parent.oom_kills() == 0


def test_a_rust_program_on_jemalloc(stage, rust_service):
    serves_and_gives(stage, [rust_service, str(scaled(200) // MIB), str(scaled(60) // MIB)], "jemalloc")


def test_a_python_program_by_ctypes(stage):
    python = "/usr/bin/python3"
    if not pathlib.Path(python).exists():
        pytest.skip("no /usr/bin/python3 here (apt-get install python3)")
    library = BUILD / "client/c/libmemgov.so"
    serves_and_gives(stage, [python, str(PROGRAMS / "ctypes_service.py"), str(library), str(scaled(200) // MIB),
                             str(scaled(60) // MIB)], "glibc")
