// How urgent is one limit domain? A level with hysteresis: up at once when a threshold is crossed, down only
// when usage has fallen below the relax threshold, so that a domain at its wire does not flap.

#pragma once

#include <optional>

#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/units.h"

namespace memgov::core {

struct DomainView {
  double usage_percent = 0;               // of the domain's limit
  std::optional<Duration> time_to_limit;  // absent: not growing
};

class Detector {
 public:
  // Takes one observation. Returns the new level when it changed.
  std::optional<Level> Observe(Instant now, const Rule& rule, const DomainView& view);

  Level level() const { return level_; }

  // Why the domain is at its level; `held` counts from the crossing to `now`.
  Reason ReasonAt(Instant now) const;

 private:
  Level level_ = Level::kCalm;
  Instant crossed_at_;
  Reason reason_;
};

}  // namespace memgov::core
