#!/usr/bin/env python3
"""clang-tidy over our own files, in parallel, and not again over what was clean before.

clang-tidy takes seconds for a file, nearly all of them in other people's headers. A file that was clean stays
clean as long as nothing changes that it can see: itself, the headers of this repository and of the build that
it includes, directly or not, its compile command, the checks, and clang-tidy itself. A hash of all these is
the name of an empty file in the cache. System headers do not count: they change with the packages, and then a
finding waits for the next change of the file.

    tests/tidy/clang_tidy_cached.py -p BUILD [--jobs N] [--all] [FILE ...]

BUILD holds compile_commands.json and the generated headers. Without FILE all that the build compiles is
checked; unit tests only with --all. The cache is $MEMGOV_CACHE/clang-tidy (~/.cache/memgov without it). Exit
code 1 if anything was found.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = "clang-tidy-14"
INCLUDE = re.compile(rb'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
OWN = re.compile(r"-(?:I|isystem|iquote)\s*(\S+)")
UNUSED_FOR = 30 * 24 * 3600  # seconds
# What clang-tidy says about headers that are not ours.
NOISE = re.compile(r"^(\d+ warnings?( and \d+ errors?)? generated\.|Suppressed \d+ .*|Use -header-filter.*)$")


class Sources:
    """The contents of our files and of the headers they include, each read once."""

    def __init__(self, build):
        self.build = build
        self.digests = {}
        self.headers = {}

    def is_own(self, path):
        return path.is_relative_to(ROOT) or path.is_relative_to(self.build)

    def read(self, path):
        """The digest of a file and the names it includes."""
        if path not in self.digests:
            data = path.read_bytes()
            self.digests[path] = hashlib.sha256(data).digest()
            self.headers[path] = [name.decode(errors="replace") for name in INCLUDE.findall(data)]
        return self.digests[path], self.headers[path]

    def seen_by(self, source, folders):
        """The source and all own headers that it includes, directly or not."""
        seen, waiting = set(), [source]
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            for name in self.read(path)[1]:
                for folder in [path.parent, *folders]:
                    header = Path(os.path.normpath(folder / name))
                    if self.is_own(header) and header.is_file():
                        waiting.append(header)
                        break
        return sorted(seen)


def configuration(source):
    """The .clang-tidy files that count for a source: one or more, upwards."""
    return [folder / ".clang-tidy" for folder in source.parents if (folder / ".clang-tidy").is_file()]


def key_of(source, command, sources, version):
    digest = hashlib.sha256(version)
    digest.update(command.encode())
    folders = [Path(folder) for folder in OWN.findall(command)]
    for path in [*configuration(source), *sources.seen_by(source, folders)]:
        digest.update(str(path).encode() + b"\0" + sources.read(path)[0])
    return digest.hexdigest()


def run(source, build):
    """What clang-tidy finds in one file: "" if nothing."""
    done = subprocess.run([TOOL, "-p", str(build), "--quiet", str(source)], capture_output=True, text=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not NOISE.match(line)]
    if done.returncode == 0 and not any(said):
        return ""
    return "\n".join(said) or f"{source}: {TOOL} ended with {done.returncode}"


def wanted(commands, options):
    """(source, command) of each file to check."""
    only = {Path(name).resolve() for name in options.files}
    for entry in commands:
        source = Path(os.path.normpath(Path(entry["directory"]) / entry["file"]))
        if not source.is_relative_to(ROOT) or source.is_relative_to(options.build):
            continue
        is_test = source.stem.endswith("_test")
        if source in only or (not only and (options.all or not is_test)):
            yield source, entry.get("command") or " ".join(entry["arguments"])


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", dest="build", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--all", action="store_true", help="unit tests too")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args(arguments)

    cache = Path(os.environ.get("MEMGOV_CACHE") or Path.home() / ".cache/memgov", "clang-tidy")
    cache.mkdir(parents=True, exist_ok=True)
    for entry in cache.iterdir():
        if time.time() - entry.stat().st_mtime > UNUSED_FOR:
            entry.unlink(missing_ok=True)

    version = subprocess.run([TOOL, "--version"], capture_output=True, check=True).stdout
    commands = json.loads((options.build / "compile_commands.json").read_text())
    sources = Sources(options.build)
    keys = {
        source: key_of(source, command, sources, version) for source, command in wanted(commands, options)
    }
    if not keys:
        sys.exit(f"no file of {options.build} to check")
    stale = [source for source, key in keys.items() if not (cache / key).exists()]
    for source in keys.keys() - set(stale):
        (cache / keys[source]).touch()

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(run, source, options.build): source for source in stale}
        for done in concurrent.futures.as_completed(running):
            source, found = running[done], done.result()
            if found:
                failed += 1
                print(found, flush=True)
            else:
                (cache / keys[source]).touch()
    print(f"clang-tidy: {len(keys)} files, {len(stale)} checked, {failed} with findings", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
