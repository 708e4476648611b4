// Reads a policy file. This is the whole public face of the room: what is behind it (YAML, the schema, the
// checks) shows only in the messages.
//
// A policy that loads is sound: every value is in its range and the thresholds of each rule are in order. A
// policy that does not load says everything that is wrong with it at once, one line for each mistake:
//
//     policy.yaml:7:12: rules[0].wake.usage: 85 has no unit (did you mean "85%"?)

#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "governor/core/policy.h"

namespace memgov::policy {

// A file of more bytes is refused unread.
inline constexpr std::size_t kLargestFile = 1 << 20;

// The policy in the file at `path`. Errors: NOT_FOUND, PERMISSION_DENIED or the like when it cannot be read,
// INVALID_ARGUMENT when it is no policy; its message has one line a mistake, sorted by place. Reads the file
// once and blocks for as long; any thread.
absl::StatusOr<core::Policy> LoadPolicy(std::string_view path);

// The same for text that is already here; `name` stands for the file in messages. Pure; any thread. An empty
// text, or one of comments only, is the built-in policy, which observes.
absl::StatusOr<core::Policy> ParsePolicy(std::string_view text, std::string_view name);

}  // namespace memgov::policy
