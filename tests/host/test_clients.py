"""The real clients against the real daemon: asked, given back, seen in the cgroup, data intact."""

import os
import signal

import pytest

from .conftest import DEADLINE, MIB, scaled
from .policies import ENFORCE, OBSERVE

from harness.processes import wait_until


def final_of(service) -> dict:
    """The last line of a service that is ended now; all its data was right."""
    assert service.stop() == 0, service.last_words()
    final = service.lines[-1]
    assert final.get("errors", 0) == 0, final
    return final


@pytest.mark.parametrize(("client", "action", "least_mib"),
                         [("jemalloc", "release", 100), ("glibc", "release", 100), ("go", "collect", 100)])
def test_an_asked_client_gives_back_and_its_data_stay_right(stage, client, action, least_mib):
    # Settings off: an eager jemalloc would give back before it is asked.
    governor = stage.govern(ENFORCE + "    actions: [release, collect]\n")
    service = (stage.start_retaining_go(scaled(200)) if client == "go"
               else stage.start_retaining(client, scaled(200)))
    governor.wait_for("attached", DEADLINE)
    held = stage.parent.usage()
    stage.start_crosser(scaled(150)).say("cross 0")
    returned = governor.wait_for("returned", DEADLINE)
    assert returned["action"] == action
    if action == "collect":  # the heap of a slow machine may be asked twice, each time for a part
        wait_until(lambda: sum(event["bytes"] for event in governor.of("returned")) >= scaled(least_mib), DEADLINE,
                   "what it gives")
    else:
        assert returned["bytes"] >= scaled(least_mib)
    assert returned["reason"]["rule"] == "test"
    assert service.cgroup.usage() < held - scaled(least_mib)
    assert stage.parent.oom_kills() == 0
    final_of(service)


def test_without_a_policy_it_observes_says_what_it_would_ask_and_asks_nothing(stage):
    governor = stage.govern(None)
    service = stage.start_retaining("jemalloc", scaled(200))
    governor.wait_for("attached", DEADLINE)
    crosser = stage.start_crosser(scaled(150))
    crosser.say("cross 0")
    would = governor.wait_for("would_ask", DEADLINE)
    assert would["name"].startswith("retain_jemalloc"[:15])
    crosser.wait_for(lambda line: "crossed_ns" in line, DEADLINE, "the end of its patience")
    assert governor.of("asked", "returned", "brake_armed") == []
    assert service.cgroup.usage() > scaled(150)


def test_a_rule_that_observes_says_the_same(stage):
    governor = stage.govern(OBSERVE)
    stage.start_retaining("jemalloc", scaled(200))
    stage.start_crosser(scaled(150)).say("cross 0")
    assert governor.wait_for("would_ask", DEADLINE)["reason"]["rule"] == "test"
    assert governor.of("asked") == []


def test_a_peer_outside_of_the_watched_cgroups_is_refused_with_the_reason(stage):
    governor = stage.govern(ENFORCE)
    outsider = stage.start("outsider", "tests/bench/bench_idle_memgov", inside=False, commands=True,
                           env={"MEMGOV_LOG": "1"})
    refused = governor.wait_for("refused", DEADLINE)
    assert refused["pid"] == outsider.pid
    assert "outside of what this governor watches" in refused["text"]
    assert stage.parent.name in refused["text"]
    # The peer is told, too.
    wait_until(lambda: "outside of what this governor watches" in outsider.log.read_text(), DEADLINE,
               "the reason at the peer")


def test_clients_come_back_after_the_governor_was_killed(stage):
    governor = stage.govern(ENFORCE)
    service = stage.start_retaining("jemalloc", scaled(60))
    go = stage.start_retaining_go(scaled(60))
    governor.wait_for("attached", DEADLINE, 2)
    os.kill(governor.pid, signal.SIGKILL)
    governor.service.process.wait(DEADLINE)
    assert service.alive and go.alive
    stage.govern(ENFORCE).wait_for("attached", DEADLINE, 2)
    final_of(service)
    final_of(go)


def test_a_client_that_is_killed_is_detached_and_the_others_still_help(stage):
    governor = stage.govern(ENFORCE)
    victim = stage.start_retaining("glibc", scaled(100))
    helper = stage.start_retaining("jemalloc", scaled(150))
    governor.wait_for("attached", DEADLINE, 2)
    os.kill(victim.pid, signal.SIGKILL)
    assert governor.wait_for("detached", DEADLINE)["pid"] == victim.pid
    stage.start_crosser(scaled(250)).say("cross 0")
    asked = governor.wait_for("asked", DEADLINE)
    assert asked["pid"] == helper.pid
    assert helper.cgroup.usage() < scaled(150) + 8 * MIB
