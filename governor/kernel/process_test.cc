#include "governor/kernel/process.h"

#include <sys/resource.h>

#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

TEST(ProcessTest, RaisesTheSoftFileLimitToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{.rlim_cur = 256, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const auto raised = RaiseFileLimit();
  ASSERT_TRUE(raised.ok()) << raised.status();
  EXPECT_EQ(*raised, before.rlim_max);
  rlimit after{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(ProcessTest, WritesTheOomScoreAdjustment) {
  const std::string file = "/proc/self/oom_score_adj";
  const int before = std::stoi(ReadFile(file));
  // Raising it needs no privilege; going back down to where we began does not either.
  ASSERT_TRUE(OomScoreAdjust(before + 1).ok());
  EXPECT_EQ(std::stoi(ReadFile(file)), before + 1);
  OomScoreAdjust(before).IgnoreError();
  EXPECT_TRUE(absl::IsInvalidArgument(OomScoreAdjust(1001)));
}

}  // namespace
}  // namespace memgov::kernel
