// How a limit is shared out to heaps, and how fast their soft limits may change.

#include "governor/core/soft_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<Bytes> Split(Bytes room, const std::vector<Heap>& heaps) { return SplitSoftLimits(room, heaps); }

TEST(SplitSoftLimits, OneHeapGetsAll) {
  EXPECT_THAT(Split(900 * kMiB, {{.live = 100 * kMiB, .non_heap = 20 * kMiB}}), ElementsAre(900 * kMiB));
  EXPECT_THAT(Split(900 * kMiB, {}), IsEmpty());
}

TEST(SplitSoftLimits, RoomBeyondLiveMemoryGoesByTheSquareRootOfLive) {
  // 1000 - 500 live = 500, shared 2 to 1.
  const auto limits = Split(1000 * kMiB, {{.live = 400 * kMiB}, {.live = 100 * kMiB}});
  EXPECT_NEAR(static_cast<double>(limits[0]) / kMiB, 400 + 500 * 2 / 3.0, 0.01);
  EXPECT_NEAR(static_cast<double>(limits[1]) / kMiB, 100 + 500 / 3.0, 0.01);
}

TEST(SplitSoftLimits, NobodyGetsLessThanItsFloorAndTheOthersPayForIt) {
  // The large one needs 480 as a floor; the square root would give it 470.
  const auto limits = Split(580 * kMiB, {{.live = 400 * kMiB}, {.live = 75 * kMiB}});
  EXPECT_EQ(limits[0], 480 * kMiB);
  EXPECT_NEAR(static_cast<double>(limits[1]), 100.0 * kMiB, 1);
}

TEST(SplitSoftLimits, WhereTheFloorsAreMoreThanThereIsEachGetsItsFloor) {
  EXPECT_THAT(Split(-5 * kMiB, {{.live = 100 * kMiB, .non_heap = 7 * kMiB}, {.live = 200 * kMiB}}),
              ElementsAre(127 * kMiB, 240 * kMiB));
}

TEST(SplitSoftLimits, AnEmptyHeapHasAFloorToo) {
  EXPECT_EQ(Split(0, {{}})[0], static_cast<Bytes>(4.8 * kMiB) + 1) << "rounded up";
}

TEST(SoftLimit, TheFirstIsTold) { EXPECT_EQ(SoftLimit().Next(At(seconds(1)), 900 * kMiB, 0), 900 * kMiB); }

TEST(SoftLimit, ItGoesDownAtOnceAndUpByATenthASecond) {
  SoftLimit limit;
  limit.Told(At(seconds(0)), 400 * kMiB, seconds(30));
  EXPECT_EQ(limit.Next(At(milliseconds(1)), 200 * kMiB, 0), 200 * kMiB);
  EXPECT_EQ(limit.Next(At(seconds(2)), 900 * kMiB, 0), std::nullopt) << "a fifth is not worth telling";
  EXPECT_EQ(limit.Next(At(seconds(3)), 900 * kMiB, 0), 520 * kMiB);
  EXPECT_EQ(limit.Next(At(seconds(5)), 510 * kMiB, 0), 510 * kMiB);
}

TEST(SoftLimit, AHeapThatGrowsFasterGetsItsFloor) {
  SoftLimit limit;
  limit.Told(At(seconds(0)), 400 * kMiB, seconds(30));
  EXPECT_EQ(limit.Next(At(seconds(1)), 900 * kMiB, 600 * kMiB), 600 * kMiB);
  EXPECT_EQ(limit.Next(At(seconds(1)), 900 * kMiB, 450 * kMiB), 450 * kMiB) << "small as the step is";
}

TEST(SoftLimit, ItIsRenewedAtHalfItsTime) {
  SoftLimit limit;
  limit.Told(At(seconds(0)), 400 * kMiB, seconds(30));
  EXPECT_EQ(limit.Next(At(seconds(14)), 400 * kMiB, 0), std::nullopt);
  EXPECT_EQ(limit.Next(At(seconds(15)), 400 * kMiB, 0), 400 * kMiB);
  EXPECT_EQ(limit.Next(At(seconds(31)), 900 * kMiB, 0), 900 * kMiB)
      << "it has ended: there is nothing to rise from";
}

}  // namespace
}  // namespace memgov::core
