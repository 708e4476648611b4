#!/usr/bin/python3
"""What libmemgov_preload.so costs a real redis-server: throughput, memory, threads, and time to start any program.

Each round starts Debian's redis-server twice on a Unix socket, with the preload (attached to a memgovd that observes)
and without, in alternating order, and runs redis-benchmark (SET, then GET) on each; the ratio of a round is with ÷
without, and figures are medians over rounds. On a busy machine the ratio of redis's CPU time for the same requests says
more than that of throughput. Resident memory and threads are read before the load; jemalloc may count for a thread
more, since it starts one for the arena that the agent's thread gets. The start is that of a program that does nothing,
until it says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.governor import Governor  # noqa: E402
from harness.processes import Service, wait_until  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MEMGOV_BUILD", REPOSITORY / "build/release"))
PRELOAD = BUILD / "client/c/libmemgov_preload.so"
WAIT = 60.0


def threads_and_rss(pid: int) -> dict[str, float]:
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"rss_mib": int(fields["VmRSS"].split()[0]) / 1024, "threads": int(fields["Threads"])}


def cpu_seconds(pid: int) -> float:
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def agents(pid: int) -> int:
    return [task.read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").glob("*/comm")].count("memgov")


def requests_per_second(socket: pathlib.Path, requests: int) -> float:
    """Of SET and GET together: all requests ÷ the time of both."""
    run = subprocess.run(["redis-benchmark", "-s", str(socket), "-t", "set,get", "-n", str(requests), "--csv"],
                         check=True, capture_output=True, text=True)
    rates = [float(row["rps"]) for row in csv.DictReader(run.stdout.splitlines())]
    return len(rates) / sum(1 / rate for rate in rates)


def redis_round(preloaded: bool, requests: int, governor: Governor, directory: pathlib.Path) -> dict[str, float]:
    socket = directory / "redis.sock"
    env = {"MEMGOV_SOCKET": str(governor.socket)} | ({"LD_PRELOAD": str(PRELOAD)} if preloaded else {})
    redis = Service("redis", ["/usr/bin/redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""],
                    directory=directory, env=env)
    try:
        wait_until(socket.exists, WAIT, "redis's socket")
        if preloaded:
            wait_until(lambda: any(event["pid"] == redis.pid for event in governor.of("attached")), WAIT, "a session")
        time.sleep(0.5)
        figures = threads_and_rss(redis.pid) | {"agents": agents(redis.pid)}
        before = cpu_seconds(redis.pid)
        rate = requests_per_second(socket, requests)
        return figures | {"rate": rate, "cpu": cpu_seconds(redis.pid) - before}
    finally:
        redis.stop()
        socket.unlink(missing_ok=True)


def start_ms(preloaded: bool, governor: Governor, directory: pathlib.Path) -> float:
    env = {"MEMGOV_SOCKET": str(governor.socket)} | ({"LD_PRELOAD": str(PRELOAD)} if preloaded else {})
    started = time.monotonic()
    with Service("idle", [str(BUILD / "tests/bench/bench_idle")], directory=directory, commands=True, env=env) as idle:
        return (idle.wait_for(lambda line: line.get("up"), WAIT, "up")["at"] - started) * 1000


def in_pairs(rounds: int, measure) -> list[tuple]:
    """(without, with) of each round; who is first alternates."""
    pairs = []
    for number in range(rounds):
        first = number % 2 == 1
        values = {first: measure(first)}
        values[not first] = measure(not first)
        pairs.append((values[False], values[True]))
    return pairs


def measure(rounds: int, requests: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="memgov-bench-") as name:
        directory = pathlib.Path(name)
        with Governor(BUILD / "governor/memgovd", None, directory, ["/"]) as governor:
            pairs = in_pairs(rounds, lambda preloaded: redis_round(preloaded, requests, governor, directory))
            starts = in_pairs(20 * rounds, lambda preloaded: start_ms(preloaded, governor, directory))
    ratios = [with_it["rate"] / without["rate"] for without, with_it in pairs]
    cpu_ratios = [with_it["cpu"] / without["cpu"] for without, with_it in pairs]
    added = {key: statistics.median(with_it[key] for _, with_it in pairs) -
             statistics.median(without[key] for without, _ in pairs) for key in ("rss_mib", "threads", "agents")}
    return {
        "throughput_ratio": round(statistics.median(ratios), 4),
        "throughput_ratio_min": round(min(ratios), 4),
        "throughput_ratio_max": round(max(ratios), 4),
        "cpu_ratio": round(statistics.median(cpu_ratios), 4),
        "requests_per_s": round(statistics.median(without["rate"] for without, _ in pairs)),
        "rss_mib": round(added["rss_mib"], 2),
        "threads": int(added["threads"]),
        "agent_threads": int(added["agents"]),
        "start_ms": round(statistics.median(b for _, b in starts) - statistics.median(a for a, _ in starts), 3),
        "start_ms_without": round(statistics.median(a for a, _ in starts), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench preload", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--repeat", type=int, default=11, metavar="N", help="rounds (default 11)")
    parser.add_argument("--requests", type=int, default=200_000, metavar="N",
                        help="requests of each kind and round (default 200000)")
    options = parser.parse_args()
    if options.repeat < 1 or options.requests < 1:
        parser.error("--repeat and --requests are at least 1")
    result = measure(options.repeat, options.requests)
    if options.json:
        print(json.dumps(result))
        return 0
    print(f"redis-benchmark, with ÷ without: throughput {result['throughput_ratio']:.4f} (rounds "
          f"{result['throughput_ratio_min']:.4f} to {result['throughput_ratio_max']:.4f}) of {result['requests_per_s']} "
          f"requests a second, CPU time {result['cpu_ratio']:.4f}")
    print(f"adds {result['rss_mib']:.2f} MiB resident, {result['threads']} threads ({result['agent_threads']} of ours), and "
          f"{result['start_ms']:.3f} ms to a start of {result['start_ms_without']:.3f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
