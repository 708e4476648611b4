"""Busy processors: a spinning loop for each, beside what is measured, at normal weight."""

from __future__ import annotations

import os
import subprocess
import sys

# Ends with whoever started it, also when that one is killed.
_LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(10**5): pass\n"


class Busy:
    """A context manager; the loops spin inside it. `loops` None: as many as there are processors for us."""

    def __init__(self, loops: int | None = None):
        self._wanted = len(os.sched_getaffinity(0)) if loops is None else loops
        self.loops: list[subprocess.Popen] = []

    def __enter__(self) -> "Busy":
        for _ in range(self._wanted):
            self.loops.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", _LOOP, str(os.getpid())],
                                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        return self

    def __exit__(self, *exc) -> None:
        for loop in self.loops:
            loop.kill()
        for loop in self.loops:
            loop.wait()
