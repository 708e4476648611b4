#!/usr/bin/python3
"""What a tick of the engine costs at 100, 1,000 and 10,000 domains, and how much faster than real time a node runs.

Each domain has two clients. In every tick each domain is read with its stat and each client has reported: the dearest
tick there is. The node has 100 containers, drawn from seeds, simulated under the real engine.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench engine", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    run = subprocess.run([str(BUILD / "tests/bench/bench_engine_ticks")], check=True, capture_output=True, text=True)
    figures = json.loads(run.stdout)
    if not options.json:
        print(f"{'domains':>8} {'median tick':>12} {'p99':>12} {'allocations':>12}")
        for domains in (100, 1000, 10000):
            print(f"{domains:8} {figures[f'tick_us_{domains}']:9.1f} us {figures[f'tick_p99_us_{domains}']:9.1f} us "
                  f"{figures[f'allocations_per_tick_{domains}']:12.0f}")
        print(f"a node of 100 containers: {figures['realtime_ratio']:.0f} simulated seconds a second")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
