"""What memgovd says when the kernel kills: once, with the domain, the victim and who else was there."""

import signal
import subprocess

from harness.cgroups import Cgroup
from harness.processes import wait_until

from .conftest import DEADLINE, scaled
from .policies import OBSERVE

# Takes memory a MiB at a time until somebody ends it.
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
