"""systemd and runc rewrite a braked cgroup: our brake comes back where it was only reset, foreign values stay."""

import json

import vm

SCRIPT = f"{vm.GUEST_ROOT}/tests/vm/guest/brake_reconcile.py"
OURS = 58093568
SOON = 2.0  # seconds; by a sample it would be 3 and more


def test_foreign_values_survive_and_resets_are_undone(note):
    with vm.Machine(files=vm.stage_tree(), flavour="systemd") as machine:
        result = machine.run(["python3", SCRIPT], timeout_s=600, env=vm.tree_env())
    print(result.stderr[-6000:])
    assert result.exit_code == 0
    seen = json.loads(result.stdout.splitlines()[-1])
    print(seen)

    assert seen["after_reload"] in (None, OURS), "reset, or left alone"
    assert seen["sibling_kept"]
    assert seen["foreign_kept"] and seen["foreign_kept_after_reload"]
    assert seen["marks_left"] == 0, "ours is forgotten"
    assert seen["told_s"] < SOON

    assert seen["episode_foreign_kept"] and seen["episode_told_s"] < SOON
    assert seen["no_brake_before_relaxed"]

    assert seen["runc_limit"] == 80 << 20
    assert seen["runc_foreign_kept"] and seen["runc_told_s"] < SOON
    assert seen["status"] == 0
    note(f"systemd and runc beside a brake: {seen}")
