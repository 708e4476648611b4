"""What the guest promises to other tests, checked inside it; each check prints one JSON object.

Sizes are small: the guest is emulated, and a kill shows the same at 64 MiB as at 64 GiB.
"""

import contextlib
import json
import pathlib
import select
import subprocess
import sys
import time
from collections.abc import Iterator

ROOT = pathlib.Path("/sys/fs/cgroup")
MIB = 1 << 20
DEADLINE_S = 60
GROW = "import sys, time; pages = bytearray(int(sys.argv[1])); time.sleep(1000)"  # bytearray() writes every page


@contextlib.contextmanager
def cgroup(parent: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    path = parent / name
    path.mkdir()
    try:
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        until(lambda: keyed(path / "cgroup.events")["populated"] == 0)
        path.rmdir()


def grow_in(path: pathlib.Path, size: int) -> subprocess.Popen[bytes]:
    """A process that enters the cgroup and then touches that many bytes."""
    enter = f'echo $$ > {path}/cgroup.procs && exec "$@"'
    return subprocess.Popen(["sh", "-c", enter, "sh", sys.executable, "-c", GROW, str(size)])


def keyed(path: pathlib.Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def until(condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.01)


def oom() -> dict:
    """A leaf below its parent exceeds memory.max: who counts the kill, before and after the leaf is removed?"""
    with cgroup(ROOT, "memgov-oom") as parent:
        (parent / "cgroup.subtree_control").write_text("+memory")
        with cgroup(parent, "leaf") as leaf:
            (leaf / "memory.max").write_text(str(64 * MIB))
            status = grow_in(leaf, 128 * MIB).wait(DEADLINE_S)
            result = {"status": status, "leaf": keyed(leaf / "memory.events"),
                      "parent": keyed(parent / "memory.events"),
                      "parent_local": keyed(parent / "memory.events.local")}
        result["parent_after_removal"] = keyed(parent / "memory.events")
        result["record"] = "Memory cgroup out of memory: Killed process" in subprocess.check_output(["dmesg"], text=True)
    return result


def high() -> dict:
    """A cgroup exceeds memory.high: poll on memory.events wakes, and nobody is killed."""
    with cgroup(ROOT, "memgov-high") as group, (group / "memory.events").open() as events:
        (group / "memory.high").write_text(str(48 * MIB))
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        events.read()
        grower = grow_in(group, 96 * MIB)
        woken = poller.poll(DEADLINE_S * 1000)
        until(lambda: keyed(group / "memory.events")["high"] > 0)
        result = {"pollpri": any(mask & select.POLLPRI for _, mask in woken), "alive": grower.poll() is None,
                  "events": keyed(group / "memory.events")}
        grower.kill()
        grower.wait(DEADLINE_S)
    return result


if __name__ == "__main__":
    print(json.dumps({"oom": oom, "high": high}[sys.argv[1]]()))
