"""Starts the real memgovd and keeps every decision it prints.

memgovd --log-format json writes one object a line on stderr: "t" (monotonic seconds), "event", and what the event
has of domain, cgroup, client, pid, name, directive, action, bytes, usage, limit, took_ms, reason, text.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from .processes import Service

START_TIMEOUT = 20.0  # seconds; a loaded machine is slow to start anything


def socket_in(directory: pathlib.Path) -> pathlib.Path:
    """Where a governor of `directory` listens; clients may be told before it runs."""
    return directory / "memgovd.sock"


class Governor:
    """A running memgovd. Ready when the constructor returns; ends with SIGTERM."""

    def __init__(self, binary: pathlib.Path, policy: pathlib.Path | None, directory: pathlib.Path, roots: list[str],
                 *, on_event: Callable[[dict], None] | None = None, arguments: list[str] | None = None,
                 wrap: Callable[[list[str]], list[str]] | None = None):
        """`policy` None: it observes only. `roots` are cgroup paths such as "/memgov-demo". `directory` gets the socket, the state and the log.
        `on_event` runs on the reader thread. `wrap` makes the command one that runs elsewhere. ServiceError when memgovd does not come up."""
        self.socket = socket_in(directory)
        argv = [str(binary), "--socket", str(self.socket), "--state-dir", str(directory / "state"),
                "--log-format", "json"] + (["--policy", str(policy)] if policy else [])
        for root in roots:
            argv += ["--root", root]
        argv += arguments or []
        self.service = Service("memgovd", wrap(argv) if wrap else argv, directory=directory, json_on="stderr",
                               on_line=on_event)
        try:
            self.service.wait_for(lambda line: line.get("event") == "ready", START_TIMEOUT, "event ready")
        except BaseException:
            self.service.stop()
            raise

    @property
    def pid(self) -> int:
        return self.service.pid

    @property
    def events(self) -> list[dict]:
        """All lines so far, oldest first."""
        return list(self.service.lines)

    def of(self, *kinds: str) -> list[dict]:
        return [line for line in self.events if line.get("event") in kinds]

    def wait_for(self, kind: str, timeout: float, count: int = 1) -> dict:
        """The `count`-th event of `kind`."""
        seen = []

        def reached(line: dict) -> bool:
            if line.get("event") == kind:
                seen.append(line)
            return len(seen) >= count

        return self.service.wait_for(reached, timeout, f"event {kind} (number {count})")

    def stop(self) -> int:
        return self.service.stop()

    def __enter__(self) -> "Governor":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()
