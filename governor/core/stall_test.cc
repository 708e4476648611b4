#include "governor/core/stall.h"

#include "governor/core/testing.h"
#include "gtest/gtest.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

// A reading each 100 ms of a domain that waits `full_percent` of the time and takes `faults_per_second` major
// faults. The node's clock goes on from call to call.
class StallTest : public ::testing::Test {
 protected:
  void Pass(Duration time, double full_percent, double faults_per_second) {
    for (Duration passed{}; passed < time; passed += milliseconds(100)) {
      now_ += milliseconds(100);
      full_us_ += full_percent * 1000;
      faults_ += faults_per_second / 10;
      CgroupSample sample{.taken_at = now_,
                          .stat = MemoryStat{.pgmajfault = static_cast<std::uint64_t>(faults_)}};
      if (has_pressure_) sample.pressure = PressureTotals{.full_us = static_cast<std::uint64_t>(full_us_)};
      stall_.Observe(sample);
    }
  }

  Stall stall_;
  bool has_pressure_ = true;
  Instant now_ = At(seconds(0));
  double full_us_ = 5e9;  // counters are old when we come
  double faults_ = 1e6;
};

TEST_F(StallTest, WaitingAndPagesThatComeBackAreAStall) {
  Pass(seconds(2), 60, 5000);
  const auto view = stall_.view();
  ASSERT_TRUE(view);
  EXPECT_NEAR(view->full_percent, 60, 1);
  EXPECT_NEAR(view->returns_per_second, 5000, 50);
  EXPECT_TRUE(view->has_pressure);
}

TEST_F(StallTest, HalfASecondIsEvidenceLessIsNot) {
  Pass(milliseconds(500), 60, 5000);  // five readings are 400 ms
  EXPECT_FALSE(stall_.view());
  Pass(milliseconds(100), 60, 5000);
  EXPECT_TRUE(stall_.view());
}

TEST_F(StallTest, WaitingAloneIsABrakeOrAnAncestorsLimit) {
  Pass(seconds(5), 90, 0);
  EXPECT_FALSE(stall_.view());
  Pass(seconds(5), 90, 99);
  EXPECT_FALSE(stall_.view());
}

TEST_F(StallTest, PagesThatComeBackWithoutWaitingAreAStreamedFile) {
  Pass(seconds(5), 0, 20000);
  ASSERT_TRUE(stall_.view());
  EXPECT_DOUBLE_EQ(stall_.view()->full_percent, 0);
}

TEST_F(StallTest, RefaultsCountWhereTheyAreMore) {
  for (int i = 0; i < 20; ++i) {
    now_ += milliseconds(100);
    stall_.Observe(
        {.taken_at = now_,
         .stat = MemoryStat{.pgmajfault = 7, .workingset_refault_file = 100U * static_cast<unsigned>(i)},
         .pressure = PressureTotals{}});
  }
  ASSERT_TRUE(stall_.view());
  EXPECT_NEAR(stall_.view()->returns_per_second, 1000, 10);
}

TEST_F(StallTest, ItIsOverASecondAfterItEnds) {
  Pass(seconds(3), 60, 5000);
  Pass(milliseconds(500), 0, 0);
  EXPECT_NEAR(stall_.view()->full_percent, 30, 7);
  Pass(milliseconds(700), 0, 0);
  EXPECT_FALSE(stall_.view());
}

TEST_F(StallTest, WithoutPsiItIsEstimatedFromTheFaultsAndSaysSo) {
  has_pressure_ = false;
  Pass(seconds(2), 60, 5000);
  ASSERT_TRUE(stall_.view());
  EXPECT_FALSE(stall_.view()->has_pressure);
  EXPECT_NEAR(stall_.view()->full_percent, 50, 1);
  Pass(seconds(2), 60, 1e6);
  EXPECT_DOUBLE_EQ(stall_.view()->full_percent, 100);
}

TEST_F(StallTest, CountersThatFallBackAndSamplesWithoutAStatDoNoHarm) {
  Pass(seconds(2), 60, 5000);
  faults_ = 0;
  full_us_ = 0;
  Pass(milliseconds(200), 60, 5000);
  EXPECT_FALSE(stall_.view());
  for (int i = 0; i < 100; ++i) stall_.Observe({.taken_at = now_ + seconds(i)});
  EXPECT_FALSE(stall_.view());
  Pass(seconds(3), 60, 5000);
  EXPECT_NEAR(stall_.view()->full_percent, 60, 1);
}

TEST_F(StallTest, ReadingsAtAHundredHertzAreThinnedOut) {
  for (int i = 0; i < 300; ++i) {
    now_ += milliseconds(10);
    stall_.Observe({.taken_at = now_,
                    .stat = MemoryStat{.pgmajfault = 50U * static_cast<unsigned>(i)},
                    .pressure = PressureTotals{.full_us = 6000U * static_cast<unsigned>(i)}});
  }
  ASSERT_TRUE(stall_.view());
  EXPECT_NEAR(stall_.view()->full_percent, 60, 1);
  EXPECT_NEAR(stall_.view()->returns_per_second, 5000, 50);
}

}  // namespace
}  // namespace memgov::core
