// When is it worth while to collect the lazily freed memory of a cgroup from outside, and when was it?
//
// The hint (lazily_freed.h) also counts pages that were written again, and finding that out costs a walk over
// page tables. So the lever is judged by what left the cgroup: an attempt that brought next to nothing, or
// after which file pages had to be read again, doubles the pause before the next one.

#pragma once

#include <optional>

#include "governor/core/lazily_freed.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

// Of one cgroup.
class ReclaimPace {
 public:
  // Less lazily freed memory than this is left to the kernel: it takes it by itself at the limit.
  static constexpr Bytes kLeastWorthCollecting = 8 * kMiB;

  // What an attempt could bring now; absent: too little, one is under way, or it is too early.
  std::optional<Bytes> Offer(Instant now, const LazyBounds& lazily_freed) const;

  void Sent(Instant now, ReclaimId id, Bytes bytes);
  // Takes the outcome of the request under way. Returns the bytes that left; absent: not our request.
  std::optional<Bytes> Closed(const ReclaimOutcome& outcome);

  // What is still on its way. An attempt that takes longer than kPatience is no longer counted on.
  Bytes ComingAt(Instant now) const;
  bool under_way() const { return under_way_.has_value(); }
  std::optional<Instant> sent_at() const { return under_way_ ? std::optional(sent_at_) : std::nullopt; }
  // When an attempt may be made again.
  Instant again_at() const { return again_at_; }

  static constexpr Duration kPatience = std::chrono::milliseconds(500);

 private:
  std::optional<ReclaimId> under_way_;
  Bytes bytes_ = 0;
  Instant sent_at_;
  Instant again_at_;
  int fruitless_ = 0;  // in a row
};

}  // namespace memgov::core
