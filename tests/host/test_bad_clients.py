"""Clients that hang, die, lie or talk nonsense mid-directive: the governor goes on, and the honest ones still help."""

import pytest

from harness.processes import wait_until

from .conftest import DEADLINE, MIB, scaled
from .policies import ENFORCE

# A short cooldown: the honest client's turn comes once the bad one had its chance, a quarter of the deadline. That is long
# enough for a busy machine to answer in.
POLICY = ENFORCE + "    actions: [release]\n    pace: {cooldown: 500ms, deadline: 4s}\n"


def start_both(stage, mode: str):
    governor = stage.govern(POLICY)
    honest = stage.start_retaining("jemalloc", scaled(130))
    claim = f"{scaled(200) // MIB}MiB"
    bad = stage.start("bad", "tests/conformance/bad_client", "--mode", mode, "--claim", claim)
    return governor, honest, bad


def cross(stage) -> None:
    """Over the wire so slowly that the larger claim, the bad client's, seems to be enough."""
    stage.start_crosser(scaled(60)).say(f"cross {max(1, scaled(40) // MIB)}")


@pytest.mark.parametrize(("mode", "event", "why"), [
    ("hang", "expired", "deadline"),
    ("die", "expired", "left"),
    ("lie", "returned", ""),
    ("fail", "declined", "on purpose"),
])
def test_a_client_that_does_not_do_what_it_is_asked_does_not_hurt(stage, mode, event, why):
    governor, honest, bad = start_both(stage, mode)
    governor.wait_for("attached", DEADLINE, 2)
    cross(stage)
    wait_until(lambda: stage.events(event, "bad_client"), DEADLINE, f"event {event} of the bad client")
    ended = stage.events(event, "bad_client")[0]
    assert why in ended["text"]
    assert ended["bytes"] < MIB, "the cgroup is believed, not the client"
    if mode != "die":  # whose end alone relieves the domain
        wait_until(lambda: stage.events("returned", "retain_jemalloc"), DEADLINE, "help from the honest client")
        assert stage.events("returned", "retain_jemalloc")[0]["bytes"] > scaled(70)
    assert governor.service.alive
    assert stage.parent.oom_kills() == 0


@pytest.mark.parametrize(("mode", "code"), [("repeat", 3), ("foreign", 3), ("huge", 8)])
def test_a_client_that_breaks_the_protocol_is_sent_away_with_the_reason(stage, mode, code):
    governor, honest, bad = start_both(stage, mode)
    governor.wait_for("attached", DEADLINE, 1 if mode == "huge" else 2)
    if mode != "huge":
        cross(stage)
    ended = bad.wait_for(lambda line: "ended" in line, DEADLINE, "the end of its stream")
    assert ended["ended"] == code, ended
    assert ended["ended_text"], "the peer is told why"
    assert governor.service.alive and honest.alive
