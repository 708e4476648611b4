"""A booted guest and the conversation with the agent in it (guest/agent.sh says the protocol)."""

import base64
import dataclasses
import os
import pathlib
import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import BinaryIO, NoReturn

from . import files as files_disk
from . import image, qemu

BOOT_TIMEOUT_S = 180
POWER_OFF_S = 10


class VmError(Exception):
    """The machine failed, not the command in it; the message ends with the console's last lines."""


class VmTimeout(VmError):
    """A deadline passed; the emulator was killed."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished command. `seconds` is the command alone, `boot_seconds` from our start to the agent being ready."""
    exit_code: int
    seconds: float
    boot_seconds: float
    stdout: str
    stderr: str
    out_dir: pathlib.Path | None = None


class Machine:
    """A booted guest: `with Machine(files=...) as machine: machine.run([...])`. One thread uses it.

    `files` are (source, destination) pairs; a destination is writable, and what the guest writes is thrown away.
    Raises image.ImageError or VmError when it cannot be started.
    """

    def __init__(self, files: Iterable[files_disk.FilePair] = (), memory_mib: int = 2048, cpus: int = 2, flavour: str = "base",
                 boot_timeout_s: float = BOOT_TIMEOUT_S) -> None:
        disk_image = image.ensure(flavour)
        started = time.monotonic()
        self._scratch = pathlib.Path(tempfile.mkdtemp(prefix="memgov-vm-"))
        self._emulator: qemu.Qemu | None = None
        self._pending = b""
        try:
            disk = files_disk.make_disk(files, self._scratch)
            self._emulator = qemu.Qemu(disk_image, disk, self._scratch, memory_mib, cpus)
            self._selector = selectors.DefaultSelector()
            for name in ("control", "stdout", "stderr"):
                self._emulator.ports[name].setblocking(False)
                self._selector.register(self._emulator.ports[name], selectors.EVENT_READ, name)
            self._request(None, "ready", started + boot_timeout_s, "the guest did not boot", _Streams(False))
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - started

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close(polite=error is None)

    @property
    def alive(self) -> bool:
        return self._emulator is not None and self._emulator.process.poll() is None

    def close(self, polite: bool = False) -> None:
        """Powers the guest off (or just ends it) and removes every trace on the host. May be called again."""
        if self._emulator is not None:
            if polite and self.alive:
                self._send("off")
            self._emulator.close(POWER_OFF_S if polite else 0)
            self._emulator = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, command: Sequence[str], timeout_s: float = 600, env: Mapping[str, str] | None = None,
            cwd: str = "/root", echo: bool = False) -> Result:
        """Runs a command as root; its descendants end with it. `echo` copies its output to ours as it comes.

        Raises VmTimeout (and the machine is gone) when it does not end in time, VmError when the guest dies.
        """
        streams = _Streams(echo)
        started = time.monotonic()
        script = base64.b64encode(job_script(command, env or {}, cwd).encode()).decode()
        answer = self._request(f"run {script}", "exit", started + timeout_s,
                               f"`{shlex.join(command)}` did not end within {timeout_s:g} s", streams)
        self._drain(streams)
        return Result(int(answer), time.monotonic() - started, self.boot_seconds, streams.text("stdout"),
                      streams.text("stderr"))

    def collect(self, guest_dir: str, out_dir: str | os.PathLike[str], timeout_s: float = 120) -> pathlib.Path:
        """Copies what is in a guest directory into `out_dir`, which is made when it is missing."""
        target = pathlib.Path(out_dir)
        target.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_s
        late = f"copying {guest_dir} did not end within {timeout_s:g} s"
        size = int(self._request(f"collect {guest_dir}", "size", deadline, late, _Streams(False)))
        if size < 0:
            raise VmError(f"{guest_dir}: the guest could not read it")
        archive = self._scratch / "collected.tar"
        with archive.open("wb") as file:
            self._receive(size, file, deadline, late)
        subprocess.run(["tar", "-x", "--no-same-owner", "-f", str(archive), "-C", str(target)], check=True)
        archive.unlink()
        return target

    def _receive(self, size: int, file: BinaryIO, deadline: float, late: str) -> None:
        port = self._running().ports["archive"]
        while size > 0:
            port.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                chunk = port.recv(min(size, 1 << 20))
            except TimeoutError:
                self._fail_late(late)
            if not chunk:
                self._fail_dead()
            file.write(chunk)
            size -= len(chunk)

    def _running(self) -> qemu.Qemu:
        if self._emulator is None:
            raise VmError("the machine is gone: an earlier command did not end, or it was closed")
        return self._emulator

    def _send(self, line: str) -> None:
        port = self._running().ports["control"]
        port.setblocking(True)
        try:
            port.sendall(f"{line}\n".encode())
        except OSError:
            self._fail_dead()
        port.setblocking(False)

    def _request(self, line: str | None, answer: str, deadline: float, late: str, streams: "_Streams") -> str:
        """Sends a request and waits for the line "answer VALUE", passing on output meanwhile; returns VALUE."""
        if line is not None:
            self._send(line)
        self._running()
        while True:
            for key, _ in self._selector.select(max(0, deadline - time.monotonic())):
                chunk = self._read(key.fileobj)
                if key.data != "control":
                    streams.add(key.data, chunk or b"")
                elif chunk == b"":
                    self._fail_dead()
                elif chunk:
                    self._pending += chunk
            while b"\n" in self._pending:
                text, _, self._pending = self._pending.partition(b"\n")
                verb, _, value = text.decode(errors="replace").partition(" ")
                if verb == answer:
                    return value
            if time.monotonic() >= deadline:
                self._fail_late(late)

    def _drain(self, streams: "_Streams") -> None:
        """Reads what is left: the guest reports the exit after its last byte is in our socket."""
        for name in ("stdout", "stderr"):
            while chunk := self._read(self._running().ports[name]):
                streams.add(name, chunk)

    @staticmethod
    def _read(port: socket.socket) -> bytes | None:
        """What is there; None when nothing is, b"" when the emulator has closed its end."""
        try:
            return port.recv(1 << 16)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def _fail_late(self, what: str) -> NoReturn:
        emulator = self._running()
        message = f"{what}; killed the emulator (process {emulator.process.pid})\n{emulator.last_words()}"
        self.close()
        raise VmTimeout(message)

    def _fail_dead(self) -> NoReturn:
        emulator = self._running()
        emulator.close(grace_s=1)
        message = f"the machine stopped (emulator exit code {emulator.process.returncode})\n{emulator.last_words()}"
        self.close()
        raise VmError(message)


