// Feeds a journal to a fresh engine. With the policies that were in force the engine has to decide what it
// decided then, byte for byte: where it does not, it is not the engine that wrote the journal, or it is not
// pure.
//
// Only a stretch that reaches back to the start of a daemon can be judged like that. One that begins at a
// later keyframe lacks what was learned before; it is replayed and counted, but a difference there proves
// nothing.

#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace memgov::journal {

struct ReplayResult {
  std::uint64_t ticks = 0;              // of stretches that can be judged
  std::uint64_t decisions = 0;          // recorded in them
  std::uint64_t runs = 0;               // of the daemon, from its start on
  std::uint64_t different = 0;          // ticks
  std::vector<std::string> difference;  // the first one, in lines for people; empty: identical

  std::uint64_t unjudged_ticks = 0;  // of stretches whose beginning is missing
  std::uint64_t unjudged_decisions = 0;
  std::uint64_t unjudged_different = 0;  // ticks

  std::set<std::string> versions;     // of the memgovs that wrote it
  std::vector<std::string> troubles;  // what could not be read
  double seconds = 0;                 // that it took
};

// INVALID_ARGUMENT or NOT_FOUND when there is nothing to read.
absl::StatusOr<ReplayResult> Replay(const std::string& path);

}  // namespace memgov::journal
