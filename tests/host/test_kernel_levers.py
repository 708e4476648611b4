"""What needs no client: lazily freed memory is collected, page cache is left alone, and a stall is ended."""

import pathlib
import time

from harness.figures import MIB
from harness.file_pages import unread_file
from harness.processes import wait_until

from .conftest import DEADLINE, scaled
from .policies import ENFORCE, OBSERVE

HOLD = "tests/workloads/hold_pages"
# Usage and growth wake nobody here: what is seen is the stall.
ONLY_STALLS = ENFORCE + """\
    wake: {usage: never, timeToLimit: never}
    critical: {usage: never, timeToLimit: never}
    relax: {usage: 80%}
"""


def rss(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def start_lazy_go(stage):
    """A Go service as Go 1.12 to 1.15 built them: what it has freed is lazily freed. It runs no client."""
    service = stage.start("go", "tests/workloads/goservice", "-grow", f"{scaled(300) // MIB}MiB", "-memgov=off", "-freed",
                          env={"GODEBUG": "madvdontneed=0"})
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return service


def start_hold(stage, name, *arguments):
    service = stage.start(name, HOLD, *arguments, commands=True)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return service


def take(service, size):
    service.say(f"take {size // MIB}MiB")
    service.wait_for(lambda line: line.get("taken"), DEADLINE, "taken")


def test_a_program_without_a_client_gives_its_lazily_freed_memory_back(stage):
    go = start_lazy_go(stage)
    held = rss(go.pid)
    assert held > scaled(250), "its freed memory is still resident"
    cache = unread_file(stage.directory / "file", scaled(32))
    neighbour = start_hold(stage, "neighbour", "--read", str(cache))
    stage.govern(ENFORCE)
    # As a service grows, and just over the wire: with the page cache usage stays below the limit, so that the kernel
    # takes nothing by itself.
    while not stage.events("asked"):
        assert stage.parent.usage() < stage.parent.limit, "the governor asks before the limit"
        # Looked at anew each time: a host may drop page cache of its own accord, with nothing going on.
        file_before = neighbour.cgroup.stat()["file"]
        take(neighbour, scaled(4))
        time.sleep(0.1)  # 40 MiB/s at full size
    started = time.monotonic()
    stage.governor.wait_for("returned", DEADLINE)
    wait_until(lambda: rss(go.pid) < held - scaled(100), DEADLINE, "the resident memory of the Go service falls")
    print(f"RSS {held / MIB:.0f} -> {rss(go.pid) / MIB:.0f} MiB, {time.monotonic() - started:.2f} s after the need began")
    assert {event["action"] for event in stage.events("asked")} == {"page_out"}
    assert file_before > scaled(24), "there is page cache to lose"
    assert neighbour.cgroup.stat()["file"] >= file_before * 95 // 100, "the neighbour keeps its page cache"
    stage.governor.wait_for("relaxed", DEADLINE)
    assert go.alive and neighbour.alive


def test_observe_mode_collects_nothing_and_says_what_it_would(stage):
    go = start_lazy_go(stage)
    held = rss(go.pid)
    neighbour = start_hold(stage, "neighbour")
    stage.govern(OBSERVE)
    take(neighbour, stage.parent.limit * 9 // 10 - stage.parent.usage())
    stage.governor.wait_for("would_ask", DEADLINE)
    # What it would have begun then, it would have got on with by the time it has seen the need go by itself; and its
    # worker ends a step that it is at before the process does.
    neighbour.stop()
    stage.governor.wait_for("relaxed", DEADLINE)
    assert stage.governor.stop() == 0
    assert rss(go.pid) > held - scaled(10)
    assert not stage.events("asked") and not stage.events("returned")


def test_page_cache_up_to_the_limit_asks_nobody(stage):
    service = stage.start_retaining("jemalloc", scaled(200))
    stage.govern(ENFORCE)
    stage.governor.wait_for("attached", DEADLINE)
    cache = unread_file(stage.directory / "file", stage.parent.limit * 3 // 2)
    start_hold(stage, "reader", "--read", str(cache))
    wait_until(lambda: stage.parent.usage() > stage.parent.limit * 95 // 100, DEADLINE, "page cache fills the limit")
    # A limit that is written, even the same, has the cgroup read at once, with its stat; who attaches afterwards does so
    # behind that reading.
    stage.parent.set_limit(stage.parent.limit)
    stage.start_retaining("glibc", scaled(8))
    stage.governor.wait_for("attached", DEADLINE, count=2)
    assert stage.parent.usage() > stage.parent.limit * 95 // 100, "the limit is full of page cache all the time"
    for kind in ("woke", "critical", "asked", "withheld"):
        assert not stage.events(kind), "page cache is no need"
    pusher = start_hold(stage, "pusher")
    take(pusher, scaled(240))
    stage.governor.wait_for("asked", DEADLINE)
    assert service.alive and pusher.alive


def test_a_stall_is_seen_and_ended(stage):
    """The file pages that a program needs do not fit beside what its neighbours hold: the kernel kills nobody, and
    nothing moves. No threshold on usage is set."""
    service = stage.start_retaining("jemalloc", scaled(300))
    code = unread_file(stage.directory / "code", scaled(120))
    filler = start_hold(stage, "filler")
    take(filler, stage.parent.limit - stage.parent.usage() - scaled(48))
    # Less than half of the code has room.
    tenant = start_hold(stage, "tenant", "--map", str(code))
    refaults = lambda: stage.parent.stat()["workingset_refault_file"]  # noqa: E731
    start = refaults()
    wait_until(lambda: refaults() > start + scaled(400) // 4096, DEADLINE, "the tenant reads its code again and again")
    stage.govern(ONLY_STALLS)
    stalled = stage.governor.wait_for("stalled", DEADLINE)
    print(stalled["text"])
    stage.governor.wait_for("returned", DEADLINE)
    stage.governor.wait_for("relaxed", DEADLINE)
    assert stage.events("asked", "retain_jemalloc")
    assert all(event["reason"]["signal"] == "stall" for event in stage.events("asked"))

    def calm():
        before = refaults()
        time.sleep(0.5)
        return refaults() - before < 50
    wait_until(calm, DEADLINE, "no page is read again")
    assert stage.parent.oom_kills() == 0 and service.alive and filler.alive and tenant.alive


def stalled_us(cgroup) -> int | None:
    """Microseconds that all its tasks have waited for memory (PSI full); None where nobody counts them."""
    file = (cgroup.mirror or cgroup.path) / "memory.pressure"
    if not file.exists():
        return None
    full = next(line for line in file.read_text().splitlines() if line.startswith("full"))
    return int(full.rsplit("total=", 1)[1])


def test_fast_growth_is_no_stall(stage):
    """Growth at the limit waits for memory, too: page cache has to go for it. But nothing is read again. That the same
    domain is seen to stall as soon as pages do come back shows that somebody looked."""
    code = unread_file(stage.directory / "code", scaled(120))
    cache = unread_file(stage.directory / "file", stage.parent.limit * 3 // 2)
    pusher = start_hold(stage, "pusher")
    start_hold(stage, "reader", "--read", str(cache))
    limit = stage.parent.limit
    # What is in memory.stat may be two seconds old.
    wait_until(lambda: stage.parent.stat()["file"] > limit * 9 // 10, DEADLINE, "page cache fills the limit")
    stage.govern(ENFORCE)
    before, began = stalled_us(stage.parent), time.monotonic()
    take(pusher, limit - scaled(48))
    risen = stage.governor.service.wait_for(
        lambda line: line.get("event") in ("woke", "critical") and line["t"] >= began, DEADLINE, "a need")
    assert risen["reason"]["signal"] in ("usage", "time_to_limit"), risen
    after = stalled_us(stage.parent)
    print(f"waited {after - before} us while growing" if after is not None else "no PSI here")
    assert after is None or after > before, "its growth has waited for memory"
    assert not stage.events("stalled"), "which is no stall"
    tenant = start_hold(stage, "tenant", "--map", str(code))  # less than half of the code has room
    stage.governor.wait_for("stalled", DEADLINE)
    assert tenant.alive and pusher.alive and stage.parent.oom_kills() == 0
