// The units every room speaks: bytes, durations, and instants that nobody in core/ can read from a clock.

#pragma once

#include <chrono>
#include <cstdint>

namespace memgov::core {

// Signed, because deficits and differences are. Kernel counters fit (8 EiB).
using Bytes = std::int64_t;

inline constexpr Bytes kKiB = 1024;
inline constexpr Bytes kMiB = 1024 * kKiB;
inline constexpr Bytes kGiB = 1024 * kMiB;

using Duration = std::chrono::nanoseconds;

// A clock type without now(): an Instant can be passed, compared and subtracted, but never read in core/.
struct MonotonicTime {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicTime>;
  static constexpr bool is_steady = true;  // NOLINT(readability-identifier-naming): the name of <chrono>
};
using Instant = MonotonicTime::time_point;

}  // namespace memgov::core
