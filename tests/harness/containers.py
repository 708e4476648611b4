"""Real containers by runc and podman, in cgroups below one of ours, from nothing but built programs.

No image is pulled: a root directory holds the programs and the libraries that they name. Whatever the runtimes make
(cgroups in every hierarchy, state, mounts) is gone when Containers closes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import tempfile

from .cgroups import PREFIX, Cgroup, mounts

LIBRARIES = "/usr/lib/x86_64-linux-gnu"  # where the dynamic linker looks for those that come from elsewhere


def make_root(directory: pathlib.Path, programs: list[pathlib.Path]) -> pathlib.Path:
    """A root directory with each program in /bin and the shared libraries that they name."""
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "run", "var"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for program in programs:
        _copy(program, directory / "bin" / program.name)
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        for library in (word for word in listed.split() if word.startswith("/") and ".so" in word):
            known = library if library.startswith(("/lib", "/usr/lib")) else f"{LIBRARIES}/{pathlib.Path(library).name}"
            _copy(pathlib.Path(library), directory / known.lstrip("/"))
    return directory


def _copy(source: pathlib.Path, place: pathlib.Path) -> None:
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, place)


@dataclasses.dataclass(frozen=True)
class Container:
    """A container that was described to a runtime; `argv` runs it in the foreground and passes signals on."""

    id: str | None  # 64 hex digits; podman chooses its own
    cgroup: str | None  # its path, where it was ours to choose
    argv: list[str]


class Containers:
    """Makes containers below the cgroup `parent`. Use as a context manager. `directory` gets bundles and state."""

    def __init__(self, parent: Cgroup, directory: pathlib.Path, root: pathlib.Path):
        """`root` comes from make_root."""
        self._parent = parent
        self._directory = directory
        self._root = root
        self._close: list[list[str]] = []
        self._podman: pathlib.Path | None = None  # its state

    @property
    def bundles(self) -> pathlib.Path:
        """Holds ID/config.json for each of runc's, as containerd's bundle directory does."""
        return self._directory / "bundles"

    def runc(self, argv: list[str], *, place: str = "", memory: int | None = None, env: dict[str, str] | None = None,
             binds: dict[str, str] | None = None, annotations: dict[str, str] | None = None,
             host_pids: bool = False) -> Container:
        """A container with a private cgroup namespace and no capability at all. `place` is the path of its cgroup's
        parent below ours, `memory` its limit; `binds` are host paths by where they appear inside."""
        name = secrets.token_hex(32)
        cgroup = "/".join(part for part in (self._parent.name, place, name) if part)
        spaces = ["mount", "ipc", "uts", "network", "cgroup"] + ([] if host_pids else ["pid"])
        mounts = [{"destination": "/proc", "type": "proc", "source": "proc"},
                  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}]
        mounts += [{"destination": inside, "type": "bind", "source": outside, "options": ["rbind", "rw"]}
                   for inside, outside in (binds or {}).items()]
        config = {
            "ociVersion": "1.0.2",
            "process": {"args": argv, "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True,
                        "env": [f"{key}={value}" for key, value in ({"PATH": "/bin"} | (env or {})).items()]},
            "root": {"path": str(self._root)},
            "mounts": mounts,
            "annotations": annotations or {},
            "linux": {"cgroupsPath": cgroup, "namespaces": [{"type": space} for space in spaces],
                      "resources": {"memory": {"limit": memory}} if memory else {}},
        }
        bundle = self.bundles / name
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(config))
        runc = ["runc", "--root", str(self._directory / "runc")]
        self._close.append([*runc, "delete", "--force", name])
        return Container(name, cgroup, [*runc, "run", "--bundle", str(bundle), name])

    def podman(self, argv: list[str], *, memory: int | None = None, env: dict[str, str] | None = None,
               binds: dict[str, str] | None = None) -> Container:
        """A container as podman makes it, with its monitor. The options are those that a host without systemd and
        with the memory controller on v1 needs."""
        name = f"{PREFIX}{secrets.token_hex(8)}"
        if self._podman is None:  # podman wants a short path
            self._podman = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        state = self._podman
        podman = ["podman", "--root", f"{state}/root", "--runroot", f"{state}/run", "--tmpdir", f"{state}/tmp",
                  "--storage-driver", "vfs", "--events-backend", "file", "--cgroup-manager", "cgroupfs",
                  "--runtime", "runc"]
        options = ["--cgroup-parent", self._parent.name, "--network", "none", "--log-driver", "none",
                   "--ulimit", "nofile=1024:20000", "--ulimit", "nproc=1024:1024"]
        options += ["--memory", str(memory)] if memory else []
        for key, value in (env or {}).items():
            options += ["--env", f"{key}={value}"]
        for inside, outside in (binds or {}).items():
            options += ["--volume", f"{outside}:{inside}"]
        self._close.append([*podman, "rm", "--force", "--time", "0", "--ignore", name])
        run = [*podman, "run", "--rm", "--name", name, *options, "--rootfs", str(self._root), *argv]
        return Container(None, None, run)

    def close(self) -> None:
        for command in self._close:
            subprocess.run(command, capture_output=True, check=False, timeout=60)
        self._close.clear()
        if self._podman is not None:
            shutil.rmtree(self._podman)
            self._podman = None
        sweep(self._parent.name)

    def __enter__(self) -> "Containers":
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def sweep(name: str) -> None:
    """Removes what is left of the cgroup `name` in hierarchies other than memory's, where runtimes made it too.
    Empty cgroups only: one that still has processes stays, and shows that something was not cleaned up."""
    if not name.startswith("/" + PREFIX) or ".." in name.split("/"):
        raise ValueError(f"cgroup {name!r}: the harness touches only cgroups named /{PREFIX}*")
    for point, kind, _ in mounts(pathlib.Path("/proc/self/mountinfo").read_text()):
        if kind not in ("cgroup", "cgroup2"):
            continue
        for directory, _, _ in os.walk(point / name.lstrip("/"), topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass
