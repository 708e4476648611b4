"""What people read: a line per decision while it happens, the table afterwards, and the JSON for machines."""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import threading
from collections.abc import Callable, Iterable

from harness.figures import MIB, percentile

from . import scene as stage
from .result import Result

Pair = tuple[Result, Result]  # the same scene without memgov, then with it

_COLOURS = {"kill": "1;31", "stall": "1;31", "oom_kill": "1;31", "asked": "33", "woke": "1;33", "critical": "1;31",
            "returned": "32", "relaxed": "32", "braking": "33", "declined": "31", "expired": "31", "withheld": "31",
            "usage": "2", "tenant": "36", "title": "1"}
_WHO = {"kill": "kernel", "tenant": "tenant", "usage": "memory", "stall": "kernel"}
# memgovd's daily business, of no interest to a spectator.
_QUIET = {"ready", "detached", "degraded", "stopped"}


class Printer:
    """Writes lines for people. Thread-safe: memgovd's reader thread speaks too. Colours on a terminal only."""

    def __init__(self, stream=sys.stdout):
        self._stream = stream
        self._colours = stream.isatty()
        self._lock = threading.Lock()

    def colour(self, kind: str, text: str) -> str:
        code = _COLOURS.get(kind) if self._colours else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    def line(self, text: str = "") -> None:
        with self._lock:
            print(text, file=self._stream, flush=True)

    def title(self, text: str) -> None:
        self.line()
        self.line(self.colour("title", text))

    def say(self, at: float | None, kind: str, text: str) -> None:
        """A live line; run.Say."""
        if kind in _QUIET:
            return
        when = " " * 9 if at is None else f"{at:7.3f} s"
        who = _WHO.get(kind, "memgov")
        self.line(f"  {when}  {who:<7} {self.colour(kind, text)}")


