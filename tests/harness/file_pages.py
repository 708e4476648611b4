"""Who pays for a program's file pages: the cgroup that reads them first, for as long as they stay in memory.

Read from outside beforehand, a program's code costs the limited cgroup nothing. A private copy that nobody has read
is charged inside; at the limit v1 then drops and reads such pages again and again instead of killing anyone.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

_LIBRARY = re.compile(r"(?:=>\s*)?(/\S+)\s+\(0x[0-9a-f]+\)")


def files_of(program: pathlib.Path) -> list[pathlib.Path]:
    """The program and the shared objects that it loads at start."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [program, *(pathlib.Path(path) for path in _LIBRARY.findall(listed))]


def read_from_outside(programs: list[pathlib.Path]) -> int:
    """Brings the files of all programs into memory at our own expense. Returns their bytes."""
    total = 0
    for path in sorted({path.resolve() for program in programs for path in files_of(program)}):
        total += len(path.read_bytes())
    return total


def unread_copy(program: pathlib.Path, directory: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
    """Copies the program and its libraries (but for the loader) into `directory` and out of memory again.
    Returns the copy and the environment that makes it use the copied libraries."""
    directory.mkdir(parents=True, exist_ok=True)
    for source in files_of(program):
        if source.name.startswith("ld-linux"):
            continue
        target = directory / source.name
        if not target.exists():
            shutil.copy(source, target)
            _forget(target)
    return directory / program.name, {"LD_LIBRARY_PATH": str(directory)}


def unread_file(path: pathlib.Path, size: int) -> pathlib.Path:
    """A file of `size` bytes that is on the disk but not in memory."""
    with open(path, "wb") as file:
        for _ in range(0, size, 1 << 20):
            file.write(os.urandom(1 << 20))
        file.truncate(size)
    _forget(path)
    return path


def _forget(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
