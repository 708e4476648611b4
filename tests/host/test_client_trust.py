"""Whom a client obeys, and what it opens: environments and sockets of people who have no say over the process."""

import base64
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
# As in memgov.h.
CONNECTED, DIRECTIVE, DISCONNECTED, LOCAL_WATCH = 1, 3, 5, 7

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


# --- who listens ---------------------------------------------------------------------------------------------

LISTENER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print('{"listening": true}', flush=True)
kept = []
while True:
    connection = listener.accept()[0]
    kept.append(connection)
    print('{"heard": %d}' % len(connection.recv(1)), flush=True)
"""


@pytest.fixture
def listen(start):
    """A listener at a socket, as nobody unless `by` says otherwise."""
    def run(socket: pathlib.Path, by: list[str] = AS_NOBODY) -> Service:
        listener = start([*by, "/usr/bin/python3", "-c", LISTENER, socket])
        listener.wait_for(lambda line: line.get("listening"), DEADLINE, "a socket")
        socket.chmod(0o777)
        return listener

    return run


@pytest.fixture
def program(public) -> pathlib.Path:
    """A program with a client in it that everybody may run."""
    return pathlib.Path(shutil.copy(BUILD / "tests/workloads/observed_service", public / "service"))


def make_directory(path: pathlib.Path, mode: int, owner: int = 0) -> pathlib.Path:
    path.mkdir()
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o1777, 0), (0o755, NOBODY)])
def test_a_service_of_roots_does_not_obey_somebody_else(public, program, start, listen, mode, owner):
    socket = make_directory(public / "run", mode, owner) / "memgov.sock"
    listener = listen(socket)
    why = first(start([program], MEMGOV_SOCKET=str(socket)), DISCONNECTED)
    assert f"not obeying {socket}: it belongs to user {NOBODY}, and only root or our own user (0)" in why
    assert "run memgovd as" in why, "what to do"
    assert listener.wait_for(lambda line: "heard" in line, DEADLINE, "a connection")["heard"] == 0, "not a word was said"


@pytest.mark.parametrize("by", [AS_NOBODY, []])
def test_a_service_obeys_root_and_its_own_user(public, program, start, listen, by):
    socket = make_directory(public / "run", 0o777) / "memgov.sock"
    listen(socket, by)
    assert first(start([*AS_NOBODY, program], MEMGOV_SOCKET=str(socket)), CONNECTED) == str(socket)


@pytest.mark.parametrize(("mode", "obeys"), [(0o755, True), (0o777, False)])
def test_in_a_user_namespace_roots_directory_tells(public, program, start, listen, mode, obeys):
    """There the host's root shows as nobody, as everybody does who is not in the namespace."""
    inside = [*AS_NOBODY, "unshare", "--user", "--map-root-user"]
    if subprocess.run([*inside, "true"], capture_output=True, timeout=DEADLINE).returncode != 0:
        pytest.skip("no user namespaces for users here")
    socket = make_directory(public / "run", mode) / "memgov.sock"
    listen(socket, [])
    service = start([*inside, program], MEMGOV_SOCKET=str(socket))
    if obeys:
        assert first(service, CONNECTED) == str(socket)
    else:
        assert "others can write its directory" in first(service, DISCONNECTED)


# --- what it may cost ----------------------------------------------------------------------------------------

FLOOD = """
import itertools, socket, struct, sys
def frame(kind, stream, payload, flags=0):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
def message(body):
    return frame(0, 1, b"\\0" + struct.pack(">I", len(body)) + body)
floods = {
    "releases": message(b"\\x12\\x06\\x08\\x07\\x3a\\x02\\x08\\x01") * 50,
    "modes": message(b"\\x12\\x09\\x08\\x07\\x18\\xe8\\x07\\x32\\x02\\x08\\x02") * 50,
    "welcomes": message(b"\\x0a\\x02\\x18\\x01") * 50,
    "pings": frame(6, 0, b"12345678") * 1000,
    "settings": frame(4, 0, struct.pack(">HI", 4, 70000)) * 500,
    "nothing": frame(0, 1, b"") * 1000,
}
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print('{"listening": true}', flush=True)
for count in itertools.count(1):
    connection = listener.accept()[0]
    print('{"connections": %d}' % count, flush=True)
    try:
        connection.recv(1)
        connection.sendall(frame(4, 0, b"") + frame(1, 1, b"\\x88", 4) + message(b"\\x0a\\x02\\x18\\x01"))
        while True:
            connection.sendall(floods[sys.argv[2]])
    except OSError:
        connection.close()
"""


@pytest.mark.parametrize("flood", ["releases", "modes", "welcomes", "pings", "settings", "nothing"])
def test_a_governor_that_floods_is_left(public, program, start, flood):
    socket = public / "memgov.sock"
    governor = start(["/usr/bin/python3", "-c", FLOOD, socket, flood])
    governor.wait_for(lambda line: line.get("listening"), DEADLINE, "a socket")
    service = start([program], MEMGOV_SOCKET=str(socket))
    why = first(service, DISCONNECTED)
    assert "the governor floods us" in why or "not valid HTTP/2" in why and flood in ("pings", "settings"), why
    # 512 at once, and 200 more a second while it lasts.
    assert sum(line.get("kind") == DIRECTIVE for line in service.lines) <= 1500
