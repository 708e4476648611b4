"""When the guest hangs or dies, the caller learns why, and nothing is left behind. Each test has its own machine."""

import glob
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

import vm

VM = pathlib.Path(__file__).with_name("vm.py")


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> pathlib.Path:
    """Where the machines of one test keep their files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def process_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_a_command_that_hangs_costs_the_machine(scratch):
    with vm.Machine() as machine:
        with pytest.raises(vm.VmTimeout, match=r"`sleep 1000` did not end within 1 s; killed the emulator \(process") as late:
            machine.run(["sleep", "1000"], timeout_s=1)
        assert not machine.alive
        with pytest.raises(vm.VmError, match="the machine is gone"):
            machine.run(["true"])
    assert process_gone(int(str(late.value).split("(process ")[1].split(")")[0]))
    assert glob.glob(f"{scratch}/memgov-vm-*") == []


def test_a_kernel_panic_shows_the_console(scratch):
    with vm.Machine(memory_mib=512, cpus=1) as machine, pytest.raises(vm.VmError, match="sysrq triggered crash"):
        machine.run(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout_s=60)
    assert glob.glob(f"{scratch}/memgov-vm-*") == []


def test_the_emulator_dies_with_its_owner_even_when_that_is_killed(scratch):
    owner = subprocess.Popen([sys.executable, str(VM), "run", "--", "sh", "-c", "echo up; sleep 1000"],
                             stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(scratch)})
    try:
        assert owner.stdout.readline() == b"up\n"
        emulators = pathlib.Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    finally:
        owner.kill()
        owner.wait()
    assert len(emulators) == 1
    subprocess.run(["tail", f"--pid={emulators[0]}", "-f", "/dev/null"], timeout=30, check=True)
