"""What a tenant does to its own part of the cgroup tree costs it its own service, and nobody else's."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from harness import peer
from harness.cgroups import Cgroup
from harness.governor import Governor
from harness.processes import wait_until

from .conftest import BUILD, DEADLINE, MIB, SCALE, ctl, scaled
from .policies import ENFORCE

POLICY = ENFORCE + "    actions: [release]\n"
HEX = "0123456789abcdef" * 4
UID = "12345678-1234-1234-1234-123456789012"


@pytest.fixture
def tenant(hierarchy):
    """A container's cgroup that was given to somebody; what is below it is the tenant's own."""
    top = Cgroup.create(hierarchy, f"/memgov-host-tenant-{os.getpid()}", 256 * MIB)
    container = top.child(f"libpod-{HEX}")
    os.chown(container.path, 65534, 65534)
    yield container
    for _ in range(3):  # all the directories below, however they are called
        subprocess.run(["find", str(top.path), "-mindepth", "1", "-depth", "-type", "d", "-delete"], check=False)
    top.remove()


def govern(stage, tenant, policy: str = POLICY, **keywords) -> Governor:
    file = stage.directory / "policy.yaml"
    file.write_text(policy)
    roots = [stage.parent.name, "/" + tenant.name.split("/")[1]]
    stage.governor = Governor(BUILD / "governor/memgovd", file, stage.directory, roots, **keywords)
    return stage.governor


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def inside(hierarchy, directory: pathlib.Path):
    """This process in the cgroup at `directory`, which may have a path that is too long to be opened."""
    home = [line.split(":", 2)[2] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()
            if (":memory:" in line if hierarchy.version == 1 else line.startswith("0::"))][0]
    os.chdir(directory)
    pathlib.Path("cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (hierarchy.mount / home.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        os.chdir("/")


def attach(governor: Governor, name: str) -> dict:
    connection, answer = peer.attach(str(governor.socket), name)
    if connection:
        connection.close()
    return answer


CHURN = textwrap.dedent("""\
    import os, sys, time
    os.chdir(sys.argv[1])
    names = ["a\\x1b[31mb", "caf\\u00e9", "x (deleted)", '{"event":"stopped"}', "kubepods", "docker-" + "0" * 64 + ".scope",
             "%s%n", "a:b,memory", "\\r99.0 stopped", "L" * 250]
    started, made = time.monotonic(), 0
    while time.monotonic() - started < float(sys.argv[2]):
        name = f"{names[made % len(names)]}{made % 60}"
        try:
            os.mkdir(name)
        except FileExistsError:
            os.rmdir(name)
            os.mkdir(name)
        made += 1
        time.sleep(max(0, started + made / 500 - time.monotonic()))
    print(made, flush=True)
    """)


def test_five_hundred_cgroups_a_second_cost_little_and_hold_up_nobody(stage, tenant):
    governor = govern(stage, tenant)
    stage.start_retaining("jemalloc", scaled(200))
    governor.wait_for("attached", DEADLINE)
    before, resident_before = cpu_seconds(governor.pid), resident(governor.pid)
    churn = subprocess.Popen([sys.executable, "-c", CHURN, str(tenant.path), "10"], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    stage.start_crosser(scaled(150)).say("cross 0")
    governor.wait_for("returned", DEADLINE)
    assert int(churn.communicate(timeout=DEADLINE)[0]) > 1000
    spent = cpu_seconds(governor.pid) - before
    print(f"{spent:.2f} s of CPU in 10 s, {(resident(governor.pid) - resident_before) / MIB:.1f} MiB grown")
    assert spent < 5
    assert resident(governor.pid) - resident_before < 8 * MIB
    assert governor.service.alive
    assert stage.parent.oom_kills() == 0


def test_more_cgroups_than_a_tenant_may_have_are_said_and_governed_by_the_nearest(stage, tenant):
    if stage.parent.hierarchy.version == 2:
        pytest.skip("on v2 a directory alone has no memory controller, and is not tracked")
    for number in range(1200):
        (tenant.path / f"c{number}").mkdir()
    governor = govern(stage, tenant)
    wait_until(lambda: [event for event in governor.of("degraded") if "has more than 1024 cgroups" in event["text"]],
               DEADLINE, "the tenant's name")
    for number in (0, 600, 1199):
        with inside(stage.parent.hierarchy, tenant.path / f"c{number}"):
            assert "ended" not in attach(governor, "one of many")
    rules = {event["text"].split(", rule ")[1] for event in governor.of("attached")}
    assert rules == {"test enforces"}
    # The neighbour's are as they were.
    stage.parent.child("new")
    stage.start_retaining("jemalloc", scaled(64))
    wait_until(lambda: stage.events("attached", "retain_jemalloc"), DEADLINE, "the neighbour's client")


IMITATIONS = POLICY.replace("rules:\n", f"""rules:
  - {{name: pods, match: {{cgroup: "/kubepods/**"}}, mode: enforce}}
  - {{name: docker, match: {{runtime: docker}}, mode: enforce}}
  - {{name: guaranteed, match: {{qos: guaranteed}}, mode: enforce}}
  - {{name: shop, match: {{namespace: shop}}, mode: enforce}}
