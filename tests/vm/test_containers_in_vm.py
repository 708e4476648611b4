"""The tests with real containers, where cgroup v2 gives each a memory.max and runc's default is a private namespace.

They need an image with the runtimes, hence a machine of their own; it is gone before the next file boots another.
"""

import pytest

import vm
from vm.files import GUEST_ROOT

SCALE = "0.25"  # emulation is slow; the proportions stay


@pytest.fixture(scope="module")
def machine_with_containers():
    with vm.Machine(files=vm.stage_tree(), flavour="containers") as machine:
        yield machine


def test_real_containers_are_known_and_give_back_on_cgroup_v2(machine_with_containers, note):
    result = machine_with_containers.run(
        ["python3", "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "tests/host/test_containers.py",
         "tests/host/test_policy.py::test_a_rule_governs_the_pods_of_its_namespace"],
        timeout_s=600, cwd=GUEST_ROOT, env=vm.tree_env() | {"MEMGOV_TEST_SCALE": SCALE})
    print(result.stdout[-12000:])
    assert result.exit_code == 0
    assert "skipped" not in result.stdout, "the image has the runtimes"
    note(f"tests with real containers: {result.stdout.splitlines()[-1]}")
