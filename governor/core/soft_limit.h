// How one limit is shared out to garbage-collected heaps as soft limits, and how fast a soft limit may rise.
//
// The square-root rule of MemBalancer (Kirisame et al., "Optimal heap limits for reducing browser memory
// use", OOPSLA 2022): time lost to collections is least, for all heaps together, when the room that each has
// beyond its live memory is proportional to sqrt(live x allocation rate / collection speed). Runtimes do not
// report how fast they allocate, so it is taken as equal: sqrt(live).

#pragma once

#include <optional>
#include <span>
#include <vector>

#include "governor/core/units.h"

namespace memgov::core {

struct Heap {
  Bytes live = 0;
  Bytes non_heap = 0;  // counts against a soft limit, and no collection changes it
};

// Below live x 1.2 a collector runs all the time (Go issue 58106).
inline constexpr double kLeastOverLive = 1.2;
Bytes SoftLimitFloor(const Heap& heap);

// One soft limit for each heap, in that order: together `room`, unless their floors alone are more.
std::vector<Bytes> SplitSoftLimits(Bytes room, std::span<const Heap> heaps);

// What a client was last told, and what to tell it now.
class SoftLimit {
 public:
  // `target` is its share now. Absent: what it has been told still holds and is near enough. A limit goes
  // down at once, and up by a tenth each second, told in steps of a quarter, so that heaps that shrank do not
  // all grow back together; but never below `floor`.
  std::optional<Bytes> Next(Instant now, Bytes target, Bytes floor) const;
  void Told(Instant now, Bytes bytes, Duration ttl);

 private:
  Bytes told_ = 0;
  Instant told_at_;
  Instant ends_at_;  // by its TTL; before the first: never told
};

}  // namespace memgov::core
