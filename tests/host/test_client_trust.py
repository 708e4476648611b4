"""Whom a client obeys, and what it opens: environments and sockets of people who have no say over the process."""

import base64
import os
import pathlib
import shutil
import tempfile

import pytest

from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
# As in memgov.h.
DISCONNECTED, LOCAL_WATCH = 5, 7

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as two users")


@pytest.fixture
def public():
    """A directory that everybody reaches."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="memgov-trust-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def set_user_id(public) -> pathlib.Path:
    """A program of root's with a client in it that whoever starts it runs as root."""
    if os.statvfs(public).f_flag & os.ST_NOSUID:
        pytest.skip(f"{public} is mounted nosuid")
    program = public / "program"
    shutil.copy(BUILD / "tests/workloads/observed_service", program)
    program.chmod(0o4755)
    return program


@pytest.fixture
def start(tmp_path):
    """Starts a service; it ends with the test."""
    services = []

    def run(argv, **environment) -> Service:
        services.append(Service("service", [str(word) for word in argv], directory=tmp_path, commands=True, env=environment))
        return services[-1]

    yield run
    for service in services:
        service.stop()


def first(service: Service, kind: int) -> str:
    """The text of the first event of a kind."""
    return service.wait_for(lambda line: line.get("kind") == kind, DEADLINE, f"an event of kind {kind}")["text"]


def test_a_set_user_id_program_writes_no_file_that_its_starter_names(public, set_user_id, start):
    victim = public / "victim"
    victim.write_text("root:x:0:0:root:/root:/bin/bash\n")
    victim.chmod(0o600)
    before = victim.read_text()
    attack = {"MEMGOV_LOCAL": "1", "MEMGOV_SOCKET": "/nowhere", "MEMORY_PRESSURE_WATCH": str(victim),
              "MEMORY_PRESSURE_WRITE": base64.b64encode(b"evil::0:0::/:/bin/sh\n").decode()}
    # That the program itself wants to watch makes it say what it watches.
    service = start([*AS_NOBODY, set_user_id, "--local"], **attack)
    ready = service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    assert (ready["uid"], ready["euid"]) == (NOBODY, 0), "the test is of a program that has gained rights"
    assert str(victim) not in first(service, LOCAL_WATCH)
    assert victim.read_text() == before


def test_a_set_user_id_program_ignores_each_variable(set_user_id, start):
    if pathlib.Path("/run/memgov/memgov.sock").exists():
        pytest.skip("a governor is there")
    service = start([*AS_NOBODY, set_user_id, "--local"], MEMGOV_SOCKET="/nowhere", MEMGOV_DISABLE="1", MEMGOV_LOG="1",
                    MEMGOV_LOCAL="0", MEMORY_PRESSURE_WATCH="/dev/null")
    assert "/run/memgov/memgov.sock" in first(service, DISCONNECTED), "MEMGOV_SOCKET, and MEMGOV_DISABLE"
    assert "/dev/null" not in first(service, LOCAL_WATCH), "MEMORY_PRESSURE_WATCH, and MEMGOV_LOCAL"
    assert service.log.read_text() == "", "MEMGOV_LOG"


def test_a_program_with_the_rights_of_its_starter_does_as_the_environment_says(public, start):
    service = start([BUILD / "tests/workloads/observed_service"], MEMGOV_SOCKET="/nowhere", MEMGOV_LOCAL="1")
    assert "no governor at /nowhere" in first(service, DISCONNECTED)
    assert "without a governor" in first(service, LOCAL_WATCH)


def test_nobody_writes_into_a_file_that_is_no_pressure_file(public, start):
    """Also where the environment may be believed: a name that came from somewhere else costs nobody a file."""
    victim = public / "victim"
    victim.write_text("before")
    service = start([BUILD / "tests/workloads/observed_service"], MEMGOV_SOCKET="/nowhere", MEMGOV_LOCAL="1",
                    MEMORY_PRESSURE_WATCH=str(victim), MEMORY_PRESSURE_WRITE=base64.b64encode(b"after!").decode())
    assert "names no pressure file" in first(service, LOCAL_WATCH)
    assert victim.read_text() == "before"
