#!/usr/bin/env python3
"""The house rules as a test: the direction of dependencies between rooms, a pure core, and tidy files.

A rule that only stands in a document erodes; these fail the build with file:line. Each check is a function
from a file to its problems, so that test_tidy.py can show that each one fires.

    tests/tidy/tidy.py [--notes] [ROOT]

Prints a line `file:line: message` for each problem; exit code 1 if there are any. --notes also lists files
that have grown past 300 lines.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

THIS = "tests/tidy/tidy.py"
LONGEST_FILE = 500
LONG_FILE = 300

# Rooms of governor/ at the edge; each knows itself and core, and the daemon passes values between them.
EDGE_ROOMS = {"kernel", "identity", "session", "policy", "journal", "admin", "metrics", "sim"}
# What is decided or simulated there follows from arguments alone.
PURE_ROOMS = {"core", "sim"}
# What any room at the edge may use; of the others it knows core's units alone.
BASE = "base"
ROOMS = EDGE_ROOMS | {"core", BASE}
# Programs and what wires them, which may know all rooms.
PROGRAMS = {"", "ctl"}
# Where generated protobuf types and gRPC may appear.
WIRE_ROOMS = {"session", "policy", "journal", "admin"}

CXX = {".h", ".hpp", ".cc", ".c"}
COMMENTED = CXX | {".py", ".go", ".proto", ".sh"}
CODE = COMMENTED | {".cmake"}
NO_TABS = CXX | {".py", ".proto", ".yaml", ".cmake"}
BUILT = {"build", "out", "__pycache__"}
# Captured kernel files and recorded output stay as they were found.
FOREIGN = re.compile(r"(^|/)(fixtures|testdata)/|(^|/)go\.sum$")
GENERATED = re.compile(r"^// Code generated .* DO NOT EDIT\.$")


@dataclass(frozen=True, order=True)
class Problem:
    path: str
    line: int
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class File:
    path: str  # below the root, with slashes
    text: str

    @property
    def suffix(self):
        return PurePosixPath(self.path).suffix

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def room(self):
        """The room of a file of governor/: "core", "kernel", ..., "" for the daemon; None elsewhere."""
        parts = self.path.split("/")
        if parts[0] != "governor":
            return None
        return parts[1] if len(parts) > 2 else ""

    @property
    def is_test(self):
        name = PurePosixPath(self.path).stem
        return name.endswith("_test") or name == "testing"


# --- reading C++ --------------------------------------------------------------------------------------------
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Comments, raw strings, strings, and characters (but not the ' within 20'000).
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def includes(file):
    """(line, header, angle) of each #include."""
    for number, line in enumerate(file.lines, 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(2), match.group(1) == "<"


def code_lines(text):
    """The lines of C++ without what comments and literals say; as many lines as before."""
    blank = NOT_CODE.sub(lambda match: "\n" * match.group().count("\n") or " ", text)
    return blank.split("\n")


# --- (a) who may include whom -------------------------------------------------------------------------------
def known_to(room):
    """The rooms that a room may include and link."""
    return {room, "core"} | ({BASE} if room in EDGE_ROOMS - PURE_ROOMS else set())


def check_rooms(file):
    if file.suffix not in CXX:
        return
    if file.room is not None and file.room not in ROOMS | PROGRAMS:
        yield Problem(file.path, 1, f"unknown room governor/{file.room}: give it a place in {THIS}")
        return
    for number, header, _ in includes(file):
        parts = header.split("/")
        if parts[0] == "client" and file.room is not None:
            yield Problem(file.path, number, f"governor/ must not include {header}")
        if parts[0] != "governor":
            continue
        if file.path.startswith("client/"):
            yield Problem(file.path, number, f"client/ must not include {header}")
        if file.room is None or file.room in PROGRAMS:
            continue
        target = parts[1] if len(parts) > 2 else ""
        if target not in known_to(file.room):
            name = f"room {target}" if target else "the daemon"
            allowed = "itself" if file.room == "core" else f"core, base and {file.room}"
            yield Problem(file.path, number, f"includes {name}, but room {file.room} may know only {allowed}")


LINKED_ROOM = re.compile(r"\bmemgov_(\w+)")


def check_room_links(file):
    """The same for the link libraries of a room's CMake target."""
    if PurePosixPath(file.path).name != "CMakeLists.txt" or file.room not in ROOMS:
        return
    for number, line in enumerate(file.lines, 1):
        for target in LINKED_ROOM.findall(line.split("#")[0]):
            if target in ROOMS - known_to(file.room) or target == "daemon":
                yield Problem(file.path, number, f"room {file.room} must not link memgov_{target}")


# --- (b) core is pure ---------------------------------------------------------------------------------------
IMPURE_HEADERS = {
    "a clock": {"ctime"},
    "input and output": {"cstdio", "filesystem", "fstream", "iostream", "syncstream"},
    "threads": {"condition_variable", "future", "latch", "barrier", "semaphore", "stop_token", "thread"},
    "locks": {"mutex", "shared_mutex"},
    "atomics": {"atomic"},
    "randomness": {"random"},
    "processes and signals": {"csignal", "cstdlib"},
}
PURE_LIBRARIES = ("absl/strings/", "absl/types/", "absl/container/", "absl/algorithm/")
IMPURE_CODE = [
    (re.compile(r"::now\s*\("), "a clock"),
    (re.compile(r"\b(?:steady|system|high_resolution|utc|file)_clock\b"), "a clock"),
    (re.compile(r"(?<![\w.>])(?:time|clock|clock_gettime|gettimeofday|ftime)\s*\("), "a clock"),
    (re.compile(r"\bstd::(?:cout|cerr|cin|clog|ifstream|ofstream|fstream)\b"), "input or output"),
    (re.compile(r"(?<![\w.>])f?(?:printf|puts|open|read|write|close|scanf)\s*\("), "input or output"),
    (re.compile(r"(?<![\w.>])(?:pread|pwrite|ioctl|syscall|system|popen|getenv)\s*\("), "a system call"),
    (re.compile(r"\bstd::(?:j?thread|async|(?:\w+_)?mutex|\w+_lock|lock_guard)\b"), "threads or locks"),
    (re.compile(r"\bstd::atomic|\bthread_local\b|\bvolatile\b"), "state shared between threads"),
    (re.compile(r"(?<![\w.>])s?rand(?:om)?\s*\(|\bstd::(?:random_device|mt19937)"), "randomness"),
    (re.compile(r"\bgrpc(?:::|_)|\bprotobuf::|\bmemgov::v1::|\bv1::"), "gRPC or protobuf"),
    (re.compile(r"\bspdlog::|\bSPDLOG_|\bABSL_LOG|\bV?LOG\s*\("), "logging"),
]


def check_core(file):
    """core/ and sim/ read nothing but their arguments. Tests may draw random inputs from a seed."""
    if file.room not in PURE_ROOMS or file.suffix not in CXX or file.is_test:
        return
    for number, header, angle in includes(file):
        for what, headers in IMPURE_HEADERS.items():
            if header in headers:
                yield Problem(file.path, number, f"{file.room} is pure: <{header}> brings {what}")
        standard = angle and "/" not in header and "." not in header
        pure = header.startswith(PURE_LIBRARIES) or header.startswith("governor/")
        if not standard and not pure:
            yield Problem(file.path, number, f"{file.room} is pure: {header} is not known to be")
    for number, line in enumerate(code_lines(file.text), 1):
        if INCLUDE.match(line):
            continue
        for pattern, what in IMPURE_CODE:
            match = pattern.search(line)
            if match:
                yield Problem(file.path, number, f"{file.room} is pure: `{match.group().strip()}` is {what}")


# --- (c) the wire stays at the edge -------------------------------------------------------------------------
WIRE_HEADER = re.compile(r"\.pb\.h$|^google/protobuf/|^grpc")


def check_wire(file):
    if file.room is None or file.room in WIRE_ROOMS or file.suffix not in CXX:
        return
    for number, header, _ in includes(file):
        if WIRE_HEADER.search(header):
            rooms = ", ".join(sorted(WIRE_ROOMS))
            yield Problem(file.path, number, f"{header}: generated types and gRPC stay in {rooms}")


# --- (d) tidy files -----------------------------------------------------------------------------------------
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}])/wo" r"rk/\w")


