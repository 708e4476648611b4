// How urgent is one limit domain? A level with hysteresis: up at once when a threshold is crossed, down only
// to calm and only when usage has fallen below the relax threshold and no forecast is near. So a domain at
// its wire does not flap, and a level is the worst of its episode.

#pragma once

#include <optional>

#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/units.h"

namespace memgov::core {

struct DomainView {
  double usage_percent = 0;               // pressing usage, of the domain's limit
  double charged_percent = 0;             // all usage: what thrashes is page cache
  std::optional<Duration> time_to_limit;  // absent: not growing
  std::optional<double> stall_percent;    // absent: no stall (stall.h)
};

class Detector {
 public:
  // Takes one observation. Returns the new level when it changed.
  std::optional<Level> Observe(Instant now, const Rule& rule, const DomainView& view);

  // Whether that observation would raise the level.
  bool WouldRaise(const Rule& rule, const DomainView& view) const;

  Level level() const { return level_; }

  // Why the domain is at its level; `held` counts from the crossing to `now`. Empty before the first
  // crossing.
  Reason ReasonAt(Instant now) const;

 private:
  Level level_ = Level::kCalm;
  std::optional<Instant> crossed_at_;  // absent: nothing was ever crossed
  Reason reason_;
};

}  // namespace memgov::core
