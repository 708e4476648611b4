"""The same demo in a virtual machine with cgroup v2: this file carries it in, and its pictures out.

The machine is emulated, so sizes and rates are scaled down, and its times are 10 to 30 times those of a host.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from . import picture
from .scene import DemoError

SCALE = 0.25  # of the sizes on a host, unless --scale says otherwise
MEMORY_MIB = 2048
TIMEOUT_S = 900.0  # for one repetition


def play(options: argparse.Namespace) -> int:
    """Plays it with the given options; returns the demo's exit status. DemoError when there is no machine."""
    import vm  # only here: nothing else of the demo needs it

    try:
        result = vm.run(command(options, vm.GUEST_ROOT), vm.stage_tree(options.build), MEMORY_MIB,
                        timeout_s=TIMEOUT_S * options.repeat * (1.5 if options.busy else 1), out_dir=options.out, env=vm.tree_env())
    except (vm.VmError, vm.VmTimeout, vm.ImageError, OSError) as error:
        raise DemoError(f"the virtual machine: {error}") from error
    for drawn in sorted(pathlib.Path(options.out).glob("demo-*.svg")):
        picture.rasterise(drawn)
    print(f"pictures: {options.out}", file=sys.stderr)
    return result.exit_code


def command(options: argparse.Namespace, root: str) -> list[str]:
    """The command line inside: the same demo, scaled, with its pictures where the machine hands files out."""
    words = ["python3", f"{root}/tests/demo/demo.py", "--out", "/out", "--scene", options.scene,
             "--pattern", options.pattern, "--repeat", str(options.repeat), "--scale", str(options.scale or SCALE)]
    words += [word for word, wanted in (("--json", options.json), ("--busy", options.busy)) if wanted]
    if options.encore is not None:
        words.append("--encore" if options.encore else "--no-encore")
    return words
