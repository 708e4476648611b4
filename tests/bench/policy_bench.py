#!/usr/bin/python3
"""What memgov saves in 1,000 simulated worlds, beside nothing, static limits, GOMEMLIMIT, M3 and an oracle.

Every world is drawn from its seed and run under each; the oracle knows the future, so what dies there cannot be saved
by asking. Missed are a world's kills beyond the oracle's, as far as clients that answer held what the domain lacked
when they happened: governors let programs work at different paces, so what these need falls together at other times,
and under memgov kills also fall away that the oracle has. `build/release/tests/sim/campaign --seeds 1:1000 --missed`
lists what memgov missed, and `campaign --seed N --trace` tells one world's story.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench policy", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--worlds", type=int, default=1000, metavar="N", help="how many (default 1000)")
    options = parser.parse_args()
    command = [str(BUILD / "tests/sim/campaign"), "--seeds", f"1:{options.worlds}"]
    return subprocess.run(command + (["--json"] if options.json else []), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
