// CPU time of the calling thread, for benchmarks of what waits for nothing: other work on the machine does
// not count.

#pragma once

#include <time.h>

#include <chrono>

namespace memgov::bench {

struct ThreadClock {
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<ThreadClock, duration>;
  static time_point now() {
    timespec at{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return time_point(std::chrono::seconds(at.tv_sec) + std::chrono::nanoseconds(at.tv_nsec));
  }
};

}  // namespace memgov::bench
