"""memgovd as an operator meets it: flags, bad policies, reload, a second daemon, limits that change."""

import signal
import subprocess

from harness.processes import wait_until

from .conftest import BUILD, DEADLINE, scaled
from .policies import ENFORCE, OBSERVE

MEMGOVD = str(BUILD / "governor/memgovd")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([MEMGOVD, *arguments], capture_output=True, text=True, timeout=DEADLINE)


def test_help_has_examples_and_exit_codes():
    shown = run("--help")
    assert shown.returncode == 0
    assert "Examples:" in shown.stdout and "Exit codes:" in shown.stdout


def test_an_unknown_flag_is_status_2_and_named():
    bad = run("--polcy", "x")
    assert bad.returncode == 2
    assert "--polcy" in bad.stderr + bad.stdout


def test_a_bad_policy_names_every_mistake_with_its_place(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(ENFORCE.replace("mode: enforce", "mode: enforced") + "    wake: {usage: 850%}\n")
    for arguments in (["--check", str(file)], ["--policy", str(file)]):
        bad = run(*arguments)
        assert bad.returncode == 2
        assert "policy.yaml:6:" in bad.stderr and "enforce" in bad.stderr
        assert "policy.yaml:7:" in bad.stderr


def test_a_policy_that_is_not_there_is_said(tmp_path):
    missing = run("--policy", str(tmp_path / "none.yaml"))
    assert missing.returncode == 2
    assert "none.yaml" in missing.stderr


def test_a_bad_policy_never_replaces_a_good_one(stage):
    governor = stage.govern(ENFORCE)
    file = stage.directory / "policy.yaml"
    file.write_text("rules: [")
    governor.service.process.send_signal(signal.SIGHUP)
    assert "policy.yaml" in governor.wait_for("policy_refused", DEADLINE)["text"]
    file.write_text(OBSERVE)
    governor.service.process.send_signal(signal.SIGHUP)
    governor.wait_for("policy_loaded", DEADLINE)
    assert governor.service.alive


def test_a_second_daemon_on_the_same_socket_says_so_and_ends(stage):
    stage.govern(ENFORCE)
    second = run("--socket", str(stage.governor.socket), "--state-dir", str(stage.directory / "other"))
    assert second.returncode == 1
    assert str(stage.governor.socket) in second.stderr


def test_a_limit_that_is_lowered_at_run_time_is_followed(stage):
    governor = stage.govern(ENFORCE)
    stage.start_retaining("jemalloc", scaled(200))
    governor.wait_for("attached", DEADLINE)
    assert governor.of("woke") == []
    usage = stage.parent.usage()
    # Page cache counts for nothing: nine tenths of the new limit are what is left without it.
    stage.parent.set_limit((usage - stage.parent.stat()["inactive_file"]) * 110 // 100)
    risen = governor.service.wait_for(lambda line: line.get("event") in ("woke", "critical"), DEADLINE, "a need")
    assert risen["limit"] == stage.parent.limit
    wait_until(lambda: stage.parent.usage() < usage * 70 // 100, DEADLINE, "memory back under the new limit")


def test_sigterm_ends_it_with_status_0_and_removes_the_socket(stage):
    governor = stage.govern(ENFORCE)
    assert governor.stop() == 0
    assert not governor.socket.exists()
    assert governor.of("stopped")
