"""What benches share that play a program with memgov and without, in alternating order."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import signal
import sys

from .cgroups import Cgroup
from .governor import Governor, socket_in


def arms(number: int) -> tuple[bool, bool]:
    """Whether with memgov, for the two runs of round `number`: neither arm always comes first."""
    return (number % 2 == 1, number % 2 == 0)


def govern(stack: contextlib.ExitStack, memgovd: pathlib.Path, parent: Cgroup, directory: pathlib.Path) -> Governor:
    """A memgovd that enforces the defaults below `parent`, until `stack` ends."""
    policy = directory / "policy.yaml"
    policy.write_text(f"""\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: bench
    match: {{cgroup: "{parent.name}/**"}}
    mode: enforce
""")
    return stack.enter_context(Governor(memgovd, policy, directory, [parent.name]))


def environment(memgov: bool, directory: pathlib.Path) -> dict[str, str]:
    """What tells a program, and one in Go, whether it is to attach."""
    return {"MEMGOV_SOCKET": str(socket_in(directory)), "MEMGOV_DISABLE": "" if memgov else "1", "GOMEMLIMIT": "off"}


def parser(name: str, description: str, examples: str, build: pathlib.Path) -> argparse.ArgumentParser:
    """With the options that all of them have."""
    made = argparse.ArgumentParser(prog=f"./dev bench {name}", description=description, epilog=examples,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--memgovd", type=pathlib.Path, default=build / "governor/memgovd", metavar="FILE",
                      help="the daemon (default: of the build)")
    made.add_argument("--json", action="store_true", help="the last line is one JSON object")
    return made


def begin(made: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuses a daemon that is none; from here on SIGTERM removes the cgroups, too."""
    if not os.access(options.memgovd, os.X_OK):
        made.error(f"--memgovd {options.memgovd}: no such program; run ./dev build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
