"""Go services do not die holding memory that they do not need: scenes from real services, each with memgov and without.
What cannot be saved is said to be so before it dies."""

import pathlib
import time

import pytest

from harness.figures import MIB
from harness.processes import Service, ServiceError, wait_until

from .conftest import DEADLINE, SCALE, scaled
from .policies import ENFORCE

SCENES = "tests/workloads/goscenes"
HOLD = "tests/workloads/hold_pages"


# Scaled down they are about as large as what the Go runtime itself needs, and the machine is slow.
full_size_only = pytest.mark.skipif(SCALE < 1, reason="needs its full size (runs on the host)")


def rss(service: Service) -> int:
    """Bytes; 0 when it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{service.pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def kept(service: Service) -> int:
    """Bytes the kernel cannot take by itself: resident, less what was freed lazily. 0 when it is gone."""
    rollup = service.rollup()
    return rollup["Rss"] - rollup["LazyFree"] if rollup else 0


def size_flag(size: int) -> str:
    return f"{size // 1024}KiB"


def start_holder(stage, kind: str, size: int, **env: str) -> Service:
    """A Go service that took `size`, has no use for it any more, and idles."""
    service = stage.start(kind, SCENES, "hold", "-kind", kind, "-size", size_flag(size), commands=True, env=env)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return service


def grow_beside(stage, size: int, watched: Service) -> tuple[Service, list[int]]:
    """A neighbour that grows to `size`, a 64th of the limit at a time, until it is there or somebody was killed. Also
    the resident sizes of `watched` meanwhile, while both lived."""
    neighbour = stage.start("neighbour", HOLD, commands=True)
    neighbour.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    step = stage.parent.limit // 64 // MIB + 1
    sizes = [rss(watched)]
    for wanted in range(1, size // MIB // step + 1):
        try:
            neighbour.say(f"take {step}MiB")
            neighbour.wait_for(lambda line: line.get("taken") and taken(neighbour) >= wanted, DEADLINE, "memory taken")
        except ServiceError:
            break
        if rss(watched) == 0:
            break
        sizes.append(rss(watched))
        time.sleep(0.05)  # the limit in three seconds: as fast as a service grows
    return neighbour, sizes


def taken(neighbour: Service) -> int:
    return sum(1 for line in list(neighbour.lines) if line.get("taken"))


def kills(*services: Service) -> int:
    return sum(service.cgroup.oom_kills() for service in services)


KINDS = [
    pytest.param("drop", 100, "1", id="100MiB", marks=full_size_only),
    pytest.param("drop", 200, "1", id="200MiB"),
    pytest.param("drop", 500, "1", id="500MiB"),
    pytest.param("drop", 100, "0", id="100MiB-lazy", marks=full_size_only),
    pytest.param("drop", 200, "0", id="200MiB-lazy"),
    pytest.param("drop", 500, "0", id="500MiB-lazy"),
    pytest.param("channel", 200, "1", id="channel"),
    pytest.param("map", 200, "1", id="map"),
    pytest.param("burst", 200, "1", id="burst"),
]


@pytest.mark.parametrize(("kind", "mib", "eager"), KINDS)
def test_what_a_service_has_no_use_for_is_there_when_its_neighbour_needs_it(stage, kind, mib, eager):
    size = scaled(mib)
    stage.parent.set_limit(2 * size + scaled(32))
    governor = stage.govern(ENFORCE)
    service = start_holder(stage, kind, size, GODEBUG=f"madvdontneed={eager}")
    governor.wait_for("attached", DEADLINE)
    neighbour, sizes = grow_beside(stage, size * 3 // 2, service)
    assert service.alive and neighbour.alive and kills(service, neighbour) == 0
    wait_until(lambda: kept(service) < size // 2, DEADLINE, "what it has no use for is given back")
    print(f"{kind}: {sizes[0] / MIB:.0f} MiB, at most {max(sizes) / MIB:.0f}, at last {kept(service) / MIB:.0f}")
    # It goes on as if nothing had been: the memory is there again when the need has gone.
    neighbour.stop()
    service.say("again")
    service.wait_for(lambda line: line.get("again"), DEADLINE, "all that once more")
    assert service.stop() == 0, service.last_words()


@pytest.mark.parametrize(("kind", "mib", "eager"), KINDS)
def test_without_memgov_it_is_kept_until_the_kernel_kills(stage, kind, mib, eager):
    size = scaled(mib)
    stage.parent.set_limit(2 * size + scaled(32))
    service = start_holder(stage, kind, size, GODEBUG=f"madvdontneed={eager}")
    neighbour, sizes = grow_beside(stage, size * 3 // 2, service)
    wait_until(lambda: kills(service, neighbour) > 0, DEADLINE, "a kill")
    print(f"{kind}: {sizes[0] / MIB:.0f} MiB, at last {sizes[-1] / MIB:.0f}")
    assert sizes[-1] > sizes[0] * 9 // 10, "it kept what it had no use for"


def start_slice(stage, size: int, *arguments: str) -> Service:
    return stage.start("slice", SCENES, "slice", "-size", size_flag(size), *arguments)


def test_a_large_slice_that_is_allocated_anew_fits_as_long_as_one_fits(stage):
    size = scaled(1024)
    stage.parent.set_limit(size * 8 // 5)
    stage.govern(ENFORCE)
    service = start_slice(stage, size, "-rounds", "4", "-fill", "2s")
    final = service.wait_for(lambda line: line.get("final"), DEADLINE, "the last round")
    assert final["errors"] == 0 and kills(service) == 0
    print(f"at most {(stage.parent.peak() or 0) / MIB:.0f} of {stage.parent.limit / MIB:.0f} MiB")


def test_without_memgov_a_large_slice_that_is_allocated_anew_dies(stage):
    size = scaled(1024)
    stage.parent.set_limit(size * 8 // 5)
    service = start_slice(stage, size, "-rounds", "4", "-fill", "2s")
    wait_until(lambda: kills(service) > 0, DEADLINE, "a kill")
    service.process.wait(DEADLINE)
    assert not [line for line in service.lines if line.get("final")]


@full_size_only
def test_a_slice_that_outgrows_its_limit_is_called_unsavable_before_it_dies(stage):
    """500, 750, 1125 MiB below 1 GiB."""
    stage.parent.set_limit(scaled(1024))
    governor = stage.govern(ENFORCE)
    service = start_slice(stage, scaled(500), "-rounds", "9", "-fill", "2s", "-grow", "1.5")
    governor.wait_for("unsavable", DEADLINE)
    wait_until(lambda: kills(service) > 0, DEADLINE, "the kill that nobody can avert")
    unsavable, kill = governor.wait_for("unsavable", 0), governor.wait_for("oom_kill", DEADLINE)
    print(unsavable["text"], f"; {kill['t'] - unsavable['t']:.2f} s before the kill")
    assert unsavable["t"] < kill["t"]
    assert [line["round"] for line in service.lines if "round" in line] == [1, 2], "what fits lives"


def play_leak(stage, until: int, **env: str) -> tuple[Service, float]:
    """Leaks 4 MiB a second from 130 MiB on below 256 MiB, and makes 32 MiB of garbage, until so many MiB have leaked.
    Also the share of all CPU time that collections took from 170 MiB on, in percent."""
    stage.parent.set_limit(scaled(256))
    service = stage.start("leak", SCENES, "leak", "-rate", size_flag(scaled(4)), "-churn", size_flag(scaled(32)), "-start",
                          size_flag(scaled(130)), env=env)
    service.wait_for(lambda line: line.get("leaked_mib", 0) * MIB > scaled(until), DEADLINE, "the leak")
    assert kills(service) == 0
    service.stop()
    lines = [line for line in service.lines if line.get("leaked_mib", 0) * MIB > scaled(170)]
    assert all("limit_mib" in line for line in lines), "a soft limit is in force"
    return service, 100 * (lines[-1]["gc_s"] - lines[0]["gc_s"]) / (lines[-1]["cpu_s"] - lines[0]["cpu_s"])


@full_size_only
def test_a_slow_leak_is_told_in_time_and_not_tormented(stage):
    """A soft limit never goes below a fifth over what is live: near its end the leak grows into the limit."""
    governor = stage.govern(ENFORCE)
    service, gc_percent = play_leak(stage, 200)
    limited = next(line["at"] for line in service.lines if "limit_mib" in line)
    [unsavable, *_] = governor.of("unsavable")
    print(f"{gc_percent:.1f} % of CPU for collections, verdict after {unsavable['t'] - limited:.1f} s: {unsavable['text']}")
    assert gc_percent <= 10
    assert unsavable["t"] - limited < 60


@full_size_only
def test_under_a_static_limit_the_same_leak_is_tormented(stage):
    """It lives a little longer, and does nothing but collect."""
    _, gc_percent = play_leak(stage, 212, GOMEMLIMIT=str(scaled(256) * 9 // 10), MEMGOV_DISABLE="1")
    print(f"{gc_percent:.1f} % of CPU for collections")
    assert gc_percent > 10
