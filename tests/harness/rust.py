"""Rust programs that tests and benchmarks run: cargo builds them, and decides what is stale."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

# Of cargo's words: no network and nothing cached; a cargo or rustc too old for what the crates ask.
NOT_TO_BE_HAD = ("failed to download", "failed to get", "lock file version", "requires rustc", "edition2024")


class Unavailable(RuntimeError):
    """Not to be built on this machine; the message says why."""


def errors_in(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if "error" in line]
    return " / ".join(lines)[:500] or words[-300:]


class RustProgram:
    """`directory` has one binary for each feature, named DIRECTORY_FEATURE, and libmemgov.a linked in."""

    def __init__(self, directory: pathlib.Path, feature: str, *, build: pathlib.Path, native: str = ""):
        """`native` is a crate that compiles C or C++: where no compiler is new enough for that, the program is
        Unavailable."""
        self.directory = directory
        self.feature = feature
        self.name = f"{directory.name}_{feature}"
        self.native = native
        self._memgov = build
        # Kept with other caches: allocators take minutes to build, once.
        cache = os.environ.get("MEMGOV_CACHE")
        self.target = pathlib.Path(cache) / "rust" if cache else build / "tests/host/rust"

    def build(self) -> pathlib.Path:
        """The program, up to date. Raises Unavailable; AssertionError if it is our own code that does not build."""
        self._cargo()
        return self.target / "release" / self.name

    def native_output(self) -> pathlib.Path:
        """Builds too; the directory where the native crate put its archive."""
        for line in self._cargo("--message-format=json").splitlines():
            message = json.loads(line)
            if message["reason"] == "build-script-executed" and self.native in message["package_id"]:
                return pathlib.Path(message["out_dir"])
        raise AssertionError(f"cargo ran no build script of {self.native}")

    def _cargo(self, *arguments: str) -> str:
        if shutil.which("cargo") is None or shutil.which("rustc") is None:
            raise Unavailable("no cargo and rustc here (1.78 or newer, from rustup.rs or your distribution)")
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(self.directory / "Cargo.toml"),
                   "--target-dir", str(self.target), "--features", self.feature, "--bin", self.name, *arguments]
        built = subprocess.run(command, env=os.environ | {"MEMGOV_BUILD": str(self._memgov)}, capture_output=True, text=True)
        if built.returncode != 0 and any(words in built.stderr for words in NOT_TO_BE_HAD):
            raise Unavailable(f"the crates cannot be had here: {errors_in(built.stderr)}")
        if self.native and f"failed to run custom build command for `{self.native} " in built.stderr:
            raise Unavailable(f"{self.native} does not compile here: {errors_in(built.stderr)}")
        assert built.returncode == 0, built.stderr[-2000:]
        return built.stdout
