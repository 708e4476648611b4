"""What cargo says decides between a skip and a failure."""

import pathlib

import pytest

from harness.rust import RustProgram, Unavailable

CRATE = "some-allocator-sys"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program whose cargo says on standard error what it is told to, and fails."""

    def with_words(words: str) -> RustProgram:
        (tmp_path / "words").write_text(words)
        for name in ("cargo", "rustc"):
            (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path}/words >&2\nexit 101\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return RustProgram(pathlib.Path("/nowhere/service"), "feature", build=tmp_path, native=CRATE)

    return with_words


@pytest.mark.parametrize("words", [
    "error: failed to download `cc v1.2.3`",
    "error: package `x v0.1.0` cannot be built because it requires rustc 1.87 or newer",
    "feature `edition2024` is required",
    f"error: failed to run custom build command for `{CRATE} v0.1.14`\n  g++: unrecognized option -std=c++17",
])
def test_what_this_machine_lacks_is_unavailable(program, words):
    with pytest.raises(Unavailable, match="here"):
        program(words).build()


def test_without_cargo_it_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no cargo"):
        RustProgram(pathlib.Path("/nowhere/service"), "feature", build=tmp_path).build()


@pytest.mark.parametrize("words", [
    "error[E0425]: cannot find value `hook` in this scope",
    "error: failed to run custom build command for `rust_service v0.1.0`",
])
def test_what_we_broke_is_a_failure(program, words):
    with pytest.raises(AssertionError, match="error"):
        program(words).build()
