"""What the end-to-end tests share: a cgroup of their own, the built programs, a governor over that cgroup.

The parent cgroup carries the limit, so an OOM kill can only hit a test's own processes. MEMGOV_TEST_SCALE shrinks all
sizes, for the emulated machine.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness.cgroups import Cgroup, CgroupError, detect  # noqa: E402
from harness.containers import make_root  # noqa: E402
from harness.figures import MIB  # noqa: E402
from harness.governor import Governor, socket_in  # noqa: E402
from harness.processes import Service  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
SCALE = float(os.environ.get("MEMGOV_TEST_SCALE", "1"))
DEADLINE = 90.0  # seconds; generous, because a loaded or emulated machine is slow


# What depends on no kernel's version, and is played at full size on the host; the emulated machine has no time for it.
HOST_ONLY = {"test_client_trust", "test_hostile", "test_many", "test_no_descriptors", "test_reported", "test_short",
             "test_state_directory", "test_tenants"}


def pytest_collection_modifyitems(items):
    if SCALE == 1:
        return
    skip = pytest.mark.skip(reason="the same on every kernel: the host plays it at full size")
    for item in items:
        if item.path.stem in HOST_ONLY:
            item.add_marker(skip)


def scaled(mib: float) -> int:
    """MiB at full size, as bytes here."""
    return int(mib * SCALE * MIB)


def ctl(*arguments) -> subprocess.CompletedProcess:
    """Runs memgovctl. A test looks at the exit code itself, since some are of refusals."""
    return subprocess.run([str(BUILD / "governor/ctl/memgovctl"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=DEADLINE)


@pytest.fixture(scope="session")
def hierarchy():
    try:
        return detect()
    except CgroupError as error:
        pytest.skip(f"no memory controller here: {error}")


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> pathlib.Path:
    """The file system of containers, with the programs that they run in it."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed (apt-get install runc)")
    programs = [BUILD / "tests/workloads/retain_glibc", BUILD / "governor/memgovd"]
    return make_root(tmp_path_factory.mktemp("root"), programs)


@dataclasses.dataclass
class Stage:
    """One parent cgroup with a limit, and whatever a test starts below it."""

    parent: Cgroup
    directory: pathlib.Path
    services: list[Service] = dataclasses.field(default_factory=list)
    governor: Governor | None = None

    @property
    def wire(self) -> int:
        return self.parent.limit * 85 // 100

    def govern(self, policy: str | None, *arguments: str, roots: list[str] | None = None,
               cgroup: Cgroup | None = None) -> Governor:
        """Starts memgovd over the parent. `policy` is the text of the file; None: it has none, and observes. It runs in `cgroup`, if
        one is given."""
        file = None
        if policy is not None:
            file = self.directory / "policy.yaml"
            file.write_text(policy)
        self.governor = Governor(BUILD / "governor/memgovd", file, self.directory, roots or [self.parent.name],
                                 arguments=list(arguments), wrap=cgroup.wrap if cgroup else None)
        return self.governor

    def start(self, name: str, *argv: str, inside: bool = True, **keywords) -> Service:
        """Starts a built program (its path below the build directory first) in a leaf of its own."""
        command = [str(BUILD / argv[0]), *argv[1:]]
        env = {"MEMGOV_SOCKET": str(socket_in(self.directory))} | keywords.pop("env", {})
        service = Service(name, command, directory=self.directory, env=env,
                          cgroup=self.parent.child(name) if inside else None, **keywords)
        self.services.append(service)
        return service

    def start_retaining(self, allocator: str, size: int) -> Service:
        """A C++ service that grew to `size` bytes, freed 90 % and keeps it; attached."""
        service = self.start(allocator, f"tests/workloads/retain_{allocator}", "--grow", f"{size // MIB}MiB",
                             "--memgov")
        service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
        return service

    def start_retaining_go(self, size: int) -> Service:
        service = self.start("go", "tests/workloads/goservice", "-grow", f"{size // MIB}MiB", "-memgov=auto")
        service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
        return service

    def start_crosser(self, base: int, patience: int = 8) -> Service:
        """Holds `base` bytes, and on "cross 0" drives the parent over its wire and stays there for `patience` seconds: over
        what usage is when page cache, which counts for nothing, comes on top. Then it says so in a line."""
        wire = self.wire + self.parent.stat()["inactive_file"]
        crosser = self.start("crosser", "tests/bench/bench_crosser", "--usage-file", str(self.parent.usage_file),
                             "--wire", str(wire), "--base", str(base), "--back", str(self.parent.limit),
                             "--patience", str(patience), commands=True)
        crosser.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
        return crosser

    def events(self, kind: str, name: str | None = None) -> list[dict]:
        return [event for event in self.governor.of(kind) if name is None or event.get("name") == name]

    def close(self) -> None:
        if self.governor:  # pytest shows this when the test failed
            for event in self.governor.events:
                print(f"{event.get('t', 0):.3f} {event.get('text', event)}")
        for service in reversed(self.services):
            service.stop()
        if self.governor:
            self.governor.stop()
        self.parent.remove()


@pytest.fixture
def stage(hierarchy, tmp_path, request):
    """A parent cgroup with 512 MiB."""
    stages = Stage(Cgroup.create(hierarchy, f"/memgov-host-{os.getpid()}", scaled(512)), tmp_path)
    yield stages
    stages.close()
