#include "governor/identity/test_fixtures.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace memgov::identity {
namespace {

std::string WriteOut(absl::string_view text) {
  return absl::StrReplaceAll(text,
                             {{"$ID", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
                              {"$OUTER", "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"},
                              {"$PODID", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
                              {"$UID", "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab"},
                              {"$U_ID", "1f2e3d4c_aaaa_bbbb_cccc_0123456789ab"},
                              {"$OTHERUID", "9a8b7c6d-1111-2222-3333-ba9876543210"},
                              {"$HASH", "5d41402abc4b2a76b9719d911017c592"}});
}

}  // namespace

std::string FixtureRoot() {
  const char* root = std::getenv("MEMGOV_FIXTURES");
  return root != nullptr ? root : MEMGOV_FIXTURES;
}

std::vector<std::string> FixtureFiles(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;  // the test that gets no files says so
  for (const auto& entry : std::filesystem::directory_iterator(FixtureRoot() + "/" + directory, error)) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<FixtureRow> ReadFixture(const std::string& file) {
  std::vector<FixtureRow> rows;
  std::ifstream in(FixtureRoot() + "/" + file);
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    rows.push_back({.where = absl::StrCat(file, ":", number),
                    .columns = absl::StrSplit(WriteOut(line), absl::ByAnyChar(" \t"), absl::SkipEmpty())});
  }
  return rows;
}

}  // namespace memgov::identity