# --- the table ------------------------------------------------------------------------------------------------
def table(pairs: list[Pair]) -> list[str]:
    """The runs side by side; of several pairs the median and, where it differs, the range."""
    without, with_ = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    rows = [("", "without memgov", "with memgov")]

    def row(title: str, cell: Callable[[list[Result]], str]) -> None:
        rows.append((title, cell(without), cell(with_)))

    row("OOM kills", _kills)
    row("services that finished their work", _finished)
    row("values written to redis, MiB", lambda runs: _spread(run.fill.get("written_mib", 0) for run in runs)
        + f" of {runs[0].scene.fill / MIB:.0f}")
    row("redis latency p99, ms", lambda runs: _spread((_ms(run, "p99_us") for run in runs), 1))
    row("redis latency max, ms", lambda runs: _spread((_ms(run, "max_us") for run in runs), 1))
    row("redis stood still for at most, s", lambda runs: _spread((run.standstill_s for run in runs), 1))
    row("highest usage, MiB", lambda runs: _spread(max(run.usage_mib["total"]) for run in runs)
        + f" of {runs[0].scene.limit / MIB:.0f}")
    row("given back, MiB", lambda runs: _spread(run.given_back for run in runs) if runs[0].memgov else "-")
    for name in stage.SERVICES:
        row(f"  {stage.TITLES[name]}", lambda runs, name=name: _given(runs, name))
    row("  given back ÷ what was missing", lambda runs: _over_missing(runs) if runs[0].memgov else "-")
    wire = f"{without[0].scene.wire_percent:.0f} %"
    row(f"crossing {wire} → first request, ms", lambda runs: _since_crossing(runs, "asked_at"))
    row(f"  → below {wire} again, ms", lambda runs: _since_crossing(runs, "back_at"))
    row("  → all that comes back is back, ms", lambda runs: _since_crossing(runs, "returned_at"))
    if without[0].scene.name == "stall":
        row("major page faults", lambda runs: _spread(run.major_faults for run in runs))
    return _aligned(rows)


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  " + f"{a:<{widths[0]}}   {b:>{widths[1]}}   {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    lines.insert(1, "  " + "─" * (sum(widths) + 6))
    return lines


def _spread(values: Iterable[float], digits: int = 0) -> str:
    known = sorted(values)
    if not known:
        return "-"
    low, middle, high = (f"{value:.{digits}f}" for value in (known[0], statistics.median(known), known[-1]))
    return middle if low == high else f"{middle} ({low}-{high})"


def _kills(runs: list[Result]) -> str:
    victims = sorted({stage.TITLES[kill.tenant] for run in runs for kill in run.kills})
    killed = sum(1 for run in runs if run.kills)
    if len(runs) == 1:
        return f"{len(runs[0].kills)}: {', '.join(victims)}" if victims else "0"
    return f"in {killed} of {len(runs)} runs" + (f": {', '.join(victims)}" if victims else "")


def _finished(runs: list[Result]) -> str:
    return f"{sum(sum(run.completed.values()) for run in runs)} of {sum(len(run.completed) for run in runs)}"


def _ms(run: Result, key: str) -> float:
    return run.fill.get(key, 0) / 1000


def _given(runs: list[Result], name: str) -> str:
    if not runs[0].memgov:
        return "-"
    given = _spread(run.given_back_mib.get(name, 0.0) for run in runs)
    return f"{given} of {runs[0].scene.service / MIB:.0f}"


def _over_missing(runs: list[Result]) -> str:
    return _spread((run.given_back_over_missing for run in runs if run.given_back_over_missing is not None), 1)


def busy_words(busy: list[Result]) -> str:
    """What became of the runs on busy processors."""
    killed = sum(1 for run in busy if run.kills)
    return f"with all processors busy: killed in {killed} of {len(busy)} runs; {_finished(busy)} services finished their work"


def _since_crossing(runs: list[Result], field: str) -> str:
    """A moment of each run relative to its crossing; before it, when the forecast was earlier than the wire."""
    spans = [(getattr(run, field) - run.crossed_at) * 1000 for run in runs
             if getattr(run, field) is not None and run.crossed_at is not None]
    if runs[0].memgov and not spans and any(run.asked_at is not None for run in runs):
        return "not crossed"
    return _spread(spans)


def fragmentation_note(pair: Pair) -> str | None:
    """Says what did not come back although it was free, when that is much."""
    result = pair[1]
    free = 0.9 * result.scene.service / MIB
    short = [name for name in stage.SERVICES if result.given_back_mib.get(name, 0.0) < 0.75 * free]
    if not result.given_back_mib or not short:
        return None
    names = " and ".join(stage.TITLES[name] for name in short)
    back = sum(result.given_back_mib.get(name, 0.0) for name in short)
    said = f"{names}: {back:.0f} of {free * len(short):.0f} free MiB came back. "
    if result.scene.pattern == "scattered":
        return said + "What survived lies scattered, so many pages\n  still hold something live: that is fragmentation, and no release returns it."
    return said + "The lines above say what was asked and answered."


def late_words(result: Result) -> str:
    """What became of a stall into which memgov was started."""
    if result.started_at is None:
        return "redis never stood still, so there was nothing to end"
    if result.flowing_at is None:
        return "memgov was started, but redis did not go on"
    ending = "redis takes the rest" if result.completed.get("redis") else "but redis did not finish"
    return (f"redis goes on {result.flowing_at - result.started_at:.1f} s after memgov was ready, and {ending}; "
            f"{result.given_back:.0f} MiB came back")


def write_events(result: Result, file: pathlib.Path) -> pathlib.Path:
    """Everything that memgovd said in a run, one JSON object a line; "s" is the time in the picture."""
    file.write_text("".join(json.dumps(event) + "\n" for event in result.events))
    return file


# --- for machines ---------------------------------------------------------------------------------------------
def summary(pairs: list[Pair], busy: list[Result] | None = None) -> dict:
    """The one object of --json. Latencies, bytes, ratios: medians over the runs; reaction: over all first crossings. `busy` are
    the runs with memgov on busy processors, None when there were none to be."""
    without, with_ = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    reactions = [run.reaction_ms for run in with_ if run.reaction_ms is not None]
    finished = [done for run in with_ for done in run.completed.values()]
    over_missing = [run.given_back_over_missing for run in with_ if run.given_back_over_missing is not None]
    return {
        "runs": len(pairs),
        "runs_killed_without": sum(1 for run in without if run.kills),
        "runs_killed_with": sum(1 for run in with_ if run.kills),
        "kills_without": sum(len(run.kills) for run in without),
        "kills_with": sum(len(run.kills) for run in with_),
        "work_completed_with_percent": round(100 * sum(finished) / len(finished), 2),
        "redis_p99_ms_without": round(statistics.median(_ms(run, "p99_us") for run in without), 3),
        "redis_p99_ms_with": round(statistics.median(_ms(run, "p99_us") for run in with_), 3),
        "given_back_mib": round(statistics.median(run.given_back for run in with_), 1),
        "given_back_over_missing": round(statistics.median(over_missing), 2) if over_missing else None,
        "reaction_p99_ms": round(percentile(reactions, 99), 3) if reactions else None,
        "runs_killed_with_busy": None if busy is None else sum(1 for run in busy if run.kills),
    }


def held(pairs: list[Pair], busy: list[Result] | None = None) -> bool:
    """Whether memgov did what the demo says it does: nobody killed, all work done, in every run."""
    return all(not run.kills and all(run.completed.values()) for run in [pair[1] for pair in pairs] + (busy or []))