def check_text(file):
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield Problem(file.path, number, "trailing whitespace")
        if "\t" in line and (file.suffix in NO_TABS or file.path.endswith("CMakeLists.txt")):
            yield Problem(file.path, number, "a tab")
        unfinished = UNFINISHED.search(line)
        if unfinished:
            yield Problem(file.path, number, f"{unfinished.group()}: finish it, or leave it out")
        path = MACHINE_PATH.search(line)
        if path:
            yield Problem(file.path, number, f"{path.group()}…: a path of one machine")


GUARD = re.compile(r"^#ifndef (\w+)\n#define \1$", re.MULTILINE)


def check_header(file):
    """Headers in C may have an include guard instead: their users' compilers are not ours to choose."""
    if file.suffix not in {".h", ".hpp"} or "#pragma once" in file.lines:
        return
    if not (file.path.startswith("client/c/") and GUARD.search(file.text)):
        yield Problem(file.path, 1, "a header without #pragma once")


SELF_EXPLAINED = re.compile(r'#include "(.*)\.(?:h|hpp)"$')


def check_comment(file):
    """Says why the file exists. Where a file belongs to another, which says it, none is needed: x.cc,
    x_part.cc and x_test.cc begin with x.h; a Go test belongs to its package."""
    if file.suffix not in COMMENTED or not file.text.strip() or file.path.endswith("_test.go"):
        return
    lines = file.lines
    first = 1 if lines[0].startswith("#!") and len(lines) > 1 else 0
    stem = file.path.removesuffix(file.suffix)
    header = SELF_EXPLAINED.match(lines[first])
    if header and (stem + "_").startswith(header.group(1) + "_"):
        return
    if file.suffix == ".go":
        # A comment above `package` documents the package; below it, the file.
        if lines[0].startswith("package ") and len(lines) > 2:
            first = 2 if not lines[1] else 1
    if not re.match(r"//|/\*|#(?!include|pragma)|[\"']{3}", lines[first]):
        yield Problem(file.path, first + 1, "no comment that says why this file exists")


