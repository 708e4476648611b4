"""No container keeps our memory.high, whoever is killed while it brakes: many times each, on a real kernel.

MEMGOV_KILLS=100 is the long run."""

import json
import os

import pytest

import vm

LANES = 4
KILLS = max(1, int(os.environ.get("MEMGOV_KILLS", "40")) // LANES) * LANES
SCRIPT = f"{vm.GUEST_ROOT}/tests/vm/guest/brake_life.py"


@pytest.mark.parametrize(("who", "undone_by"), [
    ("governor", "its guard"),
    ("guard", "the governor, which then started another guard"),
    ("both", "the next start, observing or not, or --restore"),
])
def test_kill_9_while_braking_leaves_nothing(machine, note, who, undone_by):
    result = machine.run(["python3", SCRIPT, who, str(KILLS), str(LANES)], timeout_s=900, env=vm.tree_env())
    print(result.stderr[-6000:])
    assert result.exit_code == 0
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen["kills"] == KILLS
    assert seen["left_before"] >= KILLS // 2, "a kill that finds nothing to undo shows nothing"
    assert seen["left_after"] == 0
    note(f"kill -9 of {who} while braking, {KILLS} times: undone by {undone_by} after {seen['p50_ms']} ms "
         f"(median), {seen['max_ms']} ms at most; in {seen['seconds']} s")
