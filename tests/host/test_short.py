"""memgovd itself short of what it needs, or set down in a world that lacks something: it says what is lost, and an honest
client is asked and gives all the same."""

import os
import pathlib
import random
import resource
import signal
import subprocess
import time

import pytest

from harness.cgroups import Cgroup
from harness.governor import Governor
from harness.processes import ServiceError, wait_until

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE, OBSERVE

POLICY = ENFORCE + "    actions: [release]\n"
MEMGOVD = BUILD / "governor/memgovd"


def govern(stage, wrap, roots=None) -> Governor:
    file = stage.directory / "policy.yaml"
    file.write_text(POLICY)
    stage.governor = Governor(MEMGOVD, file, stage.directory, roots or [stage.parent.name], wrap=wrap)
    return stage.governor


def in_shell(script: str, *before: str):
    """A command that runs `script` first; "$@" is memgovd."""
    return lambda argv: [*before, "/bin/sh", "-c", f'{script}; exec "$@"', "sh", *argv]


def alone(script: str):
    return in_shell("mount --make-rprivate / && " + script, "unshare", "--mount")


def save(stage, governor) -> None:
    """A client is asked for memory and gives it back."""
    stage.start_retaining("jemalloc", scaled(200))
    governor.wait_for("attached", DEADLINE)
    stage.start_crosser(scaled(150)).say("cross 0")
    governor.wait_for("returned", DEADLINE)
    assert governor.service.alive
    assert stage.parent.oom_kills() == 0


READ_ONLY = ("for m in $(awk '$3 == \"cgroup\" || $3 == \"cgroup2\" {print $2}' /proc/mounts); do "
             "mount --bind $m $m && mount -o remount,ro,bind $m; done")