def check_length(file):
    if file.suffix in CODE and len(file.lines) > LONGEST_FILE:
        message = f"{len(file.lines)} lines; more than {LONGEST_FILE} want to be two files"
        yield Problem(file.path, LONGEST_FILE + 1, message)


CHECKS = [
    check_rooms,
    check_room_links,
    check_core,
    check_wire,
    check_text,
    check_header,
    check_comment,
    check_length,
]


def check(file):
    """All problems of one file."""
    if FOREIGN.search(file.path) or any(GENERATED.match(line) for line in file.lines[:40]):
        return []
    return sorted(problem for each in CHECKS for problem in each(file))


def listed(root):
    """The repository's files: tracked, or new and not ignored. Without git all but hidden and built ones."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        return sorted({path for path in found if path})
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name not in BUILT and name[0] != "."]
            found += [Path(folder, name).relative_to(root).as_posix() for name in names]
        return sorted(found)


def read(root, path):
    """The file, or None for what is not text, not there any more, or a link to elsewhere."""
    full = Path(root, path)
    if full.is_symlink() or not full.is_file():
        return None
    data = full.read_bytes()
    if b"\0" in data:
        return None
    try:
        return File(path, data.decode())
    except UnicodeDecodeError:
        return None


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", nargs="?", default=Path(__file__).resolve().parents[2])
    parser.add_argument("--notes", action="store_true", help="list long files too")
    options = parser.parse_args(arguments)
    files = [file for path in listed(options.root) if (file := read(options.root, path))]
    if not files:
        sys.exit(f"tidy: no files below {options.root}")
    problems = [problem for file in files for problem in check(file)]
    for problem in problems:
        print(problem)
    if options.notes:
        for file in files:
            if file.suffix in CODE and len(file.lines) > LONG_FILE:
                print(f"{file.path}:1: note: {len(file.lines)} lines")
    print(f"tidy: {len(files)} files, {len(problems)} problems", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
