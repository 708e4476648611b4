"""memgovd doctor on this very machine, and what a running daemon says of it."""

import json
import os
import pathlib
import pty
import subprocess

from .conftest import BUILD, DEADLINE
from .policies import ENFORCE, OBSERVE

MEMGOVD = str(BUILD / "governor/memgovd")


def doctor(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([MEMGOVD, "doctor", *arguments], capture_output=True, text=True, timeout=DEADLINE)


def checks_of(shown: subprocess.CompletedProcess) -> dict[str, dict]:
    return {check["check"]: check for check in json.loads(shown.stdout)}


def test_each_check_says_its_state_and_what_to_do(hierarchy):
    shown = doctor("--json")
    checks = checks_of(shown)
    assert {check["state"] for check in checks.values()} <= {"ok", "degraded", "missing"}
    for check in checks.values():
        assert check.keys() == {"check", "state", "found", "lost", "remedy"}
        assert bool(check["lost"]) == (check["state"] != "ok"), check
    assert shown.returncode == (1 if any(check["lost"] for check in checks.values()) else 0)
    assert str(hierarchy.mount) in checks["cgroups"]["found"]
    assert checks["kernel"]["found"] == os.uname().release
    assert (checks["memory.high"]["state"] == "ok") == (hierarchy.version == 2)
    assert (checks["SYS_RESOURCE"]["state"] == "ok") == holds_capability(24)


def holds_capability(number: int) -> bool:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16) >> number & 1 == 1


def test_the_table_is_plain_in_a_pipe_and_coloured_on_a_terminal():
    shown = doctor()
    assert "\x1b" not in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 100
    ours, theirs = pty.openpty()
    with subprocess.Popen([MEMGOVD, "doctor"], stdout=theirs) as process:
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk
        except OSError:  # a terminal whose other end is closed ends so
            pass
        process.wait(DEADLINE)
    os.close(ours)
    assert b"\x1b[32mok" in text


def test_it_leaves_no_cgroup_behind(hierarchy):
    doctor()
    for mount in filter(None, (hierarchy.mount, hierarchy.unified)):
        assert list(mount.glob("memgov-doctor-*")) == []


def test_without_a_memory_controller_it_is_status_2(tmp_path):
    shown = doctor("--cgroup-mount", str(tmp_path), "--json")
    assert shown.returncode == 2
    assert checks_of(shown)["cgroups"]["state"] == "missing"


def test_a_bad_flag_is_status_2_and_named():
    bad = doctor("--jsn")
    assert bad.returncode == 2
    assert "--jsn" in bad.stderr + bad.stdout


def test_help_has_the_exit_codes():
    assert "Exit codes:" in doctor("--help").stdout


def test_a_running_daemon_is_named_and_says_the_same(stage):
    governor = stage.govern(ENFORCE)
    state = stage.directory / "state"
    arguments = ["--json", "--socket", str(governor.socket), "--state-dir", str(state), "--root", stage.parent.name]
    checks = checks_of(doctor(*arguments))
    assert str(governor.pid) in checks["memgovd"]["found"]
    lacking = {name: check for name, check in checks.items() if check["state"] != "ok"}
    said = {event["what"]: event for event in governor.of("degraded") if "what" in event}
    assert lacking.keys() == said.keys()
    for name, check in lacking.items():
        assert (said[name]["lost"], said[name]["remedy"]) == (check["lost"], check["remedy"])
    status = json.loads((state / "status.json").read_text())
    assert status["pid"] == governor.pid
    assert {check["check"] for check in status["checks"] if check["state"] != "ok"} == lacking.keys()


def test_what_a_check_says_at_the_start_is_not_said_again(stage):
    governor = stage.govern(ENFORCE)
    checked = {event["what"] for event in governor.of("degraded") if "what" in event}
    besides = [event["text"] for event in governor.of("degraded") if "what" not in event]
    words = {"SYS_RESOURCE": "oom_score_adj", "open files": "RLIMIT_NOFILE", "locked memory": "mlock",
             "/dev/kmsg": "kmsg", "process_madvise": "lazily freed", "psi triggers": "pressure"}
    for name in checked & words.keys():
        assert not [text for text in besides if words[name] in text], name


def test_what_fails_while_it_runs_is_shown(stage):
    governor = stage.govern(OBSERVE)
    state = stage.directory / "state"
    status = json.loads((state / "status.json").read_text())
    status["degraded"].append("the moon is full")
    (state / "status.json").write_text(json.dumps(status))
    shown = doctor("--socket", str(governor.socket), "--state-dir", str(state), "--root", stage.parent.name)
    assert "the moon is full" in shown.stdout
    assert shown.returncode == 1
