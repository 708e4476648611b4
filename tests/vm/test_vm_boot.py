"""The machine is what the other tests take it for: pure cgroup v2 with a real OOM killer, and an honest courier."""

import json
import re

import pytest

import vm

PYTHON = f"{vm.GUEST_ROOT}/tests/vm/guest/checks.py"


def check(machine: vm.Machine, name: str) -> dict:
    result = machine.run(["python3", PYTHON, name], timeout_s=180)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_it_boots_a_kernel_with_cgroup_v2_and_nothing_else(machine, note):
    result = machine.run(["sh", "-c", "uname -r; grep -c cgroup /proc/mounts; stat -fc %T /sys/fs/cgroup; "
                          "cat /sys/fs/cgroup/cgroup.subtree_control; wc -l </proc/swaps; cat /proc/self/cgroup"])
    kernel, mounts, kind, controllers, swaps, own = result.stdout.splitlines()
    note(f"kernel {kernel}, cgroup v2 with {controllers}; booted in {result.boot_seconds:.1f} s")
    assert re.match(r"6\.\d+", kernel)
    assert (mounts, kind) == ("1", "cgroup2fs")
    assert {"memory", "pids", "cpu"} <= set(controllers.split())
    assert swaps == "1"  # the heading: no swap
    assert own == "0::/"


def test_an_oom_kill_is_real_and_counted_up_to_its_parent(machine, note):
    seen = check(machine, "oom")
    assert seen["status"] == -9
    assert seen["record"], "the kernel's log must name the victim"
    assert seen["leaf"]["oom_kill"] == 1
    assert seen["parent"]["oom_kill"] == 1
    assert seen["parent_local"]["oom_kill"] == 0
    assert seen["parent_after_removal"]["oom_kill"] == 1
    note("a process over memory.max was killed by the kernel; its cgroup and the parent count it")


def test_memory_high_wakes_a_poller_and_kills_nobody(machine):
    seen = check(machine, "high")
    assert seen["pollpri"]
    assert seen["alive"]
    assert seen["events"]["high"] > 0
    assert seen["events"]["oom_kill"] == 0


def test_pressure_is_measured(machine):
    result = machine.run(["cat", "/proc/pressure/memory"])
    assert result.stdout.startswith("some avg10=")


def test_streams_and_the_exit_code_come_back_apart(machine):
    result = machine.run(["sh", "-c", "echo out; echo err >/dev/stderr; exit 7"])
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_a_death_by_signal_is_128_plus_its_number(machine):
    assert machine.run(["sh", "-c", "kill -9 $$"]).exit_code == 137


def test_arguments_and_environment_arrive_as_they_are(machine):
    words = ["a b", "$HOME", "'", '"', "*", "\\", "two\nlines"]
    result = machine.run(["python3", "-c", "import os, sys; print(ascii(sys.argv[1:] + [os.environ['X'], os.getcwd()]))",
                          *words], env={"X": "it's $X"}, cwd="/tmp")
    assert result.stdout.strip() == ascii(words + ["it's $X", "/tmp"])


def test_a_megabyte_of_output_is_complete(machine):
    result = machine.run(["sh", "-c", "seq 1 150000; seq 1 1000 >&2"])
    assert result.stdout.splitlines()[-1] == "150000" and len(result.stdout.splitlines()) == 150000
    assert len(result.stderr.splitlines()) == 1000


def test_what_a_command_leaves_running_ends_with_it(machine):
    machine.run(["sh", "-c", "setsid sleep 1111 & sleep 1111 & sleep 0.2"])
    assert machine.run(["pgrep", "-x", "sleep"]).stdout == ""


def test_files_come_back_from_out(machine, tmp_path):
    machine.run(["sh", "-c", "mkdir -p /out/deep && echo hello >/out/deep/file && head -c 3000000 /dev/zero >/out/big"])
    machine.collect("/out", tmp_path / "new")
    assert (tmp_path / "new/deep/file").read_text() == "hello\n"
    assert (tmp_path / "new/big").stat().st_size == 3000000
    machine.run(["sh", "-c", "rm -r /out/*"])


def test_a_directory_that_is_not_there_is_an_error_and_the_machine_goes_on(machine, tmp_path):
    with pytest.raises(vm.VmError, match="/nowhere"):
        machine.collect("/nowhere", tmp_path)
    assert machine.run(["true"]).exit_code == 0
