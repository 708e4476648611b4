"""Runs a benchmark of this folder inside the cgroup v2 machine and brings its figures out."""

from __future__ import annotations

import json

import vm

MEMORY_MIB = 2048
TIMEOUT_S = 3000.0


class BenchError(RuntimeError):
    """The benchmark did not come to its end; the message says how far it came."""


def run(name: str, arguments: list[str]) -> dict[str, float]:
    """`name` as in ./dev bench NAME. Its progress goes to our stderr."""
    command = ["python3", f"{vm.GUEST_ROOT}/tests/bench/{name}_bench.py", "--json", *arguments]
    result = vm.run(command, vm.stage_tree(), MEMORY_MIB, timeout_s=TIMEOUT_S, env=vm.tree_env())
    lines = result.stdout.strip().splitlines()
    if result.exit_code != 0 or not lines:
        raise BenchError(f"{name} in the VM ended with status {result.exit_code}: {result.stderr[-2000:]}")
    return json.loads(lines[-1])
