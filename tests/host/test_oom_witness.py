"""What memgovd says when the kernel kills: once, with the domain, the victim and who else was there."""

import signal
import subprocess

from harness.cgroups import Cgroup
from harness.processes import wait_until

from .conftest import DEADLINE, scaled
from .policies import OBSERVE

# Takes memory a MiB at a time until somebody ends it.
KILLS = 30
HOG = "import sys\nheld = []\nwhile True: held.append(bytearray(1 << 20))\n"


def hog_in(stage, leaf: Cgroup) -> int:
    """Starts a process in `leaf` that grows until the kernel kills it; its pid."""
    process = subprocess.Popen(leaf.wrap(["/usr/bin/python3", "-c", HOG]))
    assert process.wait(DEADLINE) == -signal.SIGKILL
    return process.pid


def test_a_kill_at_an_ancestors_limit_names_domain_victim_and_processes(stage):
    governor = stage.govern(OBSERVE)
    leaf = stage.parent.child("greedy")
    pid = hog_in(stage, leaf)
    kill = governor.wait_for("oom_kill", DEADLINE)
    assert (kill["domain"], kill["cgroup"], kill["kills"]) == (stage.parent.name, leaf.name, 1)
    assert kill["victim"] == {"pid": pid, "name": "python3", "cgroup": leaf.name}
    assert kill["processes"][0]["pid"] == pid
    assert kill["processes"][0]["rss"] > stage.parent.limit // 2
    assert f"python3 (pid {pid}) in {leaf.name}" in kill["text"]


def test_a_kill_is_reported_once_though_every_cgroup_above_counts_it(stage):
    governor = stage.govern(OBSERVE)
    leaf = stage.parent.child("greedy")
    hog_in(stage, leaf)
    governor.wait_for("oom_kill", DEADLINE)
    wait_until(lambda: leaf.oom_kills() == 1, DEADLINE, "the kill is counted")
    second = stage.parent.child("second", scaled(64))
    pid = hog_in(stage, second)
    kill = governor.wait_for("oom_kill", DEADLINE, 2)
    assert (kill["domain"], kill["victim"]["pid"]) == (second.name, pid)
    # A third, so that what the first two still had to say has been said.
    hog_in(stage, second)
    governor.wait_for("oom_kill", DEADLINE, 3)
    assert len(governor.of("oom_kill")) == 3


def test_no_kill_is_lost_though_each_cgroup_is_removed_at_once(stage):
    """Faster than the kernel's log tells of each in full: after ten in 5 s it names but no longer places them."""
    governor = stage.govern(OBSERVE, roots=["/"])  # so that a kill in a cgroup that nobody has seen is its business too
    killed = {}
    for number in range(KILLS):
        leaf = Cgroup.create(stage.parent.hierarchy, f"{stage.parent.name}/n{number}", scaled(32))
        killed[hog_in(stage, leaf)] = leaf.name
        leaf.remove()

    def ours() -> list[dict]:
        return [kill for kill in governor.of("oom_kill")
                if kill["cgroup"].startswith(stage.parent.name) or kill.get("victim", {}).get("pid") in killed]

    wait_until(lambda: sum(kill["kills"] for kill in ours()) >= KILLS, DEADLINE, "all kills reported")
    kills = ours()
    assert sum(kill["kills"] for kill in kills) == KILLS
    named = [kill["victim"]["pid"] for kill in kills if "victim" in kill]
    assert len(named) == len(set(named))
    for kill in kills:
        # A cgroup may come and go before anybody looks (v1); the one above counts for it on v2.
        assert kill["cgroup"] in [*killed.values(), stage.parent.name, ""]
        if kill["cgroup"] in killed.values() and "victim" in kill:
            assert killed[kill["victim"]["pid"]] == kill["cgroup"]
    placed = sum(1 for kill in kills if kill["cgroup"] in killed.values())
    print(f"{len(named)} of {KILLS} victims named, {placed} placed, {sum(1 for kill in kills if kill['processes'])} with processes")
