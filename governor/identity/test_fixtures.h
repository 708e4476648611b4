// The tables in tests/fixtures, for the unit tests of this room.

#pragma once

#include <string>
#include <vector>

namespace memgov::identity {

struct FixtureRow {
  std::string where;                 // "docker.txt:3", for messages
  std::vector<std::string> columns;  // at least one; abbreviations such as $ID written out
};

// The directory tests/fixtures: $MEMGOV_FIXTURES, else that of the source tree.
std::string FixtureRoot();

// The names of the .txt files in a directory of tests/fixtures, sorted.
std::vector<std::string> FixtureFiles(const std::string& directory);

// The lines of a table without comments and empty lines (tests/fixtures/cgroup_paths/README.md).
std::vector<FixtureRow> ReadFixture(const std::string& file);

}  // namespace memgov::identity
