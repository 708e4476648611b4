"""What is on the stage: sizes, programs and tenants of the demo's scenes.

One parent cgroup has the limit, as a pod's slice has; each tenant sits in a leaf of its own below it. Three services
grew to 300 MiB, freed nine tenths and keep the pages. The fourth, redis, is the only one with work to do.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

from harness.figures import MIB

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
POLICY = pathlib.Path(__file__).resolve().parent / "policy.yaml"
STALL_CODE = 32 * MIB
FULL_SPEED = 100 * MIB  # per second; what a redis takes at least on any machine that is not starved
SERVICES = ("jemalloc", "glibc", "go")
TENANTS = (*SERVICES, "redis")
TITLES = {"jemalloc": "C++ on jemalloc", "glibc": "C++ on glibc", "go": "Go", "redis": "redis-server"}


class DemoError(RuntimeError):
    """Something the demo needs is missing; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """Sizes in bytes."""

    name: str = "kill"  # or "stall": the programs' file pages are charged inside the limit
    limit: int = 1228 * MIB
    service: int = 300 * MIB  # each service grows to this, then frees 90 % of it
    fill: int = 650 * MIB  # of values, into redis
    rate: int | None = 80 * MIB  # per second; None: as fast as redis takes them
    code: int = 0  # of each C++ service: file pages that it runs through all the time
    pattern: str = "runs"  # how the services' survivors lie: runs, scattered
    wire_percent: float = 85  # the policy's default wake threshold; only for measuring and drawing

    @classmethod
    def named(cls, name: str, pattern: str = "runs") -> "Scene":
        return cls(name=name, pattern=pattern, code=STALL_CODE if name == "stall" else 0)

    @property
    def wire(self) -> int:
        return int(self.limit * self.wire_percent / 100)

    def scaled(self, factor: float) -> "Scene":
        """The same proportions on a smaller machine. The limit keeps a fixed part for what does not shrink: each
        program's own memory."""
        fixed = 24 * MIB
        return dataclasses.replace(self, limit=int((self.limit - fixed) * factor) + fixed,
                                   service=int(self.service * factor), code=int(self.code * factor), fill=int(self.fill * factor),
                                   rate=None if self.rate is None else int(self.rate * factor))


@dataclasses.dataclass(frozen=True)
class Programs:
    """Where everything is that the demo starts."""

    memgovd: pathlib.Path
    memgovctl: pathlib.Path
    jemalloc: pathlib.Path
    glibc: pathlib.Path
    go: pathlib.Path
    redis_fill: pathlib.Path
    redis: pathlib.Path

    @classmethod
    def find(cls, build: pathlib.Path) -> "Programs":
        """DemoError names everything that is missing and the command that brings it."""
        paths = {
            "memgovd": build / "governor/memgovd",
            "memgovctl": build / "governor/ctl/memgovctl",
            "jemalloc": build / "tests/workloads/retain_jemalloc",
            "glibc": build / "tests/workloads/retain_glibc",
            "go": build / "tests/workloads/goservice",
            "redis_fill": build / "tests/workloads/redis_fill",
        }
        missing = [str(path) for path in paths.values() if not os.access(path, os.X_OK)]
        if missing:
            raise DemoError("not built yet: " + ", ".join(missing) + "\nrun ./dev build first")
        redis = shutil.which("redis-server")
        if redis is None:
            raise DemoError("redis-server is not installed; ./dev demo installs it, or: apt-get install redis-server")
        return cls(redis=pathlib.Path(redis), **paths)

    def tenants(self) -> list[pathlib.Path]:
        return [self.jemalloc, self.glibc, self.go, self.redis]


def service_command(name: str, program: pathlib.Path, scene: Scene, memgov: bool, code: pathlib.Path | None) -> list[str]:
    """The command line of one of SERVICES. `code`: a file that stands in for the code of a large program."""
    size = f"{scene.service / MIB:g}MiB"
    if name == "go":
        return [str(program), "-grow", size, "-keep", "10%", "-pattern", scene.pattern,
                "-memgov=auto" if memgov else "-memgov=off"]
    command = [str(program), "--grow", size, "--keep", "10%", "--pattern", scene.pattern]
    return command + (["--memgov"] if memgov else []) + (["--code", str(code)] if code else [])


def redis_command(program: pathlib.Path, directory: pathlib.Path) -> list[str]:
    """A redis that keeps everything in memory and listens on a Unix socket only."""
    return [str(program), "--port", "0", "--unixsocket", str(directory / "redis.sock"), "--save", "",
            "--appendonly", "no", "--dir", str(directory), "--daemonize", "no", "--loglevel", "warning"]
