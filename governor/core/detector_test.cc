#include "governor/core/detector.h"

#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

// Wake at 85 % or 1 s to the limit, critical at 95 % or 250 ms, calm below 80 %.
class DetectorTest : public ::testing::Test {
 protected:
  std::optional<Level> See(double percent, std::optional<Duration> time_to_limit = std::nullopt) {
    now_ += milliseconds(10);
    return detector_.Observe(now_, rule_, {.usage_percent = percent, .time_to_limit = time_to_limit});
  }

  Rule rule_{.name = "pods",
             .wake = {.usage_percent = 85, .time_to_limit = seconds(1)},
             .critical = {.usage_percent = 95, .time_to_limit = milliseconds(250)}};
  Detector detector_;
  Instant now_ = At(seconds(0));
};

TEST_F(DetectorTest, At84Point9ItSleepsAt85ItWakes) {
  EXPECT_EQ(See(84.9), std::nullopt);
  EXPECT_EQ(See(85.0), Level::kWake);
}

TEST_F(DetectorTest, At94Point9ItIsAwakeAt95Critical) {
  EXPECT_EQ(See(94.9), Level::kWake);
  EXPECT_EQ(See(95.0), Level::kCritical);
}

TEST_F(DetectorTest, CalmToCriticalNeedsNoStepBetween) { EXPECT_EQ(See(99), Level::kCritical); }

TEST_F(DetectorTest, ItIsCalmAgainBelow80NotAt82) {
  See(86);
  EXPECT_EQ(See(82), std::nullopt);
  EXPECT_EQ(See(80.0), std::nullopt);
  EXPECT_EQ(detector_.level(), Level::kWake);
  EXPECT_EQ(See(79.9), Level::kCalm);
}

TEST_F(DetectorTest, ALevelIsTheWorstOfItsEpisode) {
  See(95);
  EXPECT_EQ(See(90), std::nullopt);
  EXPECT_EQ(See(95), std::nullopt);
  EXPECT_EQ(See(81), std::nullopt);
  EXPECT_EQ(detector_.level(), Level::kCritical);
  EXPECT_EQ(See(79), Level::kCalm);
  EXPECT_EQ(See(85), Level::kWake);
}

TEST_F(DetectorTest, AForecastOfASecondWakesAndOf250MsIsCritical) {
  EXPECT_EQ(See(60, milliseconds(1001)), std::nullopt);
  EXPECT_EQ(See(60, milliseconds(1000)), Level::kWake);
  EXPECT_EQ(See(60, milliseconds(250)), Level::kCritical);
}

TEST_F(DetectorTest, AForecastAloneWakesNothingThatIsLessThanHalfFull) {
  EXPECT_EQ(See(49.9, milliseconds(1)), std::nullopt);
  EXPECT_EQ(See(50, milliseconds(1)), Level::kCritical);
}

TEST_F(DetectorTest, AForecastThatSwingsAroundItsThresholdDoesNotFlap) {
  See(60, milliseconds(990));
  EXPECT_EQ(See(61, milliseconds(1100)), std::nullopt);
  EXPECT_EQ(See(61, milliseconds(990)), std::nullopt);
  EXPECT_EQ(See(61, milliseconds(2000)), std::nullopt);
  EXPECT_EQ(See(61, milliseconds(2001)), Level::kCalm);
}

TEST_F(DetectorTest, GrowthThatStopsEndsTheForecastsNeed) {
  See(60, milliseconds(500));
  EXPECT_EQ(See(60), Level::kCalm);
}

TEST_F(DetectorTest, TheReasonSaysWhatCrossedWhatAndForHowLong) {
  See(86);
  const Reason reason = detector_.ReasonAt(now_ + milliseconds(12));
  EXPECT_EQ(reason.rule, "pods");
  EXPECT_EQ(reason.signal, Signal::kUsage);
  EXPECT_EQ(reason.observed, 86);
  EXPECT_EQ(reason.threshold, 85);
  EXPECT_EQ(reason.held, milliseconds(12));
}

TEST_F(DetectorTest, TheReasonFollowsTheObservationAndKeepsItsStart) {
  See(86);
  See(88);
  EXPECT_EQ(detector_.ReasonAt(now_).observed, 88);
  EXPECT_EQ(detector_.ReasonAt(now_).held, milliseconds(10));
  See(96);
  EXPECT_EQ(detector_.ReasonAt(now_).threshold, 95);
  EXPECT_EQ(detector_.ReasonAt(now_).held, Duration(0));
}

TEST_F(DetectorTest, AForecastsReasonIsInSeconds) {
  See(60, milliseconds(500));
  EXPECT_EQ(detector_.ReasonAt(now_).signal, Signal::kTimeToLimit);
  EXPECT_DOUBLE_EQ(detector_.ReasonAt(now_).observed, 0.5);
  EXPECT_DOUBLE_EQ(detector_.ReasonAt(now_).threshold, 1);
}

TEST_F(DetectorTest, TheReasonOfCalmIsTheRelaxThreshold) {
  See(86);
  See(75);
  EXPECT_EQ(detector_.ReasonAt(now_).observed, 75);
  EXPECT_EQ(detector_.ReasonAt(now_).threshold, 80);
}

TEST_F(DetectorTest, BeforeAnyCrossingThereIsNoReason) {
  See(10);
  EXPECT_EQ(detector_.ReasonAt(now_).rule, "");
  EXPECT_EQ(detector_.ReasonAt(now_).held, Duration(0));
}

TEST_F(DetectorTest, PartsThatAreNotSetNeverCross) {
  rule_.wake = {.usage_percent = std::nullopt, .time_to_limit = seconds(1)};
  rule_.critical = {};
  EXPECT_EQ(See(99.9), std::nullopt);
  EXPECT_EQ(See(99.9, seconds(1)), Level::kWake);
  rule_.wake = {};
  EXPECT_EQ(See(79, milliseconds(1)), Level::kCalm);
}

}  // namespace
}  // namespace memgov::core
