#include "governor/core/forecast.h"

#include <gtest/gtest.h>

#include <limits>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Grows by `per_second` from `from`, read every `step` for `span`; returns where it stands.
Bytes Grow(Forecast* forecast, Duration start, Duration span, Duration step, Bytes from, Bytes per_second) {
  Bytes usage = from;
  for (Duration t{}; t <= span; t += step) {
    usage = from + static_cast<Bytes>(Seconds(t) * static_cast<double>(per_second));
    forecast->Observe(At(start + t), usage);
  }
  return usage;
}

TEST(Forecast, TwoSamplesAreNoEvidenceThreeOver100MsAre) {
  Forecast forecast;
  forecast.Observe(At(milliseconds(0)), 0);
  forecast.Observe(At(milliseconds(50)), 50 * kMiB);
  EXPECT_EQ(forecast.TimeToUse(kGiB), std::nullopt);
  forecast.Observe(At(milliseconds(99)), 99 * kMiB);
  EXPECT_EQ(forecast.TimeToUse(kGiB), std::nullopt);
  forecast.Observe(At(milliseconds(100)), 100 * kMiB);
  EXPECT_TRUE(forecast.TimeToUse(kGiB).has_value());
}

TEST(Forecast, SteadyGrowthIsKnownToAPercentAfterASecond) {
  Forecast forecast;
  Grow(&forecast, {}, seconds(1), milliseconds(10), 0, 100 * kMiB);
  EXPECT_NEAR(forecast.BytesPerSecond(), 100.0 * kMiB, kMiB);
  EXPECT_NEAR(Seconds(*forecast.TimeToUse(200 * kMiB)), 2.0, 0.02);
}

TEST(Forecast, TheSameGrowthReadAtOddTimesGivesTheSameRate) {
  Forecast even, odd;
  Grow(&even, {}, seconds(4), milliseconds(100), 0, 50 * kMiB);
  Grow(&odd, {}, seconds(1), milliseconds(7), 0, 50 * kMiB);
  Grow(&odd, milliseconds(1003), seconds(3), milliseconds(333), 50 * kMiB + 150 * kKiB, 50 * kMiB);
  EXPECT_NEAR(even.BytesPerSecond(), odd.BytesPerSecond(), kMiB);
}

TEST(Forecast, ABurstAfterCalmShowsWithin100Ms) {
  Forecast forecast;
  Grow(&forecast, {}, seconds(10), seconds(1), 100 * kMiB, 0);
  Grow(&forecast, milliseconds(10010), milliseconds(90), milliseconds(10), 110 * kMiB, kGiB);
  EXPECT_GT(forecast.BytesPerSecond(), 0.35 * kGiB);
}

TEST(Forecast, AfterABurstTheSlowRateRemembersIt) {
  Forecast forecast;
  const Bytes top = Grow(&forecast, {}, seconds(1), milliseconds(10), 0, kGiB);
  Grow(&forecast, milliseconds(1010), seconds(1), milliseconds(10), top, 0);
  EXPECT_GT(forecast.BytesPerSecond(), 0.2 * kGiB);
  Grow(&forecast, milliseconds(2020), seconds(20), milliseconds(100), top, 0);
  EXPECT_EQ(forecast.TimeToUse(kGiB), std::nullopt);
}

TEST(Forecast, ShrinkingAndStandingStillReachNoLimit) {
  Forecast shrinking, standing;
  Grow(&shrinking, {}, seconds(2), milliseconds(100), kGiB, -100 * kMiB);
  Grow(&standing, {}, seconds(2), milliseconds(100), kGiB, 0);
  EXPECT_EQ(shrinking.BytesPerSecond(), 0);
  EXPECT_EQ(shrinking.TimeToUse(kMiB), std::nullopt);
  EXPECT_EQ(standing.TimeToUse(kMiB), std::nullopt);
}

TEST(Forecast, GrowthBelow64KiBPerSecondIsNoise) {
  Forecast slow, enough;
  Grow(&slow, {}, seconds(20), milliseconds(100), 0, 63 * kKiB);
  Grow(&enough, {}, seconds(20), milliseconds(100), 0, 66 * kKiB);
  EXPECT_EQ(slow.TimeToUse(kGiB), std::nullopt);
  EXPECT_TRUE(enough.TimeToUse(kGiB).has_value());
}

TEST(Forecast, ASampleNotLaterThanTheLastIsIgnored) {
  Forecast forecast;
  Grow(&forecast, {}, seconds(1), milliseconds(100), 0, 10 * kMiB);
  const double before = forecast.BytesPerSecond();
  forecast.Observe(At(seconds(1)), kGiB);
  forecast.Observe(At(milliseconds(500)), 2 * kGiB);
  EXPECT_EQ(forecast.BytesPerSecond(), before);
}

TEST(Forecast, WithoutHeadroomTheTimeIsZero) {
  Forecast forecast;
  Grow(&forecast, {}, seconds(1), milliseconds(100), 0, 10 * kMiB);
  EXPECT_EQ(forecast.TimeToUse(0), Duration(0));
  EXPECT_EQ(forecast.TimeToUse(-kGiB), Duration(0));
}

TEST(Forecast, TheLargestHeadroomIsFarAwayAndNoOverflow) {
  Forecast forecast;
  Grow(&forecast, {}, seconds(20), milliseconds(100), 0, 100 * kKiB);
  EXPECT_GT(*forecast.TimeToUse(std::numeric_limits<Bytes>::max()), std::chrono::hours(24));
}

}  // namespace
}  // namespace memgov::core
