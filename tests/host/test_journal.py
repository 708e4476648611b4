"""The journal of the real daemon: what it decided is decided again, whatever happened to it or to the disk."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from .conftest import DEADLINE, ctl, scaled
from .policies import ENFORCE, OBSERVE

from harness.processes import wait_until


def replay(journal: pathlib.Path, *arguments) -> dict:
    done = ctl("replay", "--json", *arguments, journal)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def records(journal: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in ctl("journal", "--json", journal).stdout.splitlines()]


def degraded(stage) -> list[str]:
    """What the status says of the journal."""
    status = json.loads((stage.directory / "state/status.json").read_text())
    return [what for what in status["degraded"] if what.startswith("journal: ")]


def save(stage, governor) -> None:
    """A client is asked for memory and gives it back."""
    stage.start_retaining("jemalloc", scaled(200))
    governor.wait_for("attached", DEADLINE)
    stage.start_crosser(scaled(150)).say("cross 0")
    governor.wait_for("returned", DEADLINE)
    assert stage.parent.oom_kills() == 0


def test_a_save_is_decided_again_byte_for_byte(stage):
    journal = stage.directory / "journal"
    governor = stage.govern(ENFORCE + "    actions: [release, collect]\n", "--journal", str(journal))
    save(stage, governor)
    governor.service.stop()
    done = ctl("replay", journal)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert ", identical (" in done.stdout
    result = replay(journal)
    assert result["identical"] and result["decisions"] > 0 and result["runs"] == 1
    asked = [directive for record in records(journal)
             for directive in record.get("tick", {}).get("decisions", {}).get("directives", [])]
    assert len(asked) == len(governor.of("asked"))


def test_another_policy_is_put_beside_what_was_asked(stage):
    journal = stage.directory / "journal"
    governor = stage.govern(ENFORCE + "    actions: [release, collect]\n", "--journal", str(journal))
    save(stage, governor)
    governor.service.stop()
    policy = stage.directory / "observe.yaml"
    policy.write_text(OBSERVE + "    actions: [release, collect]\n")
    comparison = replay(journal, "--policy", policy)
    recorded, replayed = comparison["recorded"], comparison["replayed"]
    assert recorded["asked"]["requests"] == len(governor.of("asked"))
    assert recorded["notes"]["returned"] == len(governor.of("returned"))
    assert replayed["asked"]["requests"] == 0 and replayed["asked"]["would_requests"] > 0
    assert list(replayed["containers"]) == [stage.parent.name + "/jemalloc"]
    table = ctl("replay", "--policy", policy, journal)
    assert table.returncode == 0 and "\033" not in table.stdout
    assert "does not react" in table.stdout


def test_a_killed_daemon_leaves_a_journal_that_is_replayed_and_gone_on_with(stage):
    journal = stage.directory / "journal"
    governor = stage.govern(ENFORCE + "    actions: [release, collect]\n", "--journal", str(journal))
    save(stage, governor)
    segment = journal / "journal-00000001.mgj"
    # What was decided when memory had come back is in the file within the writer's 50 ms.
    wait_until(lambda: any(note["kind"] == "returned" for record in records(journal)
                           for note in record.get("tick", {}).get("decisions", {}).get("notes", [])),
               DEADLINE, "the end of the need in the journal")
    os.kill(governor.pid, signal.SIGKILL)
    governor.service.stop()
    os.truncate(segment, segment.stat().st_size - 3)  # as if it had been killed in the middle of a record
    stage.govern(ENFORCE, "--journal", str(journal)).service.stop()
    result = replay(journal)
    assert result["identical"] and result["decisions"] > 0 and result["runs"] == 2
    [trouble] = result["troubles"]
    assert trouble.startswith(f"{segment}: a record is cut off at byte ")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_told_and_recording_goes_on_when_there_is_room(stage, small_disk):
    journal = small_disk / "journal"
    ballast = small_disk / "ballast"
    governor = stage.govern(OBSERVE, "--journal", str(journal))
    wait_until(lambda: len(records(journal)) > 2, DEADLINE, "the first records")
    with ballast.open("wb", buffering=0) as file:  # until not one page is left
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass

    wait_until(lambda: degraded(stage), DEADLINE, "the journal degraded")
    assert degraded(stage) == [f"journal: writing to {journal}: No space left on device; what happens meanwhile is "
                               "not recorded"]

    ballast.unlink()
    back = governor.wait_for("journal_back", DEADLINE)
    assert back["lost_ticks"] > 0
    wait_until(lambda: degraded(stage) == [], DEADLINE, "a journal that is well")
    governor.service.stop()

    [gap] = [record["keyframe"] for record in records(journal)
             if record.get("keyframe", {}).get("beginning") == "gap"]
    assert gap["lost_ticks"] == back["lost_ticks"] and "No space left on device" in gap["lost_why"]
    result = replay(journal)
    assert result["identical"] and result["ticks"] > 0 and result["unjudged_ticks"] > 0
    assert any("records are missing, because of: writing to " in trouble for trouble in result["troubles"])


def test_what_is_no_journal_is_refused_with_the_reason(tmp_path):
    done = ctl("replay", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"memgovctl: {tmp_path}: no journal-*.mgj in it\n"
    policy = tmp_path / "bad.yaml"
    policy.write_text("kind: Polisy\n")
    done = ctl("replay", "--policy", policy, tmp_path)
    assert done.returncode == 2 and "bad.yaml:1:" in done.stderr
