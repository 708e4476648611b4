"""Each known attack on the governor's socket, for a few seconds, from one tenant: memgovd lives and stays small, and a client of
another tenant attaches and is asked meanwhile. Whoever is refused is told why, and so is the log. `./dev bench hostile` measures
the same."""

import os
import time

import pytest

from harness import attacks, peer
from harness.attacks import Attack
from harness.cgroups import Cgroup
from harness.crossings import CrossingTenant
from harness.process_watch import ProcessWatch
from harness.processes import wait_until

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE

# The wire alone wakes: a forecast would ask before the crossing.
POLICY = ENFORCE + """\
    wake: {usage: 85%, timeToLimit: never}
    critical: {usage: 98%, timeToLimit: never}
    actions: [release]
    pace: {cooldown: 100ms}
"""
SECONDS = 2
MAY_GROW = 8 * MIB
# What a tenant may do so long, and is at most slowed down in.
ALLOWED = {"reports", "reports-one", "deaf-reports", "silent", "connects", "churn"}


class Tenants:
    """An honest one, another that attaches, and the attacker, each in a cgroup of its own; memgovd where it can be killed by its
    own limit alone."""

    def __init__(self, stage, governor_cgroup: Cgroup):
        self.stage = stage
        self.evil = stage.parent.child("evil", scaled(200))
        honest = stage.parent.child("honest", scaled(240))
        self.governor = stage.govern(POLICY, cgroup=governor_cgroup)
        self.honest = CrossingTenant(BUILD, stage.directory, honest, self.governor.socket, hold=scaled(80), base=scaled(60),
                                     back_percent=90)
        self.other = peer.start("other", stage.directory, stage.parent.child("other"), self.governor.socket)
        self.honest.wait_until_ready()

    def attack(self, attack: Attack):
        attacker = attack.start(BUILD, self.stage.directory, self.evil, self.governor.socket, SECONDS)
        self.stage.services.append(attacker)
        return attacker

    def cross(self):
        self.honest.refill(0.65)
        crossing = self.honest.cross()
        self.honest.wait_until_below(80, DEADLINE)
        return crossing

    def complaints(self) -> list[str]:
        """What the log says of the attacker."""
        return [event["text"] for event in self.governor.of("refused", "dropped", "detached")
                if "evil" in event["text"] + event.get("cgroup", "") + event.get("container", "")]

    def stop(self) -> None:
        self.other.stop()
        self.honest.stop()


@pytest.fixture
def tenants(stage, hierarchy):
    with Cgroup.create(hierarchy, f"/memgov-hostd-{os.getpid()}", scaled(600)) as own:
        made = Tenants(stage, own)
        yield made
        made.stop()
        stage.governor.stop()


@pytest.mark.parametrize("attack", attacks.FLOODS, ids=lambda attack: attack.name)
def test_an_attack_is_its_tenants_trouble_only(tenants, attack):
    tenants.cross()  # what is allocated once is there now
    with ProcessWatch(tenants.governor.pid) as watch:
        wait_until(lambda: watch.readings, DEADLINE, "a reading")
        began = time.monotonic()
        attacker = tenants.attack(attack)
        crossings, answers = [], []
        while attacker.alive:
            crossings.append(tenants.cross())
            answers.append(tenants.other.ask("probe honest", "took_ms", DEADLINE))
        grown = watch.grown(began)
    assert tenants.governor.service.alive, tenants.governor.service.last_words()
    assert grown <= MAY_GROW, f"memgovd grew by {grown / MIB:.1f} MiB"
    assert all(crossing.received_ms is not None for crossing in crossings), crossings
    assert [answer for answer in answers if "ended" in answer] == []
    if attack.name not in ALLOWED:
        wait_until(tenants.complaints, DEADLINE, "a line in the log that names the tenant")
    # Its service comes back once it behaves.
    if attack.program == "flooder":
        repentant = peer.start("repentant", tenants.stage.directory, tenants.evil, tenants.governor.socket)
        tenants.stage.services.append(repentant)
        wait_until(lambda: "cgroup" in repentant.ask("probe repentant", "took_ms", DEADLINE), DEADLINE, "a welcome", every=0.5)


@pytest.mark.parametrize("attack", [attack for attack in attacks.FLOODS
                                    if attack.chunk and not attack.deaf and attack.name not in ALLOWED],
                         ids=lambda attack: attack.name)
def test_whoever_attacks_is_told_why(tenants, attack):
    evil = peer.start("evil", tenants.stage.directory, tenants.evil, tenants.governor.socket)
    tenants.stage.services.append(evil)
    octets = tenants.stage.directory / "attack"
    octets.write_bytes(attack.once())
    end = evil.ask(f"send {octets}", "ended", DEADLINE)
    assert end["ended"] in ("goaway", "reset", "status"), end
    if end["ended"] != "reset":
        assert end["text"], "a reason in words"
