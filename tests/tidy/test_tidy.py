"""Each check of tidy.py fires on what it is there for, and leaves good files alone."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import tidy

HEADER = "// Why.\n#pragma once\n"


def problems(path, text):
    return [f"{problem.line}: {problem.message}" for problem in tidy.check(tidy.File(path, text))]


class Checks(unittest.TestCase):
    def assert_clean(self, path, text):
        self.assertEqual(problems(path, text), [])

    def assert_one(self, path, text, expected):
        """Exactly one problem, whose `line: message` contains `expected`."""
        found = problems(path, text)
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])


class Rooms(Checks):
    def test_an_edge_room_knows_itself_and_core(self):
        text = HEADER + '#include "governor/core/units.h"\n#include "governor/kernel/psi.h"\n'
        self.assert_clean("governor/kernel/alarms.h", text)

    def test_an_edge_room_knows_base_and_the_pure_rooms_do_not(self):
        text = HEADER + '#include "governor/base/token_bucket.h"\n'
        self.assert_clean("governor/session/server.h", text)
        self.assert_one("governor/core/engine.h", text, "3: includes room base")
        self.assert_one("governor/sim/machine.h", text, "3: includes room base")

    def test_base_knows_no_edge_room(self):
        text = HEADER + '#include "governor/core/units.h"\n#include "governor/kernel/psi.h"\n'
        self.assert_one("governor/base/token_bucket.h", text, "4: includes room kernel")

    def test_an_edge_room_does_not_know_another(self):
        text = HEADER + '\n#include "governor/kernel/psi.h"\n'
        self.assert_one("governor/session/server.h", text, "4: includes room kernel")

    def test_a_unit_test_of_a_room_does_not_either(self):
        text = '// Why.\n#include "governor/session/server.h"\n'
        self.assert_one("governor/policy/loader_test.cc", text, "2: includes room session")

    def test_core_knows_no_room(self):
        text = HEADER + '#include "governor/policy/loader.h"\n'
        self.assert_one("governor/core/engine.h", text, "3: includes room policy")

    def test_no_room_knows_the_daemon(self):
        text = HEADER + '#include "governor/daemon.h"\n'
        self.assert_one("governor/kernel/psi.h", text, "3: includes the daemon")

    def test_the_daemon_knows_all_rooms(self):
        text = '// Why.\n#include "governor/kernel/psi.h"\n#include "governor/session/server.h"\n'
        self.assert_clean("governor/daemon.cc", text)

    def test_tests_of_several_rooms_live_in_tests(self):
        text = '// Why.\n#include "governor/kernel/psi.h"\n#include "governor/session/server.h"\n'
        self.assert_clean("tests/host/both.cc", text)

    def test_client_and_governor_share_no_header(self):
        text = '/* Why. */\n#include "governor/core/units.h"\n'
        self.assert_one("client/c/agent.c", text, "2: client/ must not include governor/core/units.h")
        text = '// Why.\n#include "client/c/memgov.h"\n'
        self.assert_one("governor/daemon.cc", text, "2: governor/ must not include client/c/memgov.h")

    def test_a_new_room_needs_a_place_in_the_order(self):
        self.assert_one("governor/attic/box.cc", "// Why.\n", "1: unknown room governor/attic")

    def test_a_comment_is_no_include(self):
        self.assert_clean("governor/core/a.h", HEADER + '// #include "governor/kernel/psi.h"\n')


class Links(Checks):
    def test_rooms_do_not_link_each_other(self):
        text = "memgov_room(session\n  DEPS memgov_core memgov_proto_session\n       memgov_kernel)\n"
        self.assert_one("governor/session/CMakeLists.txt", text, "3: room session must not link")

    def test_core_and_protocols_are_fine(self):
        text = "# not memgov_kernel\nmemgov_room(policy DEPS memgov_core memgov_proto_policy)\n"
        self.assert_clean("governor/policy/CMakeLists.txt", text)

    def test_the_daemon_links_all(self):
        self.assert_clean("governor/CMakeLists.txt", "target_link_libraries(memgov_daemon memgov_kernel)\n")


class Core(Checks):
    def assert_impure(self, line, what):
        found = problems("governor/core/engine.cc", f"// Why.\n{line}\n")
        self.assertTrue(any(each.startswith("2: core is pure: ") and what in each for each in found), found)

    def test_headers_of_the_outside_world_are_banned(self):
        for header, what in [
            ("<ctime>", "a clock"),
            ("<fstream>", "input and output"),
            ("<iostream>", "input and output"),
            ("<cstdio>", "input and output"),
            ("<filesystem>", "input and output"),
            ("<thread>", "threads"),
            ("<mutex>", "locks"),
            ("<atomic>", "atomics"),
            ("<random>", "randomness"),
            ("<unistd.h>", "not known"),
            ("<sys/stat.h>", "not known"),
            ("<grpcpp/grpcpp.h>", "not known"),
            ("<google/protobuf/message.h>", "not known"),
            ("<spdlog/spdlog.h>", "not known"),
            ('"absl/time/clock.h"', "not known"),
            ('"absl/log/log.h"', "not known"),
            ('"absl/synchronization/mutex.h"', "not known"),
        ]:
            with self.subTest(header=header):
                self.assert_impure(f"#include {header}", what)

    def test_impure_calls_are_banned(self):
        for line, what in [
            ("auto now = std::chrono::steady_clock::now();", "a clock"),
            ("Instant now = Clock::now();", "a clock"),
            ("using Clock = std::chrono::system_clock;", "a clock"),
            ("long now = time(nullptr);", "a clock"),
            ("clock_gettime(CLOCK_MONOTONIC, &ts);", "a clock"),
            ("std::ifstream in(path);", "input or output"),
            ("std::cerr << 1;", "input or output"),
            ("int fd = ::open(path, 0);", "input or output"),
            ("read(fd, buffer, size);", "input or output"),
            ("printf(text);", "input or output"),
            ("getenv(name);", "a system call"),
            ("std::thread worker;", "threads"),
            ("std::scoped_lock held(m);", "locks"),
            ("std::shared_mutex m;", "locks"),
            ("std::atomic<int> count;", "state shared"),
            ("thread_local int count;", "state shared"),
            ("int x = rand();", "randomness"),
            ("std::mt19937 random(1);", "randomness"),
            ("grpc::Status status;", "gRPC"),
            ("v1::Report report;", "protobuf"),
            ("spdlog::info(text);", "logging"),
        ]:
            with self.subTest(line=line):
                self.assert_impure(line, what)

    def test_pure_code_is_left_alone(self):
        text = """// Why.