""").replace("    mode: enforce\n    actions", "    mode: observe\n    actions")


def test_a_name_that_imitates_another_gains_no_rule(stage, tenant):
    governor = govern(stage, tenant, IMITATIONS)
    places = [f"kubepods/pod{UID}/{HEX}", f"docker/{HEX}", f"system.slice/docker-{HEX}.scope",
              f"kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{HEX}.scope", "a:b", "x (deleted)",
              "rtl\u202e", "cr\rlf", '{"event":"stopped"}', "n" * 255, "/".join(f"n{level}" for level in range(100))]
    if stage.parent.hierarchy.version == 2:
        places.remove("x (deleted)")  # so the kernel shows a cgroup that was removed; who is in one is refused
    for place in places:
        (tenant.path / place).mkdir(parents=True)
        with inside(stage.parent.hierarchy, tenant.path / place):
            assert "ended" not in attach(governor, "an imitation"), place
    wait_until(lambda: len(governor.of("attached")) == len(places), DEADLINE, "all of them")
    assert {event["text"].split(", rule ")[1] for event in governor.of("attached")} == {"test observes"}
    assert {(event["container"], event["runtime"]) for event in governor.of("attached")} == {(f"podman/{HEX[:12]}", "podman")}
    assert {event.get("qos") for event in governor.of("attached")} == {None}


def test_a_path_too_long_to_be_opened_is_refused_at_little_cost(stage, tenant):
    # Crowded: what a scan of everything would cost shows.
    for number in range(1000):
        (stage.parent.path / f"c{number}").mkdir()
    governor = govern(stage, tenant)
    os.chdir(tenant.path)
    try:
        for _ in range(15):
            os.mkdir("Z" * 250)
            os.chdir("Z" * 250)
        with inside(stage.parent.hierarchy, "."):
            before = cpu_seconds(governor.pid)
            for _ in range(100):
                refused = attach(governor, "from the depths")
            spent = cpu_seconds(governor.pid) - before
    finally:
        os.chdir("/")
        for number in range(1000):
            (stage.parent.path / f"c{number}").rmdir()
    assert "can be opened" in refused["text"]
    print(f"{spent * 10:.2f} ms of CPU for each")
    assert spent < 0.5 / SCALE, "less than a scan each"


def test_without_inotify_an_attach_from_a_new_cgroup_costs_no_scan(stage, tenant):
    for number in range(1000):
        (stage.parent.path / f"c{number}").mkdir()
    no_watches = ["unshare", "--user", "--map-root-user", "/bin/sh", "-c",
                  'echo 1 > /proc/sys/user/max_inotify_watches; exec "$@"', "sh"]
    if subprocess.run([*no_watches, "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    governor = govern(stage, tenant, wrap=lambda argv: [*no_watches, *argv])
    try:
        before = cpu_seconds(governor.pid)
        for number in range(100):
            place = tenant.path / f"new{number}"
            place.mkdir()
            with inside(stage.parent.hierarchy, place):
                assert "ended" not in attach(governor, "newcomer")
        spent = cpu_seconds(governor.pid) - before
    finally:
        for number in range(1000):
            (stage.parent.path / f"c{number}").rmdir()
    print(f"{spent * 10:.2f} ms of CPU for each")
    assert spent < 1 / SCALE
    attached = [event["cgroup"] for event in governor.of("attached")]
    assert len(attached) == 100


def test_alarms_that_ring_at_once_are_one_tick(stage, tenant):
    """A hundred wires of v1, each of which rings when its cgroup is removed, while memgovd stands still."""
    if stage.parent.hierarchy.version != 1:
        pytest.skip("v2 has no usage alarms")
    journal = stage.directory / "journal"
    governor = govern(stage, tenant, arguments=["--journal", str(journal)])
    groups = [stage.parent.child(f"c{number}", 8 * MIB) for number in range(100)]
    events = pathlib.Path(f"/proc/{governor.pid}/fd")
    wait_until(lambda: sum("[eventfd]" in os.readlink(fd) for fd in events.iterdir() if fd.is_symlink()) >= 150, DEADLINE,
               "their alarms, two each")
    before = ticks(journal)
    os.kill(governor.pid, signal.SIGSTOP)
    try:
        for group in groups:
            group.path.rmdir()
    finally:
        os.kill(governor.pid, signal.SIGCONT)
    wait_until(lambda: vanished(journal) >= 100, DEADLINE, "that they are gone")
    assert ticks(journal) - before < 60


def ticks(journal: pathlib.Path) -> int:
    return sum("tick" in record for record in records(journal))


def vanished(journal: pathlib.Path) -> int:
    return sum(len(record.get("tick", {}).get("snapshot", {}).get("vanished", [])) for record in records(journal))


def records(journal: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in ctl("journal", "--json", journal).stdout.splitlines()]
