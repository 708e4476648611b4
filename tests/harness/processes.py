"""Services under test: started (inside a cgroup or not), heard through the JSON lines they print, ended by pid.

A reader thread stamps every line on arrival; waits have deadlines and say what the service last said.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from .cgroups import Cgroup


class ServiceError(RuntimeError):
    """A service did not start, did not answer in time or broke off; the message holds its last words."""


class Service:
    """One process that prints JSON objects, one a line, on stdout (or on stderr, as memgovd does)."""

    def __init__(self, name: str, argv: list[str], *, directory: pathlib.Path, cgroup: Cgroup | None = None,
                 env: dict[str, str] | None = None, json_on: str = "stdout",
                 on_line: Callable[[dict], None] | None = None, commands: bool = False):
        """`directory` gets NAME.log with everything that is not JSON. `env` is added to ours.
        `on_line` runs on the reader thread for each object; it must not block. With `commands` say() reaches its
        stdin; otherwise that is empty."""
        self.name = name
        self.argv = argv
        self.cgroup = cgroup
        self.log = directory / f"{name}.log"
        self.lines: list[dict] = []
        self.ended_at: float | None = None  # monotonic: when the pipe closed, so the process was gone
        self._changed = threading.Condition()
        self._on_line = on_line
        self.log.write_bytes(b"")
        with open(self.log, "ab") as log:
            streams = {"stdout": log, "stderr": log, json_on: subprocess.PIPE}
            self.process = subprocess.Popen(cgroup.wrap(argv) if cgroup else argv, stdin=subprocess.PIPE if commands else subprocess.DEVNULL,
                                            cwd=directory, env=os.environ | (env or {}), **streams)
        self._pipe = getattr(self.process, json_on)
        self._reader = threading.Thread(target=self._read, name=f"read {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with open(self.log, "ab", buffering=0) as log:
            for raw in self._pipe:
                now = time.monotonic()
                try:
                    line = json.loads(raw)
                except ValueError:
                    line = None
                if not isinstance(line, dict):
                    log.write(raw)
                    continue
                line["at"] = now  # when we heard it; "t", if any, is when it was said
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
                if self._on_line:
                    self._on_line(line)
        with self._changed:
            self.ended_at = time.monotonic()
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    def say(self, command: str) -> None:
        """Sends one line to its stdin. ServiceError when it is gone."""
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ServiceError(f"{self.name} has gone: {self.last_words()}") from None

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, wanted: Callable[[dict], bool], timeout: float, what: str, since: int = 0) -> dict:
        """The first line, past (but for the first `since`) or future, for which `wanted` holds. ServiceError when the
        service ends before it or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        seen = since
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if wanted(line):
                        return line
                seen = len(self.lines)
                if self.ended_at is not None:
                    raise ServiceError(f"{self.name} ended before {what}: {self.last_words()}")
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise ServiceError(f"{self.name}: no {what} within {timeout:.0f} s: {self.last_words()}")

    def ask(self, command: str, key: str, timeout: float) -> dict:
        """Sends a command; the first line after it that has `key`. ServiceError as wait_for()."""
        with self._changed:
            before = len(self.lines)
        self.say(command)
        return self.wait_for(lambda line: key in line, timeout, f"an answer to {command!r}", since=before)

    def rollup(self) -> dict[str, int]:
        """Its smaps_rollup by name ("Rss", "LazyFree"), bytes; empty when it is gone."""
        try:
            text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        except OSError:
            return {}
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines()[1:]}

    def latest(self, key: str) -> object | None:
        """The value in the last line that has `key`."""
        with self._changed:
            return next((line[key] for line in reversed(self.lines) if key in line), None)

    def last_words(self) -> str:
        """Exit status, last JSON line and the end of the log, for messages."""
        status = self.process.poll()
        try:
            tail = self.log.read_text(errors="replace")[-600:].strip()
        except OSError:
            tail = ""
        said = json.dumps(self.lines[-1]) if self.lines else "nothing"
        return f"exit status {status}, last line {said}" + (f", log: {tail}" if tail else "")

    def killed(self) -> bool:
        """Whether it ended by SIGKILL. Alone this proves no OOM kill: ask kernel_log and the leaf's counter."""
        return self.process.poll() == -signal.SIGKILL

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, then SIGKILL after `timeout` seconds. Returns the exit status; all lines are read by then."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait(timeout)
        self._reader.join(timeout)
        return status

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()


def wait_until(condition: Callable[[], bool], timeout: float, what: str, every: float = 0.01) -> None:
    """Polls `condition`. ServiceError with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(f"{what}: not within {timeout:.0f} s")
        time.sleep(every)
