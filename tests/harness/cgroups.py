"""Memory cgroups on v1, hybrid and v2 hosts: create, limit, fill, read and remove them.

Only cgroups whose first name starts with "memgov-" are ever made, written or removed, so that nothing here can
hurt what runs on the host beside us. Sizes are bytes.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
import signal
import time

PREFIX = "memgov-"
_UNLIMITED_V1 = 2**60  # v1 shows "no limit" as 2**63 less a page
_LAUNCHER = 'echo 0 > "$0" && { [ -z "$1" ] || echo 0 > "$1"; } && shift && exec "$@"'


class CgroupError(RuntimeError):
    """The host's cgroups do not offer what is needed; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """Where this host keeps its memory controller."""

    version: int  # 1 or 2
    mount: pathlib.Path  # what is the path "/" in memgov's words
    hybrid: bool  # memory on v1 with a v2 tree beside it
    unified: pathlib.Path | None  # the v2 tree; on a hybrid host it has PSI but no memory files

    def describe(self) -> str:
        kind = "hybrid, memory on v1" if self.hybrid else f"v{self.version}"
        return f"cgroup {kind} at {self.mount}"


def mounts(mountinfo: str) -> list[tuple[pathlib.Path, str, list[str]]]:
    """(mount point, file system, super options) of each line of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) >= 5 and len(tail) >= 3:
            point = fields[4].encode().decode("unicode_escape")  # the kernel writes a space as \040
            found.append((pathlib.Path(point), tail[0], tail[2].split(",")))
    return found


def detect(mountinfo: str | None = None) -> Hierarchy:
    """Finds the memory controller. CgroupError when this host has none that we can see."""
    if mountinfo is None:
        mountinfo = pathlib.Path("/proc/self/mountinfo").read_text()
    unified = memory_v1 = None
    for point, kind, options in mounts(mountinfo):
        if kind == "cgroup2" and unified is None:
            unified = point
        elif kind == "cgroup" and "memory" in options and memory_v1 is None:
            memory_v1 = point
    if memory_v1 is not None:
        return Hierarchy(1, memory_v1, unified is not None, unified)
    if unified is None:
        raise CgroupError("no cgroup file system is mounted here: run on a host or in a VM with cgroups, or try --vm")
    controllers = unified / "cgroup.controllers"
    if controllers.exists() and "memory" not in controllers.read_text().split():
        raise CgroupError(f"{controllers} does not list the memory controller (kernel parameter cgroup_disable=memory,"
                          " or a container without delegation): use another host, or --vm")
    return Hierarchy(2, unified, False, unified)


class Cgroup:
    """One cgroup that we made. Use as a context manager: leaving it kills what is inside and removes it."""

    def __init__(self, hierarchy: Hierarchy, name: str):
        """`name` is the path below the hierarchy's root, for example "/memgov-demo/redis"."""
        if not name.startswith("/" + PREFIX) or ".." in name.split("/"):
            raise ValueError(f"cgroup {name!r}: the harness touches only cgroups named /{PREFIX}*")
        self.hierarchy = hierarchy
        self.name = name
        self.path = hierarchy.mount / name.lstrip("/")
        # Hybrid: the same path in the v2 tree, where the pressure of its tasks is counted. runc does so, too.
        self.mirror = hierarchy.unified / name.lstrip("/") if hierarchy.hybrid and hierarchy.unified else None
        self._children: list[Cgroup] = []

    @classmethod
    def create(cls, hierarchy: Hierarchy, name: str, limit: int | None = None) -> "Cgroup":
        """Makes the cgroup, removing one that an earlier run left behind. OSError when the host forbids it."""
        group = cls(hierarchy, name)
        if group.path.exists():
            group.remove()
        if hierarchy.version == 2:
            _enable_memory(group.path.parent)
        try:
            group.path.mkdir()
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise CgroupError(f"cannot create {group.path}: {error.strerror}; "
                                  "run as root on a host whose cgroups are writable, or try --vm") from error
            raise
        if group.mirror:
            try:
                group.mirror.mkdir(exist_ok=True)
            except OSError:
                group.mirror = None  # pressure is then not told
        if limit is not None:
            group.set_limit(limit)
        return group

    def child(self, name: str, limit: int | None = None) -> "Cgroup":
        """Makes a cgroup below this one; it is removed with this one."""
        group = Cgroup.create(self.hierarchy, f"{self.name}/{name}", limit)
        self._children.append(group)
        return group

    def __enter__(self) -> "Cgroup":
        return self

    def __exit__(self, *exc) -> None:
        self.remove()

    # --- limits and readings ---------------------------------------------------------------------------------
    def set_limit(self, limit: int | None) -> None:
        """Limits memory and, where the host has swap, forbids it: a limit that swaps tells nothing about kills."""
        if self.hierarchy.version == 2:
            self._write("memory.max", "max" if limit is None else limit)
            if limit is not None and (self.path / "memory.swap.max").exists():
                self._write("memory.swap.max", 0)
            return
        memsw = self.path / "memory.memsw.limit_in_bytes"  # of memory and swap, never less than that of memory
        if limit is None or not memsw.exists():
            self._write("memory.limit_in_bytes", -1 if limit is None else limit)
            return
        rises = limit > int(memsw.read_text())
        for name in (memsw.name, "memory.limit_in_bytes") if rises else ("memory.limit_in_bytes", memsw.name):
            self._write(name, limit)

    @property
    def limit(self) -> int | None:
        text = self._read("memory.max" if self.hierarchy.version == 2 else "memory.limit_in_bytes").strip()
        return None if text == "max" or int(text) >= _UNLIMITED_V1 else int(text)

    def usage(self) -> int:
        return int(self._read(self.usage_file.name))

    @property
    def usage_file(self) -> pathlib.Path:
        return self.path / ("memory.current" if self.hierarchy.version == 2 else "memory.usage_in_bytes")

    def peak(self) -> int | None:
        """Highest usage so far; None on kernels without it (v2 before 5.19)."""
        name = "memory.peak" if self.hierarchy.version == 2 else "memory.max_usage_in_bytes"
        return int(self._read(name)) if (self.path / name).exists() else None

    def stat(self) -> dict[str, int]:
        """memory.stat, subtree included: on v1 the total_ fields under the names that v2 gives them."""
        fields = parse_pairs(self._read("memory.stat"))
        if self.hierarchy.version == 2:
            return fields
        total = {key[len("total_"):]: value for key, value in fields.items() if key.startswith("total_")}
        return total | {"anon": total.get("rss", 0), "file": total.get("cache", 0)}

    @property
    def oom_kill_file(self) -> pathlib.Path:
        return self.path / ("memory.events" if self.hierarchy.version == 2 else "memory.oom_control")

    def oom_kills(self) -> int:
        """Kills so far. v2: in the subtree. v1: in this cgroup itself (a parent's count stays 0)."""
        return parse_pairs(self._read(self.oom_kill_file.name)).get("oom_kill", 0)

    # --- processes -------------------------------------------------------------------------------------------
    def procs(self) -> list[int]:
        return [int(pid) for pid in self._read("cgroup.procs").split()]

    def add(self, pid: int) -> None:
        """Moves a process. On v1 its pages stay charged where they are: prefer to start it inside with wrap()."""
        self._write("cgroup.procs", pid)

    def wrap(self, argv: list[str]) -> list[str]:
        """A command that enters this cgroup and then becomes `argv`, so that all it allocates is charged here."""
        mirror = str(self.mirror / "cgroup.procs") if self.mirror else ""
        return ["/bin/sh", "-c", _LAUNCHER, str(self.path / "cgroup.procs"), mirror, *argv]

    def kill(self) -> None:
        """SIGKILL to every process in here and below, by pid."""
        for directory in self._directories():
            try:
                pids = (directory / "cgroup.procs").read_text().split()
            except OSError:
                continue
            for pid in pids:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def remove(self, timeout: float = 20.0) -> None:
        """Kills what is left and removes the subtree; waits for dying processes to leave. Idempotent."""
        deadline = time.monotonic() + timeout
        while self.path.exists() or (self.mirror and self.mirror.exists()):
            self.kill()
            for directory in self._directories():
                try:
                    directory.rmdir()
                except OSError as error:
                    if error.errno not in (errno.EBUSY, errno.ENOENT, errno.ENOTEMPTY):
                        raise
            if time.monotonic() > deadline:
                raise CgroupError(f"cannot remove {self.path}: still busy after {timeout:.0f} s")
            time.sleep(0.02)
        self._children.clear()

    def _directories(self) -> list[pathlib.Path]:
        """This cgroup and all below it, the deepest first; then their mirrors."""
        trees = [self.path, self.mirror] if self.mirror else [self.path]
        return [pathlib.Path(directory) for tree in trees for directory, _, _ in os.walk(tree, topdown=False)]

    def _read(self, name: str) -> str:
        return (self.path / name).read_text()

    def _write(self, name: str, value: object) -> None:
        file = self.path / name
        try:
            file.write_text(str(value))
        except OSError as error:
            raise OSError(error.errno, f"writing {value} to {file}: {error.strerror}") from error


def parse_pairs(text: str) -> dict[str, int]:
    """Lines of "key number", as in memory.stat, memory.events and memory.oom_control."""
    pairs = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            pairs[key] = int(value)
    return pairs


def _enable_memory(directory: pathlib.Path) -> None:
    """v2: the children of `directory` get memory files."""
    control = directory / "cgroup.subtree_control"
    if "memory" in control.read_text().split():
        return
    try:
        control.write_text("+memory")
    except OSError as error:
        raise CgroupError(f"cannot enable the memory controller in {control}: {error.strerror}; "
                          "run as root on a host whose cgroups are writable, or try --vm") from error