#include "absl/strings/str_cat.h"
#include <chrono>
// The kernel may open(), read() and printf(); std::mutex; a clock's ::now().
/* time(nullptr)
   std::thread */
const char* kText = "time(nullptr) std::cout << rand()";
const char* kRaw = R"(std::thread
read(fd))";
Bytes limit = 20'000; char quote = '"'; Duration wall_time(int x); auto a = file.read(1); stream->open(2);
void Observe(Instant now, std::optional<Duration> time_to_limit); int n = spread(3); brand(4); Reread(5);
"""
        self.assert_clean("governor/core/engine.cc", text)

    def test_tests_of_core_may_draw_numbers(self):
        text = "// Why.\n#include <gtest/gtest.h>\n#include <random>\nstd::mt19937 random(7);\n"
        self.assert_clean("governor/core/engine_test.cc", text)

    def test_other_rooms_may_do_all_that(self):
        text = "// Why.\n#include <thread>\nauto now = std::chrono::steady_clock::now();\n"
        self.assert_clean("governor/kernel/clock.cc", text)


class Wire(Checks):
    def test_generated_types_stay_at_the_edge(self):
        for header in ['"memgov/v1/session.pb.h"', "<google/protobuf/message.h>", "<grpcpp/grpcpp.h>"]:
            text = HEADER + f"#include {header}\n"
            with self.subTest(header=header):
                self.assert_one("governor/kernel/psi.h", text, "3: ")
                self.assert_one("governor/daemon.h", text, "generated types and gRPC stay in admin, journal")
                self.assert_clean("governor/session/wire.h", text)
                self.assert_clean("governor/policy/walk.h", text)
                self.assert_clean("client/c/wire.h", text)


class Text(Checks):
    def test_unfinished_work_is_named(self):
        for word in ["TO" + "DO", "FIX" + "ME", "XX" + "X"]:
            self.assert_one("README.md", f"a\nb {word}: c\n", f"2: {word}")
        self.assert_clean("dev", "mktemp /tmp/log.XXXXXX\n")

    def test_paths_of_one_machine_are_named(self):
        self.assert_one("README.md", "cd /wo" + "rk/main\n", "1: ")
        self.assert_clean("README.md", "cd /proc/work/x; ${TOP}/wo" + "rk/x; artwork/x\n")

    def test_spaces_at_the_end_and_tabs_are_named(self):
        self.assert_one("README.md", "a\nb \n", "2: trailing whitespace")
        self.assert_one("a.cc", "// Why.\n\tint x;\n", "2: a tab")
        self.assert_one("CMakeLists.txt", "\tx\n", "1: a tab")
        self.assert_clean("a.go", "// Package a.\npackage a\n\n\tx\n")

    def test_captured_and_generated_files_stay_as_they_are(self):
        self.assert_clean("tests/fixtures/memory.stat", "anon 1 \n")
        self.assert_clean("client/go/x.pb.go", "// Ours.\n// Code generated by protoc. DO NOT EDIT.\nx \n")


class Headers(Checks):
    def test_a_header_is_read_once(self):
        self.assert_one("governor/a.h", "// Why.\nint x;\n", "1: a header without #pragma once")
        self.assert_clean("governor/a.h", HEADER)

    def test_a_header_in_c_may_have_a_guard(self):
        guarded = "/* Why. */\n#ifndef A_H\n#define A_H\n#endif\n"
        self.assert_clean("client/c/a.h", guarded)
        self.assert_one("client/cpp/a.hpp", guarded, "#pragma once")
        self.assert_one("client/c/a.h", guarded.replace("define A", "define B"), "#pragma once")


class Comments(Checks):
    def test_a_file_says_why_it_exists(self):
        for path, text in [
            ("a.h", "#pragma once\n"),
            ("a.cc", "#include <x>\n"),
            ("a_test.cc", '#include "b.h"\n'),
            ("a.c", "int x;\n"),
            ("a.py", "import os\n"),
            ("a.go", "package a\n\nimport x\n"),
            ("a.proto", 'syntax = "proto3";\n'),
            ("a.sh", "#!/bin/sh\nset -e\n"),
        ]:
            with self.subTest(path=path):
                self.assert_one(path, text, "no comment that says why this file exists")

    def test_each_language_in_its_way(self):
        for path, text in [
            ("a.h", HEADER),
            ("a.c", "/* Why. */\n"),
            ("a.py", '#!/usr/bin/env python3\n"""Why."""\n'),
            ("a.go", "// Package a is why.\npackage a\n"),
            ("a.go", "package a\n\n// Why.\n\nimport x\n"),
            ("a.sh", "#!/bin/sh\n# Why.\n"),
        ]:
            with self.subTest(path=path):
                self.assert_clean(path, text)

    def test_the_header_speaks_for_its_sources(self):
        for path in ["x/engine.cc", "x/engine_ask.cc", "x/engine_test.cc"]:
            self.assert_clean(path, '#include "x/engine.h"\n')
        self.assert_one("x/engineer.cc", '#include "x/engine.h"\n', "1: no comment")

    def test_an_empty_file_needs_no_reason(self):
        self.assert_clean("tests/host/__init__.py", "\n")


class Length(Checks):
    def test_500_lines_are_enough(self):
        self.assert_clean("a.cc", "// Why.\n" * 500)
        self.assert_one("a.cc", "// Why.\n" * 501, "501: 501 lines")
        self.assert_clean("notes.md", "line\n" * 501)


class Program(unittest.TestCase):
    def run_in(self, files, *arguments):
        """The exit code and output of tidy.py over a folder with these files."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                code = tidy.main([folder, *arguments])
            return code, out.getvalue()

    def test_problems_are_printed_and_fail(self):
        code, out = self.run_in({"a.cc": b"// Why.\nint x; \n"})
        self.assertEqual((code, out), (1, "a.cc:2: trailing whitespace\n"))

    def test_a_tidy_tree_passes(self):
        self.assertEqual(self.run_in({"a.cc": b"// Why.\n", "build/b.cc": b"x \n"}), (0, ""))

    def test_binary_and_foreign_encodings_are_not_text(self):
        self.assertEqual(self.run_in({"a.py": b"# Why.\n", "b.cc": b"\0 \n", "c.cc": b"\xff \n"}), (0, ""))

    def test_long_files_are_noted_on_demand(self):
        files = {"a.cc": b"// Why.\n" * 301}
        self.assertEqual(self.run_in(files), (0, ""))
        self.assertEqual(self.run_in(files, "--notes"), (0, "a.cc:1: note: 301 lines\n"))

    def test_an_empty_folder_is_a_mistake(self):
        with self.assertRaises(SystemExit):
            self.run_in({})


if __name__ == "__main__":
    unittest.main()
