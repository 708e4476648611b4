// How the kernel schedules a thread, as it says itself.

#pragma once

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace memgov::testing {

// sched_attr as 64-bit words: size and policy, flags, nice and priority, runtime, deadline, period. (Its
// header and <sched.h> cannot be included together.)
using Scheduling = std::array<std::uint64_t, 6>;
inline constexpr std::size_t kRuntime = 3;  // the slice, in nanoseconds; 0 before Linux 6.12

// Of the calling thread.
inline Scheduling OwnScheduling() {
  Scheduling scheduling{};
  EXPECT_EQ(::syscall(SYS_sched_getattr, 0, scheduling.data(), sizeof scheduling, 0), 0);
  return scheduling;
}

}  // namespace memgov::testing
