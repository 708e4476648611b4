"""The end-to-end tests of tests/host, where cgroup v2, its brake and its OOM killer are real."""

import vm
from vm.files import GUEST_ROOT

SCALE = "0.25"  # emulation is slow; the proportions stay


def test_the_end_to_end_tests_pass_on_cgroup_v2(machine, note):
    result = machine.run(["python3", "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "tests/host"],
                         timeout_s=1500, cwd=GUEST_ROOT, env=vm.tree_env() | {"MEMGOV_TEST_SCALE": SCALE})
    print(result.stdout[-12000:])
    assert result.exit_code == 0
    note(f"tests/host: {result.stdout.splitlines()[-1]}")
