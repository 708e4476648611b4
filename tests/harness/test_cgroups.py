"""Finding the memory controller and reading its files, on captured text and in a directory that looks like cgroups."""

import pathlib

import pytest

from harness import cgroups

V1 = "40 30 0:35 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
UNIFIED = "41 30 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
OTHER = "39 30 0:34 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct"


def hierarchy(tmp_path: pathlib.Path, version: int = 1) -> cgroups.Hierarchy:
    return cgroups.Hierarchy(version, tmp_path, False, None)


def test_v1_alone():
    found = cgroups.detect("\n".join([OTHER, V1]))
    assert (found.version, found.hybrid, str(found.mount)) == (1, False, "/sys/fs/cgroup/memory")


def test_hybrid_takes_the_memory_controller_of_v1():
    found = cgroups.detect("\n".join([OTHER, UNIFIED, V1]))
    assert (found.version, found.hybrid, str(found.unified)) == (1, True, "/sys/fs/cgroup/unified")


def test_v2(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    found = cgroups.detect(f"29 1 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw,nsdelegate")
    assert (found.version, found.hybrid, found.mount) == (2, False, tmp_path)


def test_v2_without_the_memory_controller_says_so(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(cgroups.CgroupError, match="does not list the memory controller"):
        cgroups.detect(f"29 1 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw")


def test_no_cgroups_at_all():
    with pytest.raises(cgroups.CgroupError, match="no cgroup file system"):
        cgroups.detect("22 1 0:20 / /proc rw - proc proc rw")


def test_a_mount_point_with_a_space():
    assert str(cgroups.detect(V1.replace("/memory rw", "/my\\040memory rw")).mount) == "/sys/fs/cgroup/my memory"


@pytest.mark.parametrize("name", ["/kubepods/x", "memgov-x", "/memgov-x/../system", "/"])
def test_touches_nothing_but_its_own(tmp_path, name):
    with pytest.raises(ValueError, match="only cgroups named /memgov-"):
        cgroups.Cgroup(hierarchy(tmp_path), name)


def test_v1_readings(tmp_path):
    group = cgroups.Cgroup(hierarchy(tmp_path), "/memgov-x")
    group.path.mkdir()
    (group.path / "memory.usage_in_bytes").write_text("4096\n")
    (group.path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (group.path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (group.path / "memory.stat").write_text("cache 1\nrss 2\ntotal_cache 30\ntotal_rss 40\ntotal_pgmajfault 5\n")
    assert group.usage() == 4096
    assert group.limit is None
    assert group.oom_kills() == 2
    assert group.stat()["anon"] == 40 and group.stat()["file"] == 30 and group.stat()["pgmajfault"] == 5


def test_v2_readings(tmp_path):
    group = cgroups.Cgroup(hierarchy(tmp_path, 2), "/memgov-x")
    group.path.mkdir()
    (group.path / "memory.current").write_text("8192\n")
    (group.path / "memory.max").write_text("max\n")
    (group.path / "memory.events").write_text("low 0\nhigh 3\nmax 9\noom 1\noom_kill 1\n")
    assert (group.usage(), group.limit, group.oom_kills(), group.peak()) == (8192, None, 1, None)
    (group.path / "memory.max").write_text("1048576\n")
    assert group.limit == 1048576


def test_a_wrapped_command_enters_first(tmp_path):
    group = cgroups.Cgroup(hierarchy(tmp_path), "/memgov-x")
    command = group.wrap(["true", "a b"])
    assert command[0] == "/bin/sh" and command[-2:] == ["true", "a b"]
    assert str(group.path / "cgroup.procs") in command
