#include "governor/log_budget.h"

#include <gtest/gtest.h>

#include <string>

namespace memgov {
namespace {

using Cause = LogBudget::Cause;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::Instant kStart{seconds(100)};

TEST(LogBudget, TellsAllOfFiveHundredProcesses) {
  LogBudget budget;
  for (int i = 0; i < 500; ++i) EXPECT_TRUE(budget.Allows(Cause::kConnection, "/server", kStart));
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(budget.Allows(Cause::kDecision, "/server", kStart));
}

TEST(LogBudget, ALoopIsCutAndCounted) {
  LogBudget budget;
  int told = 0;
  for (int i = 0; i < 60000; ++i) {  // a minute of 1,000 a second
    told += budget.Allows(Cause::kConnection, "/evil", kStart + i * milliseconds(1)) ? 1 : 0;
  }
  EXPECT_LE(told, 1500 + 600);
  EXPECT_TRUE(budget.Allows(Cause::kConnection, "/good", kStart + seconds(60)));
  EXPECT_TRUE(budget.Allows(Cause::kDecision, "/evil", kStart + seconds(60))) << "its kills are told";
  const auto lines = budget.TakeLeftOut(kStart + seconds(61));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].who, "/evil");
  EXPECT_EQ(lines[0].count, static_cast<std::uint64_t>(60000 - told));
}

TEST(LogBudget, LongLinesCostTheTurnsOfSeveral) {
  LogBudget budget;
  int told = 0;
  for (int i = 0; i < 60000; ++i) {  // a minute of 1,000 a second, of 70 KiB each
    told += budget.Allows(Cause::kConnection, "/evil", kStart + i * milliseconds(1), 70 * 1024) ? 1 : 0;
  }
  EXPECT_LE(told, (1500 + 600) / 70 + 1);
}

TEST(LogBudget, ManyCgroupsHaveNoMoreThanAFew) {
  LogBudget budget;
  int told = 0;
  for (int i = 0; i < 50000; ++i) {  // 100 s of 500 cgroups a second, two lines each
    for (int line = 0; line < 2; ++line) {
      told += budget.Allows(Cause::kConnection, "/evil/x" + std::to_string(i), kStart + i * milliseconds(2));
    }
  }
  EXPECT_LE(told, 4 * 2000 * 2);
  EXPECT_TRUE(budget.Allows(Cause::kConnection, "/good", kStart + seconds(100)));
}

}  // namespace
}  // namespace memgov
