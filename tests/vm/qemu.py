"""The emulator process: its command line, its channels to the guest, and the promise that it never outlives us.

Software emulation only: KVM is absent or broken on many of the machines that tests run on, and a run must mean the
same everywhere. The ports' far ends are socket pairs that the child inherits, so no name can be left behind; the
guest's disks are snapshots whose temporary files live in the run's scratch directory.
"""

import os
import pathlib
import shutil
import socket
import subprocess

from . import image

PORTS = ("control", "stdout", "stderr", "archive")
CMDLINE = "console=ttyS0 quiet panic=-1 psi=1 mitigations=off random.trust_bootloader=on"


class Qemu:
    """One running emulator. Not thread-safe; close() may be called more than once.

    The thread that creates it must outlive it: the kernel kills the emulator when that thread ends.
    """

    def __init__(self, disk_image: image.Image, files_disk: pathlib.Path, scratch: pathlib.Path, memory_mib: int,
                 cpus: int) -> None:
        self.console = scratch / "console.log"
        self._log = scratch / "qemu.log"
        pairs = {name: socket.socketpair() for name in PORTS}
        self.ports = {name: ours for name, (ours, _) in pairs.items()}
        theirs = {name: end for name, (_, end) in pairs.items()}
        try:
            with self._log.open("wb") as log:
                self.process = subprocess.Popen(
                    command_line(disk_image, files_disk, self.console, {n: s.fileno() for n, s in theirs.items()},
                                 memory_mib, cpus),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    pass_fds=[end.fileno() for end in theirs.values()],
                    env={**os.environ, "PATH": image.tool_path(), "TMPDIR": str(scratch)})
        finally:
            for end in theirs.values():
                end.close()

    def close(self, grace_s: float = 0) -> None:
        """Waits that long for the guest to power off, then kills the process by its id."""
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for port in self.ports.values():
            port.close()

    def last_words(self, lines: int = 40) -> str:
        """The end of what the emulator and the guest's console printed, for a message about a failure."""
        parts = []
        for title, path in (("emulator", self._log), ("console", self.console)):
            text = path.read_text(errors="replace") if path.exists() else ""
            parts.append(f"--- {title}, last {lines} lines ---\n{tail_of(text, lines) or '(nothing)'}")
        return "\n".join(parts)


def tail_of(console: str, lines: int) -> str:
    """The last lines, and before them those back to a panic's own line: its call trace can be longer."""
    printed = [line.rstrip() for line in console.splitlines()]
    panic = next((at for at, line in enumerate(printed) if "Kernel panic" in line), len(printed))
    return "\n".join(printed[min(panic, max(0, len(printed) - lines)):])


def command_line(disk_image: image.Image, files_disk: pathlib.Path, console: pathlib.Path, ports: dict[str, int],
                 memory_mib: int, cpus: int) -> list[str]:
    """The emulator under setpriv, which makes the kernel kill it when we die, however we die."""
    setpriv = shutil.which("setpriv") or "setpriv"
    command = [setpriv, "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem",
               "-machine", "q35", "-smp", str(cpus), "-m", str(memory_mib), "-nodefaults", "-no-user-config",
               "-display", "none", "-no-reboot", "-serial", f"file:{console}", "-kernel", str(disk_image.kernel),
               "-initrd", str(disk_image.initrd), "-append", CMDLINE, "-device", "virtio-rng-pci"]
    for serial, path in (("root", disk_image.root), ("files", files_disk)):
        command += ["-drive", f"id={serial},file={_escaped(path)},format=raw,if=none,snapshot=on,cache=unsafe",
                    "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
    command += ["-device", "virtio-serial-pci"]
    for name, descriptor in ports.items():
        command += ["-chardev", f"socket,id={name},fd={descriptor}",
                    "-device", f"virtserialport,chardev={name},name=memgov.{name}"]
    return command


def _escaped(path: pathlib.Path) -> str:
    return str(path).replace(",", ",,")
