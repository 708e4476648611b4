"""MEMGOV_LOCAL=1 and no governor: real processes watch their own real cgroup and give memory back before the kernel kills."""

import base64
import os
import time

import pytest

from harness.processes import Service, ServiceError, wait_until

from .conftest import BUILD, DEADLINE, MIB, scaled
from .policies import ENFORCE
from .test_preload import PRELOAD, PROGRAMS, program

LOCAL = {"MEMGOV_LOCAL": "1", "MEMGOV_LOG": "1"}


def start_retaining(stage, allocator: str, size: int, env: dict[str, str]) -> Service:
    service = stage.start(allocator, f"tests/workloads/retain_{allocator}", "--grow", f"{size // MIB}MiB", "--memgov",
                          env=env)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    return service


def said(service: Service, text: str) -> bool:
    return text in service.log.read_text(errors="replace")


def wait_for_words(service: Service, text: str) -> None:
    wait_until(lambda: said(service, text), DEADLINE, f"{service.name} saying {text!r}")


def grow_beside(stage, size: int, pause: float = 0.0) -> Service:
    """A neighbour in the same limit that takes `size` bytes in steps, with `pause` seconds after each. ServiceError when
    it is killed meanwhile."""
    neighbour = stage.start("neighbour", "tests/workloads/hold_pages", commands=True)
    neighbour.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    step = max(1, scaled(8) // MIB)
    for number in range(1, size // MIB // step + 1):
        neighbour.say(f"take {step}MiB")
        wait_until(lambda: sum("taken" in line for line in neighbour.lines) >= number or not neighbour.alive, DEADLINE,
                   "its pages")
        if not neighbour.alive:
            raise ServiceError(neighbour.last_words())
        time.sleep(pause)
    return neighbour


def kills(stage, *services: Service) -> int:
    return sum(service.cgroup.oom_kills() for service in services)


@pytest.mark.parametrize("allocator", ["jemalloc", "glibc"])
def test_what_is_kept_is_released_and_the_neighbour_lives(stage, allocator):
    service = start_retaining(stage, allocator, scaled(300), LOCAL)
    wait_for_words(service, "without a governor: watching usage of 1 cgroup")
    held = service.cgroup.usage()
    neighbour = grow_beside(stage, scaled(360))
    assert service.alive and neighbour.alive
    assert kills(stage, service, neighbour) == 0
    assert service.cgroup.usage() < held - scaled(150)
    assert said(service, "% of the ") and said(service, " done: resident "), service.log.read_text()
    assert service.stop() == 0, service.last_words()
    assert service.lines[-1]["errors"] == 0


def test_without_the_switch_the_kernel_kills(stage):
    service = start_retaining(stage, "jemalloc", scaled(300), {"MEMGOV_LOG": "1"})
    try:
        grow_beside(stage, scaled(360))
    except ServiceError:
        pass
    neighbour = stage.services[-1]
    wait_until(lambda: not service.alive or not neighbour.alive, DEADLINE, "a kill")
    assert kills(stage, service, neighbour) > 0


def test_a_program_that_nobody_rebuilt_does_it_too(stage):
    service = stage.start("python", program("python3"), str(PROGRAMS / "retain.py"), str(scaled(300) // MIB),
                          env=LOCAL | {"LD_PRELOAD": str(PRELOAD)})
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    wait_for_words(service, "without a governor: watching usage of 1 cgroup")
    neighbour = grow_beside(stage, scaled(360))
    assert service.alive and neighbour.alive and kills(stage, service, neighbour) == 0
    assert service.stop() == 0, service.last_words()


def test_a_cache_is_shed_when_nothing_is_free(stage):
    cache = stage.start("cache", "tests/workloads/cache_jemalloc", "--cache", f"{scaled(260) // MIB}MiB", "--memgov",
                        env=LOCAL)
    cache.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    wait_for_words(cache, "without a governor: watching")
    neighbour = grow_beside(stage, scaled(304), pause=0.2)
    assert cache.alive and neighbour.alive and kills(stage, cache, neighbour) == 0, cache.log.read_text()
    assert said(cache, "without a governor: shed"), cache.log.read_text()
    assert cache.stop() == 0, cache.last_words()
    assert cache.lines[-1]["errors"] == 0


def test_systemds_pressure_file_with_its_trigger_releases(stage):
    """As MemoryPressureWatch= hands it over: the kernel's file, and the threshold to write into it, in base64."""
    tree = stage.parent.mirror or stage.parent.path
    if not (tree / "memory.pressure").exists():
        pytest.skip("this kernel tells no memory pressure (CONFIG_PSI, psi=1)")
    handed_over = {"MEMORY_PRESSURE_WATCH": str(tree / "memory.pressure"),
                   "MEMORY_PRESSURE_WRITE": base64.b64encode(b"some 100000 2000000\0").decode()}
    service = start_retaining(stage, "glibc", scaled(200), LOCAL | handed_over)
    wait_for_words(service, f"stalls from {tree}/memory.pressure")
    held = service.cgroup.usage()
    # A program that runs through more code than fits into its own limit. The parent has room.
    file = stage.directory / "code"
    with open(file, "wb") as out:  # and out of memory, where it would be ours
        out.write(b"c" * scaled(128))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [str(BUILD / "tests/workloads/hold_pages"), "--map", str(file)]
    thrasher = Service("thrasher", command, directory=stage.directory, commands=True,
                       cgroup=stage.parent.child("thrasher", max(scaled(48), 16 * MIB)))
    stage.services.append(thrasher)
    wait_for_words(service, "tasks wait for memory")
    wait_until(lambda: service.cgroup.usage() < held - scaled(100), DEADLINE, "what it gives back")
    assert stage.parent.usage() < stage.parent.limit * 85 // 100
    assert service.stop() == 0, service.last_words()


def test_only_one_is_the_boss(stage):
    service = start_retaining(stage, "glibc", scaled(300), LOCAL)
    wait_for_words(service, "without a governor: watching")
    governor = stage.govern(ENFORCE)
    governor.wait_for("attached", DEADLINE)
    wait_for_words(service, "a governor is there: not watching")
    neighbour = grow_beside(stage, scaled(360))
    governor.wait_for("returned", DEADLINE)
    assert service.alive and neighbour.alive and kills(stage, service, neighbour) == 0
    assert not said(service, "without a governor: release"), service.log.read_text()
    assert service.stop() == 0, service.last_words()
