"""systemd and runc rewrite memory.high and memory.max while memgovd holds a brake there: who wins?

Prints one JSON object, what was seen after each deed. test_brake_reconcile.py says what must be.
"""

import json
import pathlib
import sys
import tempfile
import time

TREE = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(TREE / "tests"), str(TREE / "tests/vm/guest")]

from brake_life import BUILD, HOG, MEMGOVD, POLICY  # noqa: E402
from harness.cgroups import Cgroup, detect  # noqa: E402
from harness.figures import MIB  # noqa: E402
from harness.governor import Governor, socket_in  # noqa: E402
from harness.processes import Service, wait_until  # noqa: E402
from manager import Container, Systemd  # noqa: E402

LIMIT = 64 * MIB
OURS = 58093568  # 85 % and a MiB, in whole pages
FOREIGN = 60 * MIB
DEADLINE = 60.0
STAYS = 4.0  # seconds that a foreign value is watched


class Domain:
    """One braked cgroup: a client that never answers, and a hog."""

    def __init__(self, group: Cgroup, directory: pathlib.Path):
        self.group, self.high = group, group.path / "memory.high"
        env = {"MEMGOV_SOCKET": str(socket_in(directory))}
        name = group.name.rpartition("/")[2]
        self.client = Service(f"client-{name}", [str(BUILD / "tests/conformance/bad_client"), "--mode", "hang",
                                                 "--again", "--claim", str(16 * MIB)],
                              directory=directory, cgroup=group, env=env)
        # From 46 MiB on it comes over the foreign value too, but not to the limit: killed, it would relax the domain.
        self.hog = Service(f"hog-{name}", [sys.executable, "-c", HOG, str(16 * MIB)], directory=directory,
                           cgroup=group, commands=True)
        self.client.wait_for(lambda line: line.get("welcomed"), DEADLINE, "a welcome")
        self.hog.wait_for(lambda line: line.get("ready"), DEADLINE, "ready")

    def value(self) -> int | None:
        text = self.high.read_text().strip()
        return None if text == "max" else int(text)

    def becomes(self, value: int | None) -> float:
        """Seconds until memory.high is that."""
        began = time.monotonic()
        wait_until(lambda: self.value() == value, DEADLINE, f"memory.high of {self.group.name} at {value}, not "
                   f"{self.value()}")
        return round(time.monotonic() - began, 2)

    def stays(self, value: int) -> bool:
        until = time.monotonic() + STAYS
        while time.monotonic() < until:
            if self.value() != value:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        for service in (self.hog, self.client):
            service.process.kill()
            service.stop()


def told(governor: Governor, domain: Domain, since: int) -> float:
    """Seconds from now until the governor says that it let go of this brake."""
    began = time.monotonic()
    wait_until(lambda: any(event["event"] == "brake_released" and event["domain"] == domain.group.name
                           for event in governor.events[since:]), DEADLINE, "brake_released")
    return round(time.monotonic() - began, 3)


def marks(directory: pathlib.Path, domain: Domain) -> int:
    state = directory / "state/brake.state"
    return state.read_text().count(domain.group.name + " ") if state.exists() else 0


def with_systemd(systemd: Systemd, governor: Governor, domain: Domain, directory: pathlib.Path) -> dict:
    seen = {"armed_s": domain.becomes(OURS)}
    systemd.ctl("daemon-reload")
    seen["after_reload"] = domain.value()
    seen["reload_converged_s"] = domain.becomes(OURS)

    sibling = systemd.cgroup_of("b.service").path / "memory.high"
    systemd.ctl("set-property", "--runtime", "b.service", f"MemoryHigh={48 * MIB}")
    seen["after_sibling"] = domain.value()
    seen["sibling_converged_s"] = domain.becomes(OURS)
    seen["sibling_kept"] = sibling.read_text().strip() == str(48 * MIB)

    since = len(governor.events)
    systemd.ctl("set-property", "--runtime", "a.service", f"MemoryHigh={FOREIGN}")
    seen["told_s"] = told(governor, domain, since)
    seen["foreign_kept"] = domain.stays(FOREIGN)
    systemd.ctl("daemon-reload")
    seen["foreign_kept_after_reload"] = domain.stays(FOREIGN)
    seen["marks_left"] = marks(directory, domain)
    systemd.ctl("set-property", "--runtime", "a.service", "MemoryHigh=infinity")
    seen["infinity_converged_s"] = domain.becomes(OURS)
    return seen


def while_braking(systemd: Systemd, governor: Governor, domain: Domain) -> dict:
    """The same in the middle of an episode."""
    domain.hog.say(f"base {46 * MIB - domain.group.usage()}")
    wait_until(lambda: domain.hog.latest("did") == "base", DEADLINE, "the base")
    episodes = len(governor.of("braking"))
    domain.hog.say("up")
    wait_until(lambda: len(governor.of("braking")) > episodes, DEADLINE, "an episode")
    since = len(governor.events)
    systemd.ctl("set-property", "--runtime", "a.service", f"MemoryHigh={FOREIGN}")
    seen = {"episode_told_s": told(governor, domain, since), "episode_foreign_kept": domain.stays(FOREIGN)}
    systemd.ctl("set-property", "--runtime", "a.service", "MemoryHigh=infinity")
    seen["no_brake_before_relaxed"] = domain.value() is None
    return seen


def with_runc(container: Container, governor: Governor, domain: Domain) -> dict:
    seen = {"runc_armed_s": domain.becomes(OURS)}
    assert container.update("--memory", str(80 * MIB)) == 0
    seen["runc_after_update"] = domain.value()
    seen["runc_limit"] = domain.group.limit
    seen["runc_moved_s"] = domain.becomes((80 * MIB * 85 // 100 + MIB + 4095) // 4096 * 4096)
    since = len(governor.events)
    domain.high.write_text(str(FOREIGN))
    seen["runc_told_s"] = told(governor, domain, since)
    assert container.update("--memory", str(96 * MIB)) == 0
    seen["runc_foreign_kept"] = domain.stays(FOREIGN)
    seen["runc_unified_status"] = container.update("--resources", "-", text=json.dumps(
        {"unified": {"memory.high": str(70 * MIB)}}))
    seen["runc_unified_high"] = domain.value()
    return seen


def main() -> int:
    hierarchy = detect()
    with tempfile.TemporaryDirectory(prefix="memgov-reconcile-") as name:
        directory = pathlib.Path(name)
        policy = directory / "policy.yaml"
        policy.write_text(POLICY.replace("/memgov-life-*/**", "/memgov-*/**"))
        systemd = Systemd(Cgroup.create(hierarchy, "/memgov-systemd"), directory, {"a.service": LIMIT, "b.service": LIMIT})
        above = Cgroup.create(hierarchy, "/memgov-runc")
        container = Container(Cgroup(hierarchy, "/memgov-runc/memgov-box"), directory, LIMIT)
        governor = Governor(MEMGOVD, policy, directory, ["/memgov-systemd", "/memgov-runc"])
        try:
            unit = Domain(systemd.cgroup_of("a.service"), directory)
            box = Domain(container.group, directory)
            seen = with_systemd(systemd, governor, unit, directory)
            seen |= while_braking(systemd, governor, unit)
            seen |= with_runc(container, governor, box)
            unit.close()
            box.close()
        except BaseException:
            for event in governor.events[-20:]:
                print(f"{event.get('t')} {event.get('text', event)}", file=sys.stderr)
            raise
        finally:
            status = governor.stop()
            container.group.kill()
            container.close()
            systemd.close()
            above.remove()
    print(json.dumps(seen | {"status": status}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
