"""A memgovd that had no descriptor to spare when it wanted to watch something, and has later."""

import os
import pathlib
import signal
import subprocess

import pytest

from harness.governor import Governor
from harness.processes import wait_until

from .conftest import BUILD, DEADLINE
from .policies import ENFORCE
from .test_freeze import guard_of
from .test_preload import program

SOURCE = pathlib.Path(__file__).parent / "programs/refuse_copies.c"


@pytest.fixture
def refusing(stage):
    """Starts a memgovd that cannot copy descriptors of `kind` before the file that is returned has gone."""
    library = stage.directory / "refuse_copies.so"
    subprocess.run([program("cc", "gcc"), "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    refused = stage.directory / "refused"

    def start(kind: str) -> pathlib.Path:
        refused.write_text(kind)
        policy = stage.directory / "policy.yaml"
        policy.write_text(ENFORCE)
        stage.governor = Governor(
            BUILD / "governor/memgovd", policy, stage.directory, [stage.parent.name],
            wrap=lambda argv: ["env", f"LD_PRELOAD={library}", f"REFUSE_COPIES={refused}", *argv])
        return refused

    return start


def said(stage, event: str, words: str) -> bool:
    return any(words in line["text"] for line in stage.governor.of(event))


def test_a_policy_is_followed_once_it_can_be_watched(stage, refusing):
    refused = refusing("inotify")
    deaf = "changes of the policy may be noticed late"
    wait_until(lambda: said(stage, "degraded", deaf), DEADLINE, "it says that it cannot watch the policy")
    os.kill(stage.governor.pid, signal.SIGHUP)
    stage.governor.wait_for("policy_loaded", DEADLINE)
    refused.unlink()
    os.kill(stage.governor.pid, signal.SIGHUP)
    wait_until(lambda: said(stage, "mended", deaf), DEADLINE, "it watches the policy")
    stage.governor.wait_for("policy_loaded", DEADLINE, 2)
    (stage.directory / "policy.yaml").write_text(ENFORCE + "\n# Edited.\n")
    stage.governor.wait_for("policy_loaded", DEADLINE, 3)


def test_a_guard_whose_end_cannot_be_waited_for_is_replaced(stage, refusing):
    refused = refusing("[pidfd]")
    os.kill(guard_of(stage.governor.pid), signal.SIGKILL)
    first = stage.governor.wait_for("guard_started", DEADLINE)
    refused.unlink()
    os.kill(first["pid"], signal.SIGKILL)
    second = stage.governor.wait_for("guard_started", DEADLINE, 2)
    assert second["pid"] != first["pid"]