@pytest.mark.parametrize(("world", "wrap"), [
    ("64 descriptors", in_shell("ulimit -Hn 64")),
    ("hidepid=2", alone("mount -t proc -o hidepid=2 proc /proc")),
    ("cgroups that are read-only", alone(READ_ONLY)),
    ("no kernel log", alone("mount --bind /dev/null /dev/kmsg")),
    ("no inotify", in_shell("echo 0 > /proc/sys/user/max_inotify_instances", "unshare", "--user", "--map-root-user")),
    ("no inotify watch", in_shell("echo 1 > /proc/sys/user/max_inotify_watches", "unshare", "--user", "--map-root-user")),
    ("no capability", in_shell("true", "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")),
    ("a clock of its own", in_shell("true", "unshare", "--time", "--monotonic", "100000", "--boottime", "100000")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_client_is_saved_in_a_world_that_lacks_something(stage, world, wrap):
    if subprocess.run(wrap(["/bin/true"]), capture_output=True).returncode != 0:
        pytest.skip(f"this host does not let us make a world with {world}")
    save(stage, govern(stage, wrap))


def test_without_a_memory_controller_it_says_so_and_ends(stage):
    wrap = alone("mount -t tmpfs tmpfs /sys")
    if subprocess.run(wrap(["/bin/true"]), capture_output=True).returncode != 0:
        pytest.skip("this host does not let us hide /sys")
    done = subprocess.run(wrap([str(MEMGOVD), "--socket", str(stage.directory / "s"), "--state-dir",
                                str(stage.directory / "state")]), capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1
    assert done.stderr.startswith("memgovd: ") and len(done.stderr.splitlines()) == 1


def test_two_daemons_do_not_share_a_socket_or_a_state(stage):
    first = stage.govern(POLICY)
    with pytest.raises(ServiceError):
        Governor(MEMGOVD, stage.directory / "policy.yaml", stage.directory, [stage.parent.name])
    save(stage, first)


def test_what_waits_while_it_is_stopped_is_done_when_it_goes_on(stage):
    governor = stage.govern(POLICY)
    stage.start_retaining("jemalloc", scaled(200))
    governor.wait_for("attached", DEADLINE)
    os.kill(governor.pid, signal.SIGSTOP)
    try:
        stage.start_crosser(scaled(150)).say("cross 0")
        time.sleep(3)  # the world goes on meanwhile
    finally:
        os.kill(governor.pid, signal.SIGCONT)
    governor.wait_for("returned", DEADLINE)
    assert stage.parent.oom_kills() == 0


def test_descriptors_that_ran_out_come_back(stage):
    """And the note with them."""
    for number in range(40):
        stage.parent.child(f"c{number}")
    governor = stage.govern(POLICY)
    limits = resource.prlimit(governor.pid, resource.RLIMIT_NOFILE)
    fds = pathlib.Path(f"/proc/{governor.pid}/fd")
    wait_until(lambda: len(list(fds.iterdir())) > 100, DEADLINE, "descriptors that are kept")
    resource.prlimit(governor.pid, resource.RLIMIT_NOFILE, (8, limits[1]))
    for number in range(40, 50):
        stage.parent.child(f"c{number}")
    wait_until(lambda: [e for e in governor.of("degraded") if "no file descriptor was left" in e["text"]], DEADLINE,
               "the note")
    few = len(list(fds.iterdir()))
    resource.prlimit(governor.pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: len(list(fds.iterdir())) > few + 20, DEADLINE, "more descriptors that are kept")
    wait_until(lambda: [e for e in governor.of("mended") if "kept open for a while" in e["text"]], DEADLINE, "the end of it")
    save(stage, governor)


@pytest.fixture
def small(hierarchy):
    """Where memgovd itself has little room."""
    group = Cgroup.create(hierarchy, f"/memgov-host-small-{os.getpid()}", 32 * MIB)
    yield group
    group.remove()


def test_it_governs_a_thousand_cgroups_in_32_mib(stage, small):
    crowd = stage.parent.child("crowd")
    for number in range(1000):
        (crowd.path / f"c{number}").mkdir()
    try:
        governor = govern(stage, small.wrap)
        wait_until(lambda: "watching 100" in governor.of("ready")[0]["text"], DEADLINE, "all of them")
        save(stage, governor)
        assert small.oom_kills() == 0
    finally:
        for number in range(1000):
            (crowd.path / f"c{number}").rmdir()


# --- broken policies by the hundred, with little memory ----------------------------------------------------------------

LAUGHS = "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]"] +
                   [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)])
MOST_MEMORY = 2 << 30  # of address space: what a bomb may not exceed; the threads' stacks and arenas are in it


def broken(directory: pathlib.Path, draw: random.Random) -> None:
    """Puts something at `directory`/policy.yaml that is no policy, or perhaps one."""
    file = directory / "policy.yaml"
    file.unlink(missing_ok=True)
    kind = draw.randrange(8)
    if kind == 0:
        os.mkfifo(file)
    elif kind == 1:
        file.symlink_to(draw.choice(["/dev/zero", "/dev/full", "/proc/kmsg", "/nowhere", "policy.yaml", "/proc/self/mem"]))
    elif kind == 2:
        file.write_text(LAUGHS)
    elif kind == 3:
        file.write_bytes(draw.randbytes(draw.randrange(1 << draw.randrange(21))))
    elif kind == 4:
        file.write_text("[" * draw.randrange(100_000))
    else:
        text = bytearray((POLICY + "    wake: {usage: 70%}\n").encode())
        for _ in range(draw.randrange(1, 8)):
            at = draw.randrange(len(text))
            text[at:at + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
        file.write_bytes(bytes(text))


def test_whatever_lies_where_the_policy_was_it_goes_on_with_the_last_good_one(stage):
    governor = govern(stage, lambda argv: ["prlimit", f"--as={MOST_MEMORY}", *argv])
    draw = random.Random(20260101)
    for _ in range(300):
        broken(stage.directory, draw)
        if draw.randrange(4) == 0:
            os.kill(governor.pid, signal.SIGHUP)
        time.sleep(0.005)
    file = stage.directory / "policy.yaml"
    file.unlink(missing_ok=True)
    count = len(governor.of("policy_loaded"))
    file.write_text(POLICY)
    governor.wait_for("policy_loaded", DEADLINE, count + 1)
    save(stage, governor)


def test_a_policy_that_cannot_be_read_holds_up_nobody(stage):
    """Ten thousand files where one was."""
    governor = stage.govern(POLICY)
    file = stage.directory / "policy.yaml"
    many = stage.directory / "many"
    many.mkdir()
    for number in range(10_000):
        (many / f"p{number}.yaml").write_text(OBSERVE)
    file.unlink()
    file.symlink_to("many")
    assert "files are too many" in governor.wait_for("policy_refused", DEADLINE)["text"]
    save(stage, governor)
