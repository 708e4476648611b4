"""The rooms' unit tests that want real cgroups, run where cgroup v2 is real; and whether the guest could run all else."""

import re

import pytest

import vm
from vm import files

GTESTS = ("governor/kernel/memgov_kernel_test", "governor/identity/memgov_identity_test")


@pytest.fixture
def built() -> set[str]:
    """The programs that were staged, by their path in the build directory."""
    prefix = f"{vm.GUEST_ROOT}/build/release/"
    return {destination.removeprefix(prefix) for _, destination in vm.stage_tree() if destination.startswith(prefix)}


@pytest.mark.parametrize("program", GTESTS)
def test_the_rooms_unit_tests_pass_on_cgroup_v2(machine, built, note, program):
    if program not in built:
        pytest.skip(f"{program} is not in {files.build_directory()}: ./dev build makes it")
    result = machine.run([f"{vm.GUEST_ROOT}/build/release/{program}"], timeout_s=600, cwd="/tmp",
                         env=vm.tree_env())
    print(result.stdout[-6000:] + result.stderr[-2000:])
    assert result.exit_code == 0
    assert "[  PASSED  ]" in result.stdout
    note(f"{program}: {_gtest_counts(result.stdout)} in {result.seconds:.1f} s")


def _gtest_counts(stdout: str) -> str:
    """"12 tests passed, 1 skipped" from the end of what a GoogleTest program prints."""
    counts = dict(re.findall(r"^\[  (PASSED|SKIPPED) +\] (\d+) tests?", stdout, re.MULTILINE))
    return f"{counts.get('PASSED', '0')} tests passed, {counts.get('SKIPPED', '0')} skipped"


def test_the_harness_works_on_cgroup_v2(machine, note):
    result = machine.run(["python3", "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "tests/harness"],
                         timeout_s=600, cwd=vm.GUEST_ROOT)
    print(result.stdout[-6000:])
    assert result.exit_code == 0
    note(f"tests/harness: {result.stdout.splitlines()[-1]}")


def test_the_guest_has_every_library_that_the_programs_name(machine, built):
    if not built:
        pytest.skip(f"no program is in {files.build_directory()}: ./dev build makes them")
    script = 'for program; do ldd "$program" 2>/dev/null | grep "not found" | sed "s|^|$program|"; done; true'
    programs = [f"{vm.GUEST_ROOT}/build/release/{path}" for path in sorted(built)]
    result = machine.run(["sh", "-c", script, "sh", *programs], timeout_s=300, env=vm.tree_env())
    assert (result.exit_code, result.stdout) == (0, "")
