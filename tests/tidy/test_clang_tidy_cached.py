"""What is checked again, and what is not: with a stand-in for clang-tidy that finds the word BAD."""

import contextlib
import io
import json
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import clang_tidy_cached

STAND_IN = """#!/bin/sh
# Called as: --version, or -p BUILD --quiet SOURCE
[ "$1" = --version ] && { echo 14; exit; }
echo "$4" >> "$CHECKED"
if grep -n BAD "$4"; then exit 1; fi
echo "12 warnings generated." >&2
"""


class Cache(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        self.build = self.root / "build"
        self.write("tool", STAND_IN).chmod(0o755)
        self.write(".clang-tidy", "Checks: a\n")
        self.write("a.h", "#include <vector>\n")
        self.write("build/generated/made.h", "")
        self.write("a.cc", '#include "a.h"\n#include "made.h"\n')
        self.write("b.cc", "int b;\n")
        self.write("a_test.cc", "int test;\n")
        self.write("build/made.cc", "BAD\n")
        command = f"c++ -I{self.root} -isystem {self.build}/generated"
        names = ["a.cc", "b.cc", "a_test.cc", "build/made.cc"]
        entries = [{"directory": str(self.root), "file": name, "command": command} for name in names]
        self.write("build/compile_commands.json", json.dumps(entries))
        environment = {"MEMGOV_CACHE": str(self.root / "cache"), "CHECKED": str(self.root / "checked")}
        for patch in [
            mock.patch.object(clang_tidy_cached, "ROOT", self.root),
            mock.patch.object(clang_tidy_cached, "TOOL", str(self.root / "tool")),
            mock.patch.dict(os.environ, environment),
        ]:
            patch.start()
            self.addCleanup(patch.stop)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def lint(self, *arguments):
        """The exit code, and the names of the files that were checked."""
        self.write("checked", "")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = clang_tidy_cached.main(["-p", str(self.build), *arguments])
        return code, sorted(Path(line).name for line in (self.root / "checked").read_text().split())

    def test_our_files_are_checked_once(self):
        self.assertEqual(self.lint(), (0, ["a.cc", "b.cc"]))
        self.assertEqual(self.lint(), (0, []))

    def test_unit_tests_are_checked_on_demand(self):
        self.assertEqual(self.lint("--all"), (0, ["a.cc", "a_test.cc", "b.cc"]))
        self.assertEqual(self.lint(str(self.root / "a_test.cc")), (0, []))

    def test_a_finding_is_found_again(self):
        self.write("b.cc", "BAD\n")
        self.assertEqual(self.lint(), (1, ["a.cc", "b.cc"]))
        self.assertEqual(self.lint(), (1, ["b.cc"]))

    def test_a_change_of_a_header_counts_for_those_who_include_it(self):
        self.lint()
        self.write("a.h", "int x;\n")
        self.assertEqual(self.lint(), (0, ["a.cc"]))
        self.write("build/generated/made.h", "int x;\n")
        self.assertEqual(self.lint(), (0, ["a.cc"]))

    def test_a_change_of_the_checks_counts_for_all(self):
        self.lint()
        self.write(".clang-tidy", "Checks: b\n")
        self.assertEqual(self.lint(), (0, ["a.cc", "b.cc"]))


if __name__ == "__main__":
    unittest.main()
