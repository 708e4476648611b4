"""What one tenant does to the governor's socket and log is its own loss, and a connection belongs to the process that made it."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from harness import http2, peer
from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE, MIB, ctl
from .policies import ENFORCE

PROGRAM = pathlib.Path(__file__).parent / "programs" / "tenant.py"


@pytest.fixture
def tenants(stage):
    """Starts processes that are told what to do, each in a cgroup of its own below the stage's parent."""
    def start(name: str, program: bool = True) -> Service:
        socket_path = stage.governor.socket
        if not program:
            service = peer.start(name, stage.directory, stage.parent.child(name), socket_path)
        else:
            service = Service(name, [sys.executable, str(PROGRAM), str(socket_path)], directory=stage.directory,
                              cgroup=stage.parent.child(name), commands=True)
        stage.services.append(service)
        return service
    return start


def probe(service: Service) -> dict:
    """The answer to one attach."""
    return service.ask("probe honest", "took_ms", DEADLINE)


# --- connections -----------------------------------------------------------------------------------------------
def test_silent_connections_of_one_tenant_shut_nobody_out(stage, tenants):
    stage.govern(ENFORCE)
    evil, good = tenants("evil"), tenants("good", program=False)
    evil.ask("silent 3000", "kept", DEADLINE)
    for _ in range(5):
        assert "cgroup" in probe(good)
    assert len(os.listdir(f"/proc/{stage.governor.pid}/fd")) < 3000, "what a tenant can make us hold is bounded"
    refused = stage.governor.service.wait_for(
        lambda line: line.get("event") == "refused" and "have not said Hello" in line["text"], DEADLINE, "a refusal")
    assert refused["tenant"].endswith("/evil")


def test_a_tenant_that_connects_and_hangs_up_all_the_time_shuts_nobody_out(stage, tenants):
    stage.govern(ENFORCE)
    evil, good = tenants("evil"), tenants("good", program=False)
    evil.say("storm 12")
    wait_until(lambda: evil.cgroup.procs(), DEADLINE, "the storm")
    for _ in range(20):
        answer = probe(good)
        assert "cgroup" in answer, answer
    evil.wait_for(lambda line: "connected" in line, DEADLINE, "the end of the storm")
    told = stage.governor.service.wait_for(lambda line: line.get("event") == "refused" and "connections" in line, DEADLINE,
                                           "a line about the refused")
    assert told["tenant"].endswith("/evil") and told["connections"] > 0
    assert len([line for line in stage.governor.of("refused") if "connections" in line]) < 10


def test_hundreds_of_workers_of_one_container_attach(stage, tenants):
    stage.parent.set_limit(1900 * MIB)  # each is a Python process
    stage.govern(ENFORCE)
    server = tenants("server")
    answer = server.ask("fork 250", "welcomed", DEADLINE)
    assert (answer["welcomed"], answer["refused"]) == (250, 0)
    assert len(stage.governor.of("attached")) == 250, "each is told"
    server.say("end")


def test_a_large_process_takes_a_small_ones_place(stage, tenants):
    """The cap is met by processes that hold next to nothing; the one that holds everything comes last."""
    stage.govern(ENFORCE, "--clients-per-tenant", "4")
    # One tenant: a cgroup of its own for all of them.
    group = stage.parent.child("many")

    def start(name: str) -> Service:
        service = Service(name, [sys.executable, str(PROGRAM), str(stage.governor.socket)], directory=stage.directory,
                          cgroup=group, commands=True)
        stage.services.append(service)
        return service

    small = start("small")
    assert small.ask("fork 4", "welcomed", DEADLINE)["welcomed"] == 4
    assert small.ask("fork 1", "welcomed", DEADLINE)["refused"] == 1
    refused = stage.governor.wait_for("refused", DEADLINE)
    assert "its most" in refused["text"] and "many" in refused["tenant"] and "python" in refused["text"]
    large = start("large")
    large.ask("hold 150", "holds", DEADLINE)
    assert large.ask("fork 1", "welcomed", DEADLINE)["welcomed"] == 1
    left = stage.governor.wait_for("detached", DEADLINE)
    assert "gave way" in left["text"]
    small.say("end")
    large.say("end")


