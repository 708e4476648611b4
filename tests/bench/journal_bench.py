#!/usr/bin/python3
"""What recording a tick costs the control thread at 0, 1, 10 and 1,000 samples, and how fast a journal is replayed.

The samples are those of a quiet node; with none, nothing was due. Beside the recording stands what the engine takes to
decide in the same ticks. Ticks are timed in 1,000 rounds of some each, in CPU time of their thread: medians, and the
99th percentile of the rounds. What is replayed, 21 times, is the story of the journal's tests: cgroups that grow and
vanish, clients that report, answer and leave, a policy that changes.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench journal", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as directory:
        run = subprocess.run([str(BUILD / "tests/bench/bench_journal_ticks"), directory], check=True,
                             stdout=subprocess.PIPE, text=True)
    figures = json.loads(run.stdout)
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{'samples':>8} {'recording':>13} {'p99':>13} {'deciding':>13} {'ratio':>6} {'bytes a tick':>13}")
    for samples in (0, 1, 10, 1000):
        print(f"{samples:8} {figures[f'record_us_{samples}']:10.2f} us {figures[f'record_p99_us_{samples}']:10.2f} us "
              f"{figures[f'decide_us_{samples}']:10.2f} us {figures[f'record_ratio_{samples}']:6.2f} "
              f"{figures[f'bytes_per_tick_{samples}']:13.0f}")
    print(f"replay: {figures['replayed_ticks_per_s']:,} ticks a second (the slowest of 21 "
          f"{figures['replayed_ticks_per_s_min']:,}), {figures['replay_realtime_ratio']:,} recorded seconds a second")


if __name__ == "__main__":
    main()
