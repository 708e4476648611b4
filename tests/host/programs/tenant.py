"""A tenant's process that connects in ways that no client library does. Started in a cgroup with the path of the governor's
socket; each command prints one JSON object.

    storm SECONDS [PER_SECOND]   connects and hangs up at once, as fast as it goes or at a rate: {"connected", "busy"}
    silent COUNT                 connections that say nothing, kept: {"kept"}
    fork COUNT                   processes that attach at once and stay: {"welcomed", "refused"}
    pass PATH                    connects, and hands the descriptor to whoever listens at PATH: {"passed"}
    orphan                       a child connects and attaches, forks and exits; its own child keeps the stream and says how it
                                 ends: {"pid", "cgroup", "ended", "text"}
    become                       a child attaches and becomes another program, which has the descriptor: {"pid", "cgroup"}
    hold MIB                     touches so much memory: {"holds"}
    end                          leaves
"""

import json
import os
import pathlib
import resource
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from harness import http2  # noqa: E402

PATIENCE = 30.0  # seconds for one attach
kept, children = [], []
memory = bytearray()


def storm(path: str, seconds: str, per_second: str = "0") -> dict:
    began, connected, busy = time.monotonic(), 0, 0
    while time.monotonic() - began < float(seconds):
        peer = socket.socket(socket.AF_UNIX)
        peer.setblocking(False)
        try:
            peer.connect(path)
            connected += 1
        except BlockingIOError:
            busy += 1
            time.sleep(0.0002)
        peer.close()
        if float(per_second):
            time.sleep(max(0.0, began + connected / float(per_second) - time.monotonic()))
    return {"connected": connected, "busy": busy}


def silent(path: str, count: str) -> dict:
    for _ in range(int(count)):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        kept.append(peer)
    return {"kept": len(kept)}


def fork(path: str, count: str) -> dict:
    """One pipe for all answers: a letter each."""
    reading, writing = os.pipe()
    for _ in range(int(count)):
        pid = os.fork()
        if pid == 0:
            try:
                connection, heard = http2.attach(path, f"worker {os.getpid()}", PATIENCE)
                os.write(writing, b"w" if isinstance(heard, http2.Welcome) else b"r")
            except (OSError, TimeoutError):
                os.write(writing, b"r")
            signal.pause()
            os._exit(0)
        children.append(pid)
    answers = b""
    while len(answers) < int(count):
        answers += os.read(reading, 4096)
    os.close(reading)
    os.close(writing)
    return {"welcomed": answers.count(b"w"), "refused": answers.count(b"r")}


def pass_on(path: str, to: str) -> dict:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(to)
    socket.send_fds(channel, [b"d"], [peer.fileno()])
    peer.close()
    return {"passed": True}


def orphan(path: str) -> dict:
    """The grandchild writes the answer, since whoever attached is dead by then."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        connection, heard = http2.attach(path, "orphan", PATIENCE)
        owner = os.getpid()
        if os.fork() == 0:
            end = connection.until_end(PATIENCE)
            answer = {"pid": owner, "cgroup": heard.cgroup, "ended": end.how, "text": end.text}
            os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    answer = os.read(reading, 4096)
    os.close(reading)
    return json.loads(answer)


def become(path: str) -> dict:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        connection, heard = http2.attach(path, "execer", PATIENCE)
        connection.socket.set_inheritable(True)
        os.write(writing, json.dumps({"pid": os.getpid(), "cgroup": heard.cgroup}).encode())
        os.execv("/bin/sleep", ["sleep", "600"])
    children.append(pid)
    answer = os.read(reading, 4096)
    os.close(reading)
    os.close(writing)
    return json.loads(answer)


def hold(path: str, mib: str) -> dict:
    memory.extend(b"x" * (int(mib) << 20))
    return {"holds": len(memory)}


COMMANDS = {"storm": storm, "silent": silent, "fork": fork, "pass": pass_on, "orphan": orphan, "become": become, "hold": hold}


def main() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for line in sys.stdin:
        word, *arguments = line.split()
        if word == "end":
            break
        print(json.dumps(COMMANDS[word](sys.argv[1], *arguments)), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
