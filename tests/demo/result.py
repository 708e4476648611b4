"""What one run of a scene gave, and how it is measured.

All times are seconds since redis began to be filled. What came back is measured in the cgroups by the sampler, never
taken from what the governor or a client says about it.
"""

from __future__ import annotations

import dataclasses

from harness.figures import MIB
from harness.sampler import Timeline

from . import scene as stage
from .scene import Scene

ROUND = 1.0  # seconds; requests sent within it answer one alarm
FOR_MEMORY = ("release", "collect", "shed", "page_out", "reclaim")  # the others are settings


@dataclasses.dataclass
class Kill:
    at: float
    tenant: str
    task: str
    pid: int
    recorded: bool  # the kernel's log has it, besides the leaf's counter


@dataclasses.dataclass
class Result:
    """Sizes in MiB, times in seconds, latencies in ms."""

    memgov: bool
    scene: Scene
    time_s: list[float] = dataclasses.field(default_factory=list)
    usage_mib: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # "total" and each tenant
    kills: list[Kill] = dataclasses.field(default_factory=list)
    completed: dict[str, bool] = dataclasses.field(default_factory=dict)
    work: dict[str, str] = dataclasses.field(default_factory=dict)  # in words, for the table
    fill: dict = dataclasses.field(default_factory=dict)  # redis_fill's totals
    events: list[dict] = dataclasses.field(default_factory=list)  # memgovd's, with "s" on the result's clock
    major_faults: int = 0
    stalled: bool = False  # neither done nor killed when patience ended
    standstill_s: float = 0.0  # the longest time in which redis took less than 1 MiB
    zero: float = 0.0  # when the filling began, by the monotonic clock
    ended_at: float = 0.0  # when the tenants were told to end; later usage means nothing
    started_at: float | None = None  # when memgov was ready, where it came late
    flowing_at: float | None = None  # ... and when redis was filled as it should be again
    crossed_at: float | None = None
    asked_at: float | None = None
    back_at: float | None = None  # usage below the wire again
    returned_at: float | None = None  # all but a twentieth of what the first round brought had left
    first_round_mib: float = 0.0  # what the first round of requests brought
    given_back_mib: dict[str, float] = dataclasses.field(default_factory=dict)
    missing_mib: float = 0.0  # what everybody would have held together, had nobody given back, beyond the limit

    @property
    def given_back(self) -> float:
        return sum(self.given_back_mib.values())

    @property
    def given_back_over_missing(self) -> float | None:
        return self.given_back / self.missing_mib if self.missing_mib > 0 else None

    @property
    def reaction_ms(self) -> float | None:
        """Crossing of the wire → first request sent. 0 when the forecast asked before the crossing."""
        if self.crossed_at is None or self.asked_at is None:
            return None
        return max(0.0, (self.asked_at - self.crossed_at) * 1000)


def requests(result: Result) -> list[dict]:
    """The events in which memgovd asked for memory, since the filling began."""
    return [event for event in result.events
            if event.get("event") == "asked" and event.get("action") in FOR_MEMORY and event["s"] >= 0]


def longest_standstill(written: list[tuple[float, float]], least: float = 1.0) -> float:
    """`written` holds (seconds, MiB so far). The longest time in which less than `least` MiB was added."""
    longest, since, base = 0.0, *written[0]
    for when, size in written:
        longest = max(longest, when - since)
        if size >= base + least:
            since, base = when, size
    return longest


def flows_again(written: list[tuple[float, float]], after: float, rate: float) -> float | None:
    """The first moment after `after` from which on at least half of `rate` (MiB/s) goes through for 0.2 s."""
    for i, (when, size) in enumerate(written):
        later = next((more for moment, more in written[i:] if moment >= when + 0.2), written[-1][1])
        if when > after and later - size >= 0.1 * rate:
            return when
    return None


def measure(result: Result, timeline: Timeline, zero: float, filled_at: float | None) -> None:
    """Turns the sampler's record into the result's columns and moments. `zero` (monotonic) is the begin of the filling,
    `filled_at` its end. The result's events must be there already."""
    scene = result.scene
    result.time_s = [when - zero for when in timeline.time_s]
    result.usage_mib = {name: [value / MIB for value in column] for name, column in timeline.usage.items()}
    asked = requests(result)
    if asked:
        result.asked_at = asked[0]["s"]
        _measure_given_back(result, (filled_at or timeline.time_s[-1]) - zero, asked)
    result.missing_mib = _missing(result)
    crossed = next((at for at in timeline.crossings("total", scene.wire) if at >= zero), None)
    # Where the forecast asked before the wire was reached, a crossing much later belongs to another need.
    if crossed is None or (asked and crossed > asked[0]["t"] + ROUND):
        return
    result.crossed_at = crossed - zero
    if asked:
        back = timeline.first_below("total", scene.wire, max(crossed, asked[0]["t"]))
        result.back_at = None if back is None else back - zero


def _missing(result: Result) -> float:
    """From what the services held until the first request, and the most that redis came to hold."""
    held = [sum(result.usage_mib[name][i] for name in stage.SERVICES) for i, when in enumerate(result.time_s)
            if -0.2 <= when and (result.asked_at is None or when <= result.asked_at)]
    redis = [value for when, value in zip(result.time_s, result.usage_mib["redis"]) if when >= 0]
    return max(0.0, max(held, default=0.0) + max(redis, default=0.0) - result.scene.limit / MIB)


def _measure_given_back(result: Result, end: float, asked: list[dict]) -> None:
    """What left each service's leaf between just before the first request and the end of the filling; and when all but
    a twentieth was out of what the first round of requests brought."""
    def drop(column: list[float], end: float) -> tuple[float, float]:
        readings = list(zip(result.time_s, column))
        before = max((value for when, value in readings if result.asked_at - 0.2 <= when <= result.asked_at), default=0.0)
        return before, min((value for when, value in readings if result.asked_at < when <= end), default=before)

    for name in stage.SERVICES:
        before, after = drop(result.usage_mib[name], end)
        result.given_back_mib[name] = max(0.0, before - after)
    held = [sum(values) for values in zip(*(result.usage_mib[name] for name in stage.SERVICES))]
    next_round = next((event["s"] for event in asked if event["s"] > result.asked_at + ROUND), end)
    before, after = drop(held, next_round)
    result.first_round_mib = max(0.0, before - after)
    if result.first_round_mib >= 1:
        result.returned_at = next(when for when, value in zip(result.time_s, held)
                                  if result.asked_at < when <= next_round and value <= after + 0.05 * result.first_round_mib)
