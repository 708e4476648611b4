// When a floor that rises counts as a leak that no release can save.

#include "governor/core/leak.h"

#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

constexpr Bytes kLimit = 512 * kMiB;

Leak Rising(int count, Bytes from, Bytes by) {
  Leak leak;
  for (int i = 0; i < count; ++i) leak.Observe(At(seconds(i)), from + i * by);
  return leak;
}

TEST(Leak, AFloorThatRisesSteadilyIntoTheLimitIsSeenAfterTenSeconds) {
  EXPECT_FALSE(Rising(10, 400 * kMiB, 4 * kMiB).view(kLimit));
  const auto view = Rising(11, 400 * kMiB, 4 * kMiB).view(kLimit);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->floor, 436 * kMiB);
  EXPECT_NEAR(view->bytes_per_second, 4.0 * kMiB, 1);
  EXPECT_EQ(view->over, seconds(10));
  EXPECT_NEAR(std::chrono::duration<double>(view->to_limit).count(), 19, 0.01);
}

TEST(Leak, ALimitMoreThanAMinuteAwayIsNoVerdict) {
  EXPECT_FALSE(Rising(20, 100 * kMiB, 4 * kMiB).view(kLimit));
  EXPECT_TRUE(Rising(20, 250 * kMiB, 4 * kMiB).view(kLimit));
}

TEST(Leak, GarbageThatComesAndGoesDoesNotCount) {
  Leak steady, leaking;
  for (int i = 0; i < 30; ++i) {
    const Bytes garbage = (i * 10 % 50) * kMiB;
    steady.Observe(At(seconds(i)), 430 * kMiB + garbage);
    leaking.Observe(At(seconds(i)), (380 + 2 * i) * kMiB + garbage);
  }
  EXPECT_FALSE(steady.view(kLimit));
  const auto view = leaking.view(kLimit);
  ASSERT_TRUE(view);
  EXPECT_NEAR(view->bytes_per_second, 2.0 * kMiB, kMiB / 4.0);
}

TEST(Leak, AGapInTheReadingsIsNoEvidence) {
  Leak leak;
  for (int i = 0; i < 5; ++i) leak.Observe(At(seconds(i)), (400 + 4 * i) * kMiB);
  for (int i = 20; i < 25; ++i) leak.Observe(At(seconds(i)), (400 + 4 * i) * kMiB);
  EXPECT_FALSE(leak.view(kLimit));
}

TEST(Leak, AFloorThatStandsStillIsNone) {
  EXPECT_FALSE(Rising(30, 480 * kMiB, 0).view(kLimit));
  EXPECT_FALSE(Rising(30, 511 * kMiB, kKiB).view(kLimit)) << "growth of kilobytes is noise";
}

TEST(Leak, OneStepIsNone) {
  Leak leak;
  for (int i = 0; i < 30; ++i) leak.Observe(At(seconds(i)), (i < 15 ? 300 : 480) * kMiB);
  EXPECT_FALSE(leak.view(kLimit));
}

TEST(Leak, OnlyTheLastHalfMinuteCounts) {
  Leak leak = Rising(40, 300 * kMiB, 4 * kMiB);
  EXPECT_TRUE(leak.view(kLimit));
  for (int i = 0; i < 30; ++i) leak.Observe(At(seconds(40 + i)), 456 * kMiB);
  EXPECT_FALSE(leak.view(kLimit));
}

TEST(Leak, ReadingsAtAHundredHertzCountOnceASecond) {
  Leak leak;
  for (int i = 0; i < 900; ++i) leak.Observe(At(milliseconds(10 * i)), 400 * kMiB + i * kMiB / 25);
  EXPECT_FALSE(leak.view(kLimit)) << "nine seconds are no evidence, however often one looks";
}

TEST(Leak, AFloorAboveTheLimitHasNoTimeLeft) {
  const auto view = Rising(15, 510 * kMiB, kMiB).view(kLimit);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->to_limit, Duration(0));
}

}  // namespace
}  // namespace memgov::core
