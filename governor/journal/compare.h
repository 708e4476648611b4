// What another policy would have decided, beside what was decided: the recorded inputs through an engine with
// the new policy.
//
// The recorded usage does not react to other decisions: memory that only the new policy asks for does not
// leave, and what was recorded as leaving leaves even if the new policy does not ask. So this says when, whom
// and how much, and not who would have lived; the simulator does that.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/core/policy.h"
#include "governor/journal/tally.h"

namespace memgov::journal {

struct Comparison {
  Tally recorded;
  Tally replayed;
  std::uint64_t ticks = 0;
  core::Instant begins;               // of the first tick
  core::Duration lasts{};             // all stretches together
  std::uint64_t stretches = 0;        // each begins with an engine that has learned nothing
  std::vector<std::string> troubles;  // what could not be read
  double seconds = 0;                 // that it took
};

absl::StatusOr<Comparison> Compare(const std::string& path, const core::Policy& policy);

}  // namespace memgov::journal
