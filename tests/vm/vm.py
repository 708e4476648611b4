#!/usr/bin/env python3
"""Runs commands as root in a small virtual machine: pure cgroup v2, no swap, a real OOM killer.

The first run builds an image (half a minute) and keeps it in ~/.cache/memgov/vm; later ones boot in a few seconds.
The machine is emulated, 10 to 30 times slower than the host: trust orderings and ratios measured in it, not
microseconds. For Python: `import vm` with tests/ on the path, then vm.run(...) or vm.Machine(...).
"""

import argparse
import pathlib
import signal
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)  # so that "vm" is the package, not this file

from vm import GUEST_ROOT, FilePair, ImageError, VmError, VmTimeout, image, run, stage_tree, tree_env  # noqa: E402

EXAMPLES = """\
examples:
  python3 tests/vm/vm.py run -- sh -c 'uname -r; cat /sys/fs/cgroup/cgroup.controllers'
  python3 tests/vm/vm.py run --files ./policy.yaml:/etc/policy.yaml -- cat /etc/policy.yaml
  python3 tests/vm/vm.py run --out logs -- sh -c 'dmesg > /out/dmesg.txt'
  python3 tests/vm/vm.py run --tree --memory 3072 --out out -- python3 /memgov/tests/demo/demo.py

exit code: the command's; 124 on a timeout, 125 when the machine could not be built, booted or kept running"""


def _file_pair(text: str) -> FilePair:
    source, separator, destination = text.rpartition(":")
    if not separator or not source or not destination.startswith("/"):
        raise argparse.ArgumentTypeError(f"'{text}' is not SOURCE:/ABSOLUTE/DESTINATION")
    return source, destination


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    job = commands.add_parser("run", help="boot, run one command, power off", epilog=EXAMPLES,
                              formatter_class=argparse.RawDescriptionHelpFormatter)
    job.add_argument("--memory", type=int, default=2048, metavar="MIB", help="the guest's memory (2048)")
    job.add_argument("--cpus", type=int, default=2, help="its processors (2)")
    job.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for the command (600)")
    job.add_argument("--files", type=_file_pair, action="append", default=[], metavar="SOURCE:DESTINATION",
                     help="a file or directory to pass in; may be repeated")
    job.add_argument("--tree", action="store_true",
                     help=f"pass in tests/ and the built programs below {GUEST_ROOT}, and set MEMGOV_BUILD")
    job.add_argument("--env", type=_variable, action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    job.add_argument("--cwd", default="/root", help="where the command starts (/root)")
    job.add_argument("--out", metavar="DIRECTORY", help="receives what the command left in the guest's /out")
    job.add_argument("--flavour", default="base", choices=sorted(image.FLAVOURS))
    job.add_argument("command", nargs="+", metavar="-- COMMAND ...", help="what to run, as root")
    job.set_defaults(act=_run)
    build = commands.add_parser("image", help="build an image unless the cache holds it; print its files")
    build.add_argument("--flavour", default="base", choices=sorted(image.FLAVOURS))
    build.add_argument("--rebuild", action="store_true", help="build even when the cache holds it")
    build.set_defaults(act=_image)
    return parser


def _image(arguments: argparse.Namespace) -> int:
    files = image.ensure(arguments.flavour, arguments.rebuild)
    print(f"{files.kernel}\n{files.initrd}\n{files.root}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    env = {**(tree_env() if arguments.tree else {}), **dict(arguments.env)}
    pairs = (stage_tree() if arguments.tree else []) + arguments.files
    result = run(arguments.command, pairs, arguments.memory, arguments.cpus, arguments.timeout, arguments.out, env,
                 arguments.cwd, flavour=arguments.flavour)
    print(f"vm: exit {result.exit_code} after {result.seconds:.1f} s (boot {result.boot_seconds:.1f} s)",
          file=sys.stderr)
    return result.exit_code


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave through the clean-up
    try:
        return arguments.act(arguments)
    except VmTimeout as error:
        print(f"vm: {error}", file=sys.stderr)
        return 124
    except (VmError, ImageError, OSError, ValueError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        print("vm: interrupted; the machine is gone", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