def run(command: Sequence[str], files: Iterable[files_disk.FilePair] = (), memory_mib: int = 2048, cpus: int = 2,
        timeout_s: float = 600, out_dir: str | os.PathLike[str] | None = None, env: Mapping[str, str] | None = None,
        cwd: str = "/root", echo: bool = True, flavour: str = "base") -> Result:
    """Boots, runs one command, copies the guest's /out to `out_dir` when given, and powers off.

    Raises VmTimeout, VmError or image.ImageError; a command that fails is a Result with its exit code.
    """
    with Machine(files, memory_mib, cpus, flavour) as machine:
        result = machine.run(command, timeout_s, env, cwd, echo)
        if out_dir is not None:
            result = dataclasses.replace(result, out_dir=machine.collect("/out", out_dir))
        return result


class _Streams:
    """What a command printed, kept, and copied to our own streams when asked."""

    def __init__(self, echo: bool) -> None:
        self._kept = {"stdout": bytearray(), "stderr": bytearray()}
        self._echo = {"stdout": sys.stdout, "stderr": sys.stderr} if echo else {}

    def add(self, name: str, chunk: bytes) -> None:
        self._kept[name] += chunk
        if chunk and name in self._echo:
            stream = self._echo[name]
            stream.flush()
            stream.buffer.write(chunk)
            stream.buffer.flush()

    def text(self, name: str) -> str:
        return self._kept[name].decode(errors="replace")


def job_script(command: Sequence[str], env: Mapping[str, str], cwd: str) -> str:
    """The shell script that runs one command; the agent turns a death by signal N into exit code 128 + N."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    lines += [f"cd {shlex.quote(cwd)} || exit 126", shlex.join(command)]
    return "\n".join(lines) + "\n"
