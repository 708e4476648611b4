"""The state directory in a failing world: what somebody else laid there is neither followed nor waited for, where others
may write memgovd does not start, and a disk that takes nothing is said with what to do."""

import os
import subprocess

import pytest

from .conftest import BUILD, DEADLINE
from .policies import ENFORCE

MEMGOVD = str(BUILD / "governor/memgovd")
NOBODY = 65534
PRECIOUS = "precious data of root\n"
AT_ONCE = 4.0  # seconds; a FIFO was waited for without end, /dev/zero was read for 5 s


@pytest.fixture
def state(tmp_path):
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


@pytest.fixture
def tmpfs(tmp_path):
    """A small file system of its own."""
    directory = tmp_path / "small"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", directory]).returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    yield directory
    subprocess.run(["umount", directory], check=True)


def restore(directory) -> subprocess.CompletedProcess:
    return subprocess.run([MEMGOVD, "--restore", "--state-dir", str(directory)], capture_output=True, text=True,
                          timeout=DEADLINE)


def refused(stage, directory, *, socket=None) -> str:
    """What a memgovd that enforces says when it does not start."""
    policy = stage.directory / "policy.yaml"
    policy.write_text(ENFORCE)
    result = subprocess.run([MEMGOVD, "--policy", str(policy), "--state-dir", str(directory), "--root",
                             stage.parent.name, "--socket", str(socket or stage.directory / "memgovd.sock")],
                            capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize("name", ["brake.state", "freeze.state", "brake.state.lock"])
@pytest.mark.parametrize("what", ["fifo", "zero", "directory"])
def test_restore_waits_for_nothing_that_lies_there(state, name, what):
    file = state / name
    if what == "fifo":
        os.mkfifo(file)
    elif what == "zero":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    result = subprocess.run(["timeout", str(AT_ONCE), MEMGOVD, "--restore", "--state-dir", str(state)],
                            capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    assert f"{file} is a" in result.stderr and "remove it" in result.stderr


@pytest.mark.parametrize("name", ["brake.state", "freeze.state", "status.json"])
def test_a_start_waits_for_nothing_either(stage, name):
    directory = stage.directory / "state"
    directory.mkdir()
    os.mkfifo(directory / name)
    stage.govern(ENFORCE)
    assert (directory / "status.json").is_file()
    if name != "status.json":
        assert any(f"{name} is a FIFO" in event["text"] for event in stage.events("degraded"))
    assert stage.governor.stop() == 0


@pytest.mark.parametrize("name", ["brake.state.lock", "brake.state.new", "freeze.state.new", "status.json.new",
                                  "status.json", "memgovd.sock.lock"])
def test_no_link_is_followed(stage, name):
    directory = stage.directory / "state"
    directory.mkdir()
    victim = stage.directory / "victim"
    victim.write_text(PRECIOUS)
    (directory / name).symlink_to(victim)
    if name.endswith(".lock"):
        said = refused(stage, directory, socket=directory / "memgovd.sock")
        assert "is a symbolic link" in said and "remove it" in said
    else:
        stage.govern(ENFORCE)
        assert stage.governor.stop() == 0
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize("mode,owner", [(0o777, 0), (0o1777, 0), (0o755, NOBODY)])
def test_a_directory_that_others_may_change_is_refused(stage, state, mode, owner):
    state.chmod(mode)
    os.chown(state, owner, owner)
    said = refused(stage, state)
    assert str(state) in said and "--state-dir" in said and ("chmod go-w" in said or "chown" in said)
    assert list(state.iterdir()) == []
    (state / "brake.state").write_text("/a 1 4096\n")
    assert restore(state).returncode == 1
    assert (state / "brake.state").exists()


def test_an_observer_says_so_and_runs(stage):
    directory = stage.directory / "state"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    stage.govern(None)
    assert any("chmod go-w" in event["text"] for event in stage.events("degraded"))
    assert list(directory.iterdir()) == []


def test_the_socket_is_not_made_where_others_could_replace_it(stage, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    said = refused(stage, stage.directory / "state", socket=theirs / "memgovd.sock")
    assert "--socket" in said and "chmod go-w" in said


def test_a_disk_that_is_read_only_is_said_with_what_to_do(stage, tmpfs):
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    said = refused(stage, tmpfs)
    assert "Read-only file system" in said and "below /run, with --state-dir" in said


def test_a_record_with_nonsense_is_said_briefly_and_is_gone(state):
    (state / "freeze.state").write_bytes(os.urandom(3000) + b"\n" * 100_000)
    result = restore(state)
    assert result.returncode == 1
    assert len(result.stderr) < 10_000 and "and more" in result.stderr
    assert all(character.isprintable() or character == "\n" for character in result.stderr)
    assert restore(state).returncode == 0
