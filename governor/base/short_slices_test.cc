// What the kernel says of a thread that asked for short slices.

#include "governor/base/short_slices.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <thread>

#include "tests/cpp/scheduling.h"

namespace memgov::base {
namespace {

using testing::kRuntime;
using testing::Scheduling;
using testing::SchedulingOf;

TEST(ShortSlicesTest, OnlyTheSliceOfTheCallingThreadChanges) {
  const Scheduling others = SchedulingOf();
  std::thread([] {
    ASSERT_EQ(::setpriority(PRIO_PROCESS, 0, 3), 0);  // of this thread
    Scheduling wanted = SchedulingOf();
    ASSERT_TRUE(AskForShortSlices());
    if (wanted[kRuntime] != 0)
      wanted[kRuntime] = 100'000;  // 0 before Linux 6.12, which has one slice for all
    EXPECT_EQ(SchedulingOf(), wanted);
  }).join();
  EXPECT_EQ(SchedulingOf(), others);
}

TEST(ShortSlicesTest, AnotherPolicyStays) {
  std::thread([] {
    const sched_param none{};
    ASSERT_EQ(::sched_setscheduler(0, SCHED_IDLE, &none), 0);
    const Scheduling before = SchedulingOf();
    EXPECT_FALSE(AskForShortSlices());
    EXPECT_EQ(SchedulingOf(), before);
  }).join();
}

}  // namespace
}  // namespace memgov::base
