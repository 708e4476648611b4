// Where instants come from. Only the daemon asks; core/ is handed the answer.

#pragma once

#include <time.h>

#include "governor/core/units.h"

namespace memgov::kernel {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual core::Instant Now() const = 0;
};

// CLOCK_MONOTONIC, the clock of Boost.Asio's steady_timer as well. Any thread.
class MonotonicClock final : public Clock {
 public:
  core::Instant Now() const override {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return core::Instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  }
};

}  // namespace memgov::kernel
