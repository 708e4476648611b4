"""A process that attaches as it is told: who a connection belongs to is decided by the cgroup of the process that makes it, so a
test starts this one in a cgroup and speaks to it through its stdin.

    attach NAME    a new connection, kept: {"took_ms", "cgroup", "container"}, or {"took_ms", "ended": HOW, "code", "text"}
    probe NAME     the same, and hangs up at once
    hear SECONDS   what comes within that time on any kept connection: {"heard": [...]}
    send FILE      sends what the file holds on a new connection: how the governor ended it, as above, or "never"
    leave          hangs up all: {"left": COUNT}
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness import http2  # noqa: E402
from harness.cgroups import Cgroup  # noqa: E402
from harness.processes import Service  # noqa: E402

PATIENCE = 10.0  # seconds for one attach
PIECE = 16384


def start(name: str, directory: pathlib.Path, cgroup: Cgroup | None, socket: pathlib.Path) -> Service:
    """Such a process in `cgroup`; use its ask()."""
    return Service(name, [sys.executable, __file__, str(socket)], directory=directory, cgroup=cgroup, commands=True)


def attach(socket: str, name: str) -> tuple[http2.Connection | None, dict]:
    """One attach in the words of this program. Never raises for what the governor does. A listen queue that stays full (EAGAIN) is
    tried again as clients do, and counted as "full"."""
    began, full = time.monotonic(), 0
    while True:
        try:
            connection, heard = http2.attach(socket, name, PATIENCE)
        except BlockingIOError as error:
            connection, heard = None, http2.End(type(error).__name__, 0, str(error))
            full += 1
            if time.monotonic() - began < PATIENCE:
                time.sleep(min(1.0, 0.1 * 2 ** (full - 1)))
                continue
        except (OSError, TimeoutError) as error:
            connection, heard = None, http2.End(type(error).__name__, 0, str(error))
        break
    took = round((time.monotonic() - began) * 1000, 2)
    told = {"took_ms": took} | ({"full": full} if full else {})
    if isinstance(heard, http2.Welcome):
        return connection, told | {"cgroup": heard.cgroup, "container": heard.container}
    if connection:
        connection.close()
    end = heard if isinstance(heard, http2.End) else http2.End("no welcome", 0, str(heard))
    return None, told | {"ended": end.how, "code": end.code, "text": end.text}


def send(socket: str, file: str) -> dict:
    """Everything, or as much as the governor takes; then what it says of it."""
    octets = pathlib.Path(file).read_bytes()
    with http2.Connection(socket, PATIENCE) as connection:
        try:
            for at in range(0, len(octets), PIECE):
                connection.send(octets[at:at + PIECE])
        except OSError:
            pass  # it has hung up, or reads no more: its last words are still to be read
        try:
            end = connection.until_end(PATIENCE)
        except TimeoutError:
            return {"ended": "never"}
    return {"ended": end.how, "code": end.code, "text": end.text}


def hear(kept: list[http2.Connection], seconds: float) -> list[dict]:
    """What is said on each connection in turn."""
    heard = []
    for connection in kept:
        try:
            said = connection.next(seconds)
        except TimeoutError:
            continue
        heard.append({"kind": type(said).__name__.lower()} | dataclasses.asdict(said))
    return heard


def main() -> int:
    socket, kept = sys.argv[1], []
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command in ("attach", "probe"):
            connection, answer = attach(socket, argument or "peer")
            if connection and command == "attach":
                kept.append(connection)
            elif connection:
                connection.close()
        elif command == "hear":
            answer = {"heard": hear(kept, float(argument))}
        elif command == "send":
            answer = send(socket, argument)
        elif command == "leave":
            answer = {"left": len(kept)}
            for connection in kept:
                connection.close()
            kept.clear()
        else:
            answer = {"error": f"unknown command {command!r}"}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
