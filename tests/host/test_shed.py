"""A cache that can be shed: a neighbour that the kernel would kill lives, because an application gives up what it can
make again. The real daemon, clients, redis and kernel."""

import shutil

import pytest

from demo.scene import redis_command
from harness.processes import Service, wait_until

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE

POLICY = ENFORCE + "    actions: [release, shed]\n"


def start_cache(stage, allocator: str, size: int, *arguments: str) -> Service:
    cache = stage.start(f"cache_{allocator}", f"tests/workloads/cache_{allocator}", "--cache", f"{size // MIB}MiB",
                        *arguments)
    cache.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return cache


def fill_redis(stage, size: int) -> tuple[Service, Service]:
    """A redis in the domain, and who fills it from outside."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    command = redis_command(program, stage.directory)
    redis = Service("redis", command, directory=stage.directory, cgroup=stage.parent.child("redis"))
    stage.services.append(redis)
    wait_until((stage.directory / "redis.sock").exists, DEADLINE, "redis' socket")
    fill = stage.start("fill", "tests/workloads/redis_fill", "--socket", str(stage.directory / "redis.sock"), "--total",
                       f"{size // MIB}MiB", "--rate", f"{max(1, scaled(20) // MIB)}MiB", inside=False)
    return redis, fill


@pytest.mark.parametrize("allocator", ["jemalloc", "glibc"])
def test_a_cache_is_shed_and_its_neighbour_lives(stage, allocator):
    governor = stage.govern(POLICY)
    cache = start_cache(stage, allocator, scaled(260), "--memgov")
    governor.wait_for("attached", DEADLINE)
    held = cache.cgroup.usage()
    redis, fill = fill_redis(stage, scaled(300))
    fill.process.wait(DEADLINE)
    assert fill.stop() == 0, fill.last_words()
    assert redis.alive and cache.alive
    assert redis.cgroup.oom_kills() == 0 and cache.cgroup.oom_kills() == 0

    returned = [event for event in stage.events("returned") if event["action"] == "shed"]
    assert returned, stage.governor.events
    assert sum(event["bytes"] for event in returned) >= scaled(30)
    assert cache.cgroup.usage() < held - scaled(30)
    assert returned[0]["reason"]["rule"] == "test"
    # It goes on with what is left, and all its data are right.
    assert cache.stop() == 0, cache.last_words()
    assert cache.lines[-1]["errors"] == 0
    assert cache.lines[-1]["cache_mib"] * MIB < scaled(240)
    print({"cache_mib": cache.lines[-1]["cache_mib"], "held_mib": held / MIB,
           "sheds": [(event["bytes"] / MIB, event["took_ms"]) for event in returned]})


def test_without_memgov_the_kernel_kills(stage):
    cache = start_cache(stage, "jemalloc", scaled(260))
    redis, fill = fill_redis(stage, scaled(300))
    fill.process.wait(DEADLINE)
    assert redis.cgroup.oom_kills() + cache.cgroup.oom_kills() > 0


def test_a_cache_that_comes_later_is_told_and_shed(stage):
    """What an attached process registers gives it a new session, which can shed."""
    governor = stage.govern(POLICY)
    late = stage.start("late", "tests/workloads/cache_glibc", "--cache", f"{scaled(150) // MIB}MiB", "--memgov",
                       "--late")
    late.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    governor.wait_for("attached", DEADLINE, 2)
    held = late.cgroup.usage()
    crosser = stage.start_crosser(scaled(150))
    crosser.say("cross 0")
    # What glibc's malloc holds free is asked for first, and is next to nothing.
    governor.service.wait_for(lambda line: line.get("event") == "returned" and line["action"] == "shed", DEADLINE,
                              "return of a shed")
    assert late.cgroup.usage() < held
    assert late.stop() == 0, late.last_words()
