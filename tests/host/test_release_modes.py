"""The release mode of a real jemalloc: lazy while all is calm, where the policy says so, and eager while there is a need."""

from harness.processes import Service, wait_until

from .conftest import DEADLINE, MIB, scaled
from .policies import ENFORCE

POLICY = ENFORCE + "    calm: {releaseMode: lazy}\n    pace: {ttl: 2s}\n"
LAZY = {"dirty_ms": 100, "muzzy_ms": -1}
EAGER = {"dirty_ms": 0, "muzzy_ms": 0}


def decay(service: Service) -> dict:
    answer = service.ask("decay", "dirty_ms", DEADLINE)
    return {key: answer[key] for key in LAZY}


def lazily_freed(service: Service) -> int:
    return service.rollup()["LazyFree"]


def free_lazily(service: Service, size: int) -> int:
    """Allocates and frees; bytes that the kernel may take since."""
    service.ask(f"cycles 1 {size // MIB} 300", "cycles", DEADLINE)  # and works on for longer than dirty pages stay
    return lazily_freed(service)


def test_lazy_while_calm_eager_while_there_is_a_need(stage):
    size = scaled(100)
    governor = stage.govern(POLICY)
    service = stage.start("modes", "tests/bench/bench_modes_service", str(scaled(40) // MIB), "--memgov", commands=True)
    service.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")
    wait_until(lambda: decay(service) == LAZY, DEADLINE, "the lazy mode")
    asked = governor.wait_for("asked", DEADLINE)
    assert governor.of("would_ask") == []
    assert asked["action"] == "set_release_mode" and "set_release_mode lazy" in asked["text"], asked
    wait_until(lambda: free_lazily(service, size) > size // 2, DEADLINE, "lazily freed memory")

    crosser = stage.start_crosser(scaled(150))
    crosser.say("cross 0")
    wait_until(lambda: any("set_release_mode eager" in event["text"] for event in governor.of("asked")), DEADLINE, "a switch")
    wait_until(lambda: decay(service) == EAGER, DEADLINE, "the eager mode")
    wait_until(lambda: lazily_freed(service) < size // 20, DEADLINE, "what was freed lazily is collected by the switch")

    crosser.stop()
    wait_until(lambda: decay(service) == LAZY, DEADLINE, "the lazy mode once more")
    assert stage.parent.oom_kills() == 0


def test_it_is_the_programs_own_mode_if_the_policy_does_not_say_so(stage):
    governor = stage.govern(ENFORCE)
    service = stage.start("modes", "tests/bench/bench_modes_service", str(scaled(40) // MIB), "--memgov", commands=True)
    governor.wait_for("attached", DEADLINE)
    own = decay(service)
    assert own not in (LAZY, EAGER)
    stage.start_crosser(scaled(150)).say("cross 0")
    wait_until(lambda: any(event["action"] == "set_release_mode" for event in governor.of("asked")), DEADLINE, "a switch")
    modes = [event["text"] for event in governor.of("asked", "would_ask") if event["action"] == "set_release_mode"]
    assert all("eager" in text for text in modes), modes
    wait_until(lambda: decay(service) == EAGER, DEADLINE, "the eager mode")
