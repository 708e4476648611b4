"""Services are heard by their JSON lines, and every wait ends with what they last said."""

import signal
import sys

import pytest

from harness.processes import Service, ServiceError, wait_until


def service(tmp_path, script: str, **options) -> Service:
    return Service("probe", [sys.executable, "-c", script], directory=tmp_path, **options)


def test_waits_for_a_line_and_keeps_the_rest(tmp_path):
    heard = []
    with service(tmp_path, 'print("{\\"ready\\":true}", flush=True); print("words"); print("[1]")',
                 on_line=heard.append) as probe:
        assert probe.wait_for(lambda line: line.get("ready"), 30, "ready")["ready"] is True
        assert probe.stop() in (0, -signal.SIGTERM)
    assert heard[0]["at"] > 0
    assert probe.latest("ready") is True


def test_says_how_a_service_ended(tmp_path):
    probe = service(tmp_path, 'import sys; sys.exit("no such socket")')
    with pytest.raises(ServiceError, match="ended before ready.*no such socket"):
        probe.wait_for(lambda line: False, 30, "ready")
    assert probe.stop() == 1


def test_json_may_come_on_stderr(tmp_path):
    with service(tmp_path, 'import sys; print("{\\"event\\":\\"ready\\"}", file=sys.stderr)', json_on="stderr") as probe:
        assert probe.wait_for(lambda line: line.get("event") == "ready", 30, "ready")


def test_a_service_that_ignores_sigterm_is_killed(tmp_path):
    probe = service(tmp_path, 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); '
                              'print("{\\"ready\\":1}", flush=True); time.sleep(60)')
    probe.wait_for(lambda line: line.get("ready") == 1, 30, "ready")
    assert probe.stop(timeout=0.2) == -signal.SIGKILL
    assert probe.killed()


def test_wait_until_names_what_did_not_happen():
    with pytest.raises(ServiceError, match="the door: not within"):
        wait_until(lambda: False, 0.05, "the door")
