// Reads a policy, which is a file or a directory of files. This is the public face of the room for whoever
// reads once; watcher.h is that for whoever goes on reading. What is behind them (YAML, the schema, the
// checks) shows only in the messages.
//
// A policy that loads is sound: every value is in its range and the thresholds of each rule are in order. A
// policy that does not load says everything that is wrong with it at once, one line for each mistake:
//
//     policy.yaml:7:12: rules[0].wake.usage: 85 has no unit (did you mean "85%"?)

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/core/policy.h"

namespace memgov::policy {

// More bytes than these are refused, in one file or in all files of a directory together.
inline constexpr std::size_t kLargestFile = 1 << 20;
// A directory of more policy files is refused.
inline constexpr std::size_t kMostFiles = 64;

struct PolicyText {
  std::string name;  // of the file, in messages
  std::string text;

  bool operator==(const PolicyText&) const = default;
};

// The text of the policy at `path`: of the file, or of the files called *.yaml in the directory, by name,
// without those whose names begin with a dot. Errors: NOT_FOUND, PERMISSION_DENIED or the like when something
// cannot be read, INVALID_ARGUMENT when it can be no policy (too large, no file, a directory without *.yaml).
// Blocks for as long as it reads; any thread.
absl::StatusOr<std::vector<PolicyText>> ReadPolicy(std::string_view path);

// One policy from all texts: their rules in that order. INVALID_ARGUMENT when it is none; the message has one
// line a mistake, sorted by file and place. Pure; any thread. A text of nothing or of comments only adds
// nothing; without any rule the built-in one governs, which observes.
absl::StatusOr<core::Policy> ParsePolicy(std::span<const PolicyText> texts);
absl::StatusOr<core::Policy> ParsePolicy(std::string_view text, std::string_view name);

// Both at once.
absl::StatusOr<core::Policy> LoadPolicy(std::string_view path);

}  // namespace memgov::policy
