"""A virtual machine with cgroup v2 for tests, the demo and the benches; vm.py is its command line.

    with vm.Machine(files=vm.stage_tree()) as machine:
        result = machine.run(["uname", "-r"])

One boot serves any number of commands. vm.run() boots for a single one.
"""

from .files import GUEST_ROOT, FilePair, stage_tree, tree_env
from .image import ImageError
from .machine import Machine, Result, VmError, VmTimeout, run

__all__ = ["GUEST_ROOT", "FilePair", "ImageError", "Machine", "Result", "VmError", "VmTimeout", "run", "stage_tree",
           "tree_env"]
