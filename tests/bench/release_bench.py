#!/usr/bin/python3
"""What a Release returns, costs and stalls under glibc's malloc, jemalloc, gperftools, google/tcmalloc and mimalloc.

A program fills its heap with 1 GiB of blocks of 16 B to 4 MiB (each octave has the same share of the bytes) and frees
90 % of them: any ("random"), or the oldest ("contiguous", in the keys of --json too; those without it are of the random
order). It is asked through a session and libmemgov to return all that it can.

returned   resident memory that went away, of that and what the allocator's own release of everything, called by the
           heap's owner, still returns afterwards; "none" (null) when both return nothing
of pages   the same, of all pages without a block in use: what no allocator could better. Pages within a slab or a span
           that holds a block are among them, and no release of theirs returns those
estimate   the client's report before, over what was returned
stall      the longest malloc or free of two threads (the owner of the heap, and another) in that time, less what they
           waited for a processor. The worst of all rounds; the other figures are medians.

google/tcmalloc is built by cargo, from a crate that carries its source; without cargo or the crate it is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.figures import MIB  # noqa: E402
from harness.rust import RustProgram, Unavailable  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
LIBRARIES = {"glibc": "none", "jemalloc": "libjemalloc.so.2", "gperftools": "libtcmalloc_minimal.so.4",
             "mimalloc": "libmimalloc.so.2"}
RUST_SERVICE = REPOSITORY / "tests/host/programs/rust_service"
ORDERS = {"random": "", "contiguous": "contiguous_"}
NOTHING = MIB  # the process itself moves by as much
STALL_TARGET_MS = 30
RETURNED_TARGET_PERCENT = 95


def build_tcmalloc(directory: pathlib.Path) -> str:
    """google/tcmalloc as a library to preload. Raises Unavailable."""
    crate = RustProgram(RUST_SERVICE, "tcmalloc", build=BUILD, native="libtcmalloc-sys").native_output()
    library = directory / "libtcmalloc_google.so"
    names = REPOSITORY / "tests/bench/tcmalloc_malloc.c"
    subprocess.run(["gcc", "-O2", "-fPIC", "-fno-builtin", "-c", "-o", str(directory / "malloc.o"), str(names)], check=True)
    subprocess.run(["g++", "-shared", "-o", str(library), str(directory / "malloc.o"), "-Wl,--whole-archive",
                    str(crate / "libtcmalloc.a"), "-Wl,--no-whole-archive"], check=True)
    return str(library)


def ask(library: str, mib: int, order: str, seed: int, longest_stall_ms: int) -> dict:
    """One round, in processes of its own."""
    argv = [str(BUILD / "tests/bench/bench_release_asker"), library, str(mib), order, str(seed), str(longest_stall_ms)]
    run = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return json.loads(run.stdout)


def figures_of(run: dict) -> dict[str, float | None]:
    returned = max(run["before_bytes"] - run["after_bytes"], 0)
    could = returned + run["rest_bytes"]
    told = run["estimate"] != "ESTIMATE_KIND_NONE" and returned > NOTHING
    return {
        "returned_percent": 100 * returned / could if could > NOTHING else None,
        "of_pages_percent": 100 * returned / run["heap"]["releasable_bytes"],
        "estimate_error_percent": 100 * (run["retained_bytes"] / returned - 1) if told else None,
        "before_mib": run["before_bytes"] / MIB,
        "after_mib": run["after_bytes"] / MIB,
        "wall_ms": run["wall_us"] / 1000,
        "cpu_ms": run["cpu_us"] / 1000,
        "worst_stall_ms": run["stall_us"] / 1000,
        "quiet_stall_ms": run["quiet_stall_us"] / 1000,  # the 300 ms before
    }


def summary(runs: list[dict[str, float | None]]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for key in runs[0]:
        values = [run[key] for run in runs if run[key] is not None]
        result[key] = round(max(values) if key.endswith("stall_ms") else statistics.median(values), 2) if values else None
    return result


def measure(options: argparse.Namespace, libraries: dict[str, str]) -> dict[str, dict]:
    result: dict[str, dict] = {}
    for name, library in libraries.items():
        result[name] = {}
        for order, prefix in ORDERS.items():
            print(f"{name}, {order}", file=sys.stderr)
            runs = [ask(library, options.mib, order, seed, options.longest_stall) for seed in range(options.repeat)]
            result[name]["runtime"] = runs[0]["runtime"]
            figures = summary([figures_of(run) for run in runs])
            result[name] |= {prefix + key: value for key, value in figures.items()}
    return result


def percent(value: float | None, form: str = ".1f") -> str:
    return "none" if value is None else f"{value:{form}} %"


def print_table(result: dict[str, dict]) -> None:
    print(f"{'':17} {'order':10} {'MiB before':>10} {'after':>6} {'returned':>9} {'of pages':>9} {'estimate':>9} "
          f"{'wall':>9} {'CPU':>9} {'stall':>9}")
    for figures in result.values():
        for order, prefix in ORDERS.items():
            def at(key: str) -> float | None:
                return figures[prefix + key]
            print(f"{figures['runtime']:17} {order:10} {at('before_mib'):10.0f} {at('after_mib'):6.0f} "
                  f"{percent(at('returned_percent')):>9} {percent(at('of_pages_percent')):>9} "
                  f"{percent(at('estimate_error_percent'), '+.1f'):>9} "
                  f"{at('wall_ms'):6.1f} ms {at('cpu_ms'):6.1f} ms {at('worst_stall_ms'):6.1f} ms")
    for name in ("jemalloc", "gperftools", "google_tcmalloc"):
        if name not in result:
            continue
        worst = max(result[name][prefix + "worst_stall_ms"] for prefix in ORDERS.values())
        least = min(result[name][prefix + "returned_percent"] or 0 for prefix in ORDERS.values())
        of_pages = min(result[name][prefix + "of_pages_percent"] for prefix in ORDERS.values())
        print(f"{name}: worst stall {worst:.1f} ms (target: at most {STALL_TARGET_MS}), "
              f"returned {least:.1f} % at least (target: {RETURNED_TARGET_PERCENT}), {of_pages:.1f} % of free pages")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench release", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the heap (default 1024), for small machines")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="rounds of each kind (default 5)")
    parser.add_argument("--longest-stall", type=int, default=0, metavar="MS",
                        help="the bound that the Release carries (default: none)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if options.mib < 16 or options.repeat < 1 or options.longest_stall < 0:
        parser.error("--mib is at least 16, --repeat at least 1, --longest-stall not negative")
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
        libraries = dict(LIBRARIES)
        try:
            libraries["google_tcmalloc"] = build_tcmalloc(pathlib.Path(directory))
        except Unavailable as why:
            print(f"google/tcmalloc left out: {why}", file=sys.stderr)
        result = measure(options, libraries)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
