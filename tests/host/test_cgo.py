"""A Go program with a C heap: two clients of one process, each asked for what it holds. The real daemon and libmemgov."""

import pytest

from .conftest import BUILD, DEADLINE, MIB, SCALE, scaled
from .policies import ENFORCE

from harness.processes import wait_until

BOTH = {"release", "collect"}


def test_both_heaps_of_a_cgo_program_are_given_back(stage):
    if SCALE < 1:
        pytest.skip("heaps of this size are no more than the page cache beside them: one of them is enough")
    governor = stage.govern(ENFORCE + "    actions: [release, collect]\n")
    each = scaled(110) // MIB
    service = stage.start("cgo", "tests/workloads/go_cgo", str(each),
                          str(BUILD / "client/c/libmemgov.so.0"))
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    governor.wait_for("attached", DEADLINE, 2)
    assert {event["pid"] for event in stage.events("attached")} == {service.process.pid}
    held = service.cgroup.usage()
    crosser = stage.start_crosser(scaled(200), patience=2)

    def answered() -> set[str]:
        return {event["action"] for event in stage.events("returned")}

    def cross_until_both_answered() -> bool:
        crosser.say("cross 0")
        before = len(crosser.lines)
        wait_until(lambda: answered() == BOTH or len(crosser.lines) > before, DEADLINE, "end of a crossing")
        return answered() == BOTH

    # A crossing asks those that are known to hold something by then, and a report may be a second old.
    wait_until(cross_until_both_answered, DEADLINE, "an answer of both heaps")
    wait_until(lambda: service.cgroup.usage() < held - scaled(150), DEADLINE, "return of the memory of both heaps")
    assert stage.parent.oom_kills() == 0
    assert service.stop() == 0, service.last_words()
