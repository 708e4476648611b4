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
using testing::OwnScheduling;
using testing::Scheduling;

TEST(ShortSlicesTest, OnlyTheSliceOfTheCallingThreadChanges) {
  const Scheduling others = OwnScheduling();
  std::thread([] {
    ASSERT_EQ(::setpriority(PRIO_PROCESS, 0, 3), 0);  // of this thread
    Scheduling wanted = OwnScheduling();
    AskForShortSlices();
    if (wanted[kRuntime] != 0)
      wanted[kRuntime] = 100'000;  // 0 before Linux 6.12, which has one slice for all
    EXPECT_EQ(OwnScheduling(), wanted);
  }).join();
  EXPECT_EQ(OwnScheduling(), others);
}

TEST(ShortSlicesTest, AnotherPolicyStays) {
  std::thread([] {
    const sched_param none{};
    ASSERT_EQ(::sched_setscheduler(0, SCHED_IDLE, &none), 0);
    const Scheduling before = OwnScheduling();
    AskForShortSlices();
    EXPECT_EQ(OwnScheduling(), before);
  }).join();
}

}  // namespace
}  // namespace memgov::base
