"""A real systemd, and runc, in a guest whose process 1 is the test agent.

systemd runs as process 1 of its own process namespace, below a cgroup of its own: the manager that it is on a host,
with daemon-reload and set-property, and nothing else to boot.
"""

import json
import pathlib
import shutil
import subprocess

from harness.cgroups import Cgroup
from harness.processes import Service, wait_until

UNITS = pathlib.Path("/etc/systemd/system")
DEADLINE = 60.0
UNIT = """\
[Unit]
DefaultDependencies=no
[Service]
Slice=memgovtest.slice
Delegate=yes
MemoryMax={limit}
ExecStart=/bin/sleep 1000
"""


class Systemd:
    """`group` becomes the root of its cgroup tree."""

    def __init__(self, group: Cgroup, directory: pathlib.Path, units: dict[str, int]):
        """`units`: name and memory limit of the services that it starts, in memgovtest.slice."""
        pathlib.Path("/etc/machine-id").write_text("0" * 31 + "1\n")
        UNITS.mkdir(parents=True, exist_ok=True)
        (UNITS / "memgov.target").write_text("[Unit]\nDefaultDependencies=no\n")
        for name, limit in units.items():
            (UNITS / name).write_text(UNIT.format(limit=limit))
        self.group = group
        # Only systemd enters the cgroup: a process that stays in it would keep systemd from passing controllers on.
        manager = group.wrap(["/lib/systemd/systemd", "--unit=memgov.target", "--log-target=console",
                              "--log-level=notice"])
        self._outer = Service("systemd", ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", *manager],
                              directory=directory, env={"container": "memgov"})
        wait_until(lambda: pathlib.Path("/run/systemd/private").exists(), DEADLINE, "a systemd")
        self._pid = int(subprocess.check_output(["pgrep", "-P", str(self._outer.pid)], text=True))
        for name in units:
            self.ctl("start", name)

    def ctl(self, *arguments: str) -> None:
        subprocess.run(["nsenter", "-t", str(self._pid), "-p", "-m", "systemctl", *arguments], check=True,
                       timeout=DEADLINE)

    def cgroup_of(self, unit: str) -> Cgroup:
        return Cgroup(self.group.hierarchy, f"{self.group.name}/memgovtest.slice/{unit}")

    def close(self) -> None:
        self._outer.process.kill()
        self._outer.stop()
        self.group.remove()


class Container:
    """One container that sleeps, by runc with its own cgroup driver."""

    def __init__(self, group: Cgroup, directory: pathlib.Path, limit: int):
        self.group = group
        self.name = group.name.rpartition("/")[2]
        bundle = directory / "bundle"
        (bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy("/usr/bin/busybox", bundle / "rootfs/bin/sleep")
        subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": ["/bin/sleep", "1000"]}
        config["linux"]["cgroupsPath"] = group.name
        config["linux"]["resources"]["memory"] = {"limit": limit}
        (bundle / "config.json").write_text(json.dumps(config))
        with open(directory / "runc.log", "w") as log:  # not a pipe: the container keeps it
            subprocess.run(["runc", "run", "--detach", "--bundle", bundle, self.name], check=True, timeout=DEADLINE,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def update(self, *arguments: str, text: str | None = None) -> int:
        """The exit status of `runc update`."""
        return subprocess.run(["runc", "update", *arguments, self.name], input=text, text=True,
                              timeout=DEADLINE).returncode

    def close(self) -> None:
        subprocess.run(["runc", "delete", "--force", self.name], timeout=DEADLINE, check=False)
