// Broken files by the thousand: whatever the bytes are, the answer is a policy that is in order, or lines
// that each name a place. The seed is fixed, so a failure repeats.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "governor/policy/loader.h"

namespace memgov::policy {
namespace {

constexpr int kMutantsPerExample = 600;

// What breaks YAML, numbers and paths; put into a file at random places.
constexpr std::array<std::string_view, 38> kSpices{
    "\"",   "'",  "[",     "]",   "{",          "}",     ":",   ": ",  "- ",  "\n", "\t", "#", "&a",
    "*a",   "<<", "!",     "!!x", "|",          ">",     "%",   "---", "...", "?",  ",",  "~", "\xff",
    "\xc3", "-1", "1e999", "nan", "9999999999", "never", "/**", "**",  "\r",  "\\", "é",  "  "};

std::vector<std::string> Examples() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MEMGOV_EXAMPLES)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> texts;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return texts;
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string Mutate(std::string text) {
    for (int i = 1 + static_cast<int>(Below(6)); i > 0 && !text.empty(); --i) MutateOnce(text);
    return text;
  }

 private:
  std::size_t Below(std::size_t bound) { return random_() % bound; }

  void MutateOnce(std::string& text) {
    const std::size_t at = Below(text.size());
    const std::size_t length = 1 + Below(std::min<std::size_t>(40, text.size() - at));
    switch (Below(6)) {
      case 0:
        text[at] = static_cast<char>(random_());
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(Below(text.size()), text.substr(at, length));
        break;
      case 3:
        text.resize(at);
        break;
      default:
        text.insert(at, kSpices[Below(kSpices.size())]);
    }
  }

  std::mt19937 random_;
};

void ExpectInOrder(const core::Policy& policy) {
  for (const core::Rule& rule : policy.rules) {
    EXPECT_FALSE(rule.name.empty());
    EXPECT_FALSE(rule.actions.empty());
    EXPECT_GT(rule.protect_weight, 0);
    EXPECT_TRUE(rule.wake.usage_percent || rule.wake.time_to_limit);
    if (rule.wake.usage_percent) {
      EXPECT_LT(rule.relax_percent, *rule.wake.usage_percent);
      EXPECT_LT(*rule.wake.usage_percent, rule.critical.usage_percent.value_or(101));
    }
    EXPECT_GT(rule.pace.cooldown, core::Duration::zero());
    EXPECT_LE(rule.pace.deadline, rule.pace.ttl);
  }
}

TEST(AnyBytes, AreAPolicyOrAreRefusedWithAPlace) {
  const std::regex line(R"(f(:\d+:\d+: .+|: and \d+ more))");
  Mutator mutator(20240229);
  int loaded = 0, refused = 0;
  for (const std::string& example : Examples()) {
    for (int i = 0; i < kMutantsPerExample; ++i) {
      const std::string text = mutator.Mutate(example);
      const auto policy = ParsePolicy(text, "f");
      if (policy.ok()) {
        ++loaded;
        ExpectInOrder(*policy);
        continue;
      }
      ++refused;
      EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
      std::istringstream lines{std::string(policy.status().message())};
      for (std::string each; std::getline(lines, each);) {
        EXPECT_TRUE(std::regex_match(each, line)) << each << "\n--- of ---\n" << text;
      }
    }
  }
  // Both sides are reached.
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace memgov::policy
