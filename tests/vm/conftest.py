"""One boot for the whole suite: every test runs its command in the same machine.

When a test hangs the machine is killed with it, and the next one gets a new machine.
"""

from collections.abc import Callable

import pytest

import vm


class _Shared:
    def __init__(self) -> None:
        self._machine: vm.Machine | None = None

    def get(self) -> vm.Machine:
        if self._machine is None or not self._machine.alive:
            self.close()
            self._machine = vm.Machine(files=vm.stage_tree())
        return self._machine

    def close(self) -> None:
        if self._machine is not None:
            self._machine.close()
            self._machine = None


_NOTES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NOTES] = []


def pytest_terminal_summary(terminalreporter) -> None:
    """What ran where, for people who wonder whether the machine was real."""
    for note in terminalreporter.config.stash[_NOTES]:
        terminalreporter.write_line(f"in the VM: {note}")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the end of the suite's report."""
    return request.config.stash[_NOTES].append


@pytest.fixture(scope="session")
def _shared():
    shared = _Shared()
    yield shared
    shared.close()


@pytest.fixture
def machine(_shared) -> vm.Machine:
    return _shared.get()