# --- who a connection belongs to ----------------------------------------------------------------------------------
def test_a_descriptor_that_is_passed_on_belongs_to_whoever_connected(stage, tenants):
    stage.govern(ENFORCE)
    giver = tenants("giver")
    path = str(stage.directory / "pass.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        giver.say(f"pass {path}")
        channel, _ = listener.accept()
        with channel:
            _, descriptors, _, _ = socket.recv_fds(channel, 16, 1)
    with http2.Connection(socket.socket(fileno=descriptors[0])) as connection:
        connection.start([http2.hello("elsewhere")])
        welcome = connection.next(DEADLINE)
        assert isinstance(welcome, http2.Welcome) and welcome.cgroup.endswith("/giver"), welcome
        attached = stage.governor.wait_for("attached", DEADLINE)
        assert attached["pid"] == giver.cgroup.procs()[0] and attached["cgroup"].endswith("/giver")
        giver.say("end")
        end = connection.until_end(DEADLINE)
        assert end.code == 10 and "exited" in end.text, "with its process the connection ends, wherever it is"


def test_a_child_that_keeps_the_stream_of_a_dead_process_is_not_asked(stage, tenants):
    stage.govern(ENFORCE)
    parent = tenants("parent")
    answer = parent.ask("orphan", "ended", DEADLINE)
    assert answer["ended"] == "status" and "exited" in answer["text"], answer
    detached = stage.governor.wait_for("detached", DEADLINE)
    assert detached["pid"] == answer["pid"] and "exited" in detached["text"]


def test_a_process_that_becomes_another_program_is_the_same_one(stage, tenants):
    """It does not answer, and harms itself alone: its own cgroup would be credited."""
    stage.govern(ENFORCE)
    parent = tenants("parent")
    answer = parent.ask("become", "cgroup", DEADLINE)
    wait_until(lambda: pathlib.Path(f"/proc/{answer['pid']}/comm").read_text() == "sleep\n", DEADLINE, "exec")
    assert stage.governor.wait_for("attached", DEADLINE)["pid"] == answer["pid"]
    assert stage.governor.of("detached") == []
    os.kill(answer["pid"], 9)
    assert stage.governor.wait_for("detached", DEADLINE)["pid"] == answer["pid"]
    parent.say("end")


def test_a_process_that_is_moved_has_to_connect_again_and_is_named_anew(stage, tenants):
    stage.govern(ENFORCE)
    mover = tenants("from", program=False)
    to = stage.parent.child("to")
    assert mover.ask("attach mover", "took_ms", DEADLINE)["cgroup"].endswith("/from")
    to.add(mover.pid)
    left = stage.governor.wait_for("detached", DEADLINE)
    assert "was moved from cgroup" in left["text"] and left["cgroup"].endswith("/from"), left
    assert mover.ask("attach mover", "took_ms", DEADLINE)["cgroup"].endswith("/to")
    assert stage.governor.wait_for("attached", DEADLINE, 2)["cgroup"].endswith("/to")


# --- names ------------------------------------------------------------------------------------------------------------
EVIL_NAMES = [b"x\r\x1b[2K77.000 stopped", b"a\x1b[31mred", b"\xff\xfe", "u\u009b31m".encode(), "rtl\u202e".encode(),
              b'{"event":"stopped"}', b"tab\there", "line\u2028end".encode(), b"L" * 255]


def is_clean(line: bytes) -> bool:
    text = line.decode("utf-8", errors="strict")
    return all(c.isprintable() for c in text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_names_forge_no_line_and_command_no_terminal(stage, form):
    policy = stage.directory / "policy.yaml"
    policy.write_text(ENFORCE)
    log, journal = stage.directory / "log", stage.directory / "journal"
    with open(log, "wb") as stderr:
        daemon = subprocess.Popen([str(BUILD / "governor/memgovd"), "--policy", str(policy), "--socket",
                                   str(stage.directory / "memgovd.sock"), "--state-dir", str(stage.directory / "state"),
                                   "--root", stage.parent.name, "--log-format", form, "--journal", str(journal)],
                                  stderr=stderr)
    try:
        wait_until(lambda: b"ready" in log.read_bytes(), DEADLINE, "ready")
        for number, name in enumerate(EVIL_NAMES):
            directory = os.fsencode(stage.parent.path) + b"/" + name
            os.mkdir(directory)
            enter = ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', directory, sys.executable, peer.__file__,
                     str(stage.directory / "memgovd.sock")]
            heard = subprocess.run(enter, input=b"probe x\n", capture_output=True, timeout=DEADLINE).stdout
            assert b'"cgroup"' in heard, heard
            wait_until(lambda: log.read_bytes().count(b"detached") > number, DEADLINE, "the line about it")
        # A killed process's name may hold a newline.
        victim = stage.parent.child("victim", 40 * MIB)
        code = ("import ctypes; ctypes.CDLL(None).prctl(15, b'x\\n9.9 stopped\\x1b', 0, 0, 0); "
                "b = bytearray(b'x' * (300 << 20))")
        subprocess.run(victim.wrap([sys.executable, "-c", code]), check=False)
        wait_until(lambda: b"OOM kill" in log.read_bytes(), DEADLINE, "the kill")
    finally:
        daemon.terminate()
        daemon.wait(DEADLINE)
    lines = log.read_bytes().splitlines()
    for line in lines:
        assert is_clean(line), line
        assert not line.startswith((b"77.000", b"9.9")), line
        assert line.startswith(b"{") if form == "json" else line[:1].isdigit(), line
    for arguments in (["journal", "--all", journal], ["journal", "--json", journal], ["replay", journal]):
        for line in ctl(*arguments).stdout.encode().splitlines():
            assert is_clean(line), (arguments, line)
            assert not line.startswith((b"77.000", b"9.9")), line
