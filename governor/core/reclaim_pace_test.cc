#include "governor/core/reclaim_pace.h"

#include "governor/core/testing.h"
#include "gtest/gtest.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

constexpr LazyBounds kMuch{.at_least = 400 * kMiB, .at_most = 500 * kMiB};
constexpr ReclaimId kFirst{1};

class ReclaimPaceTest : public ::testing::Test {
 protected:
  // An attempt at 400 MiB of which `bytes` left.
  void Attempt(Bytes bytes, std::uint64_t refaults = 0) {
    pace_.Sent(now_, kFirst, 400 * kMiB);
    EXPECT_EQ(pace_.Closed({.id = kFirst,
                            .finished_at = now_,
                            .before = 1000 * kMiB,
                            .after = 1000 * kMiB - bytes,
                            .refaults = refaults}),
              std::max<Bytes>(bytes, 0));
  }
  Duration Pause() const { return pace_.again_at() - now_; }

  ReclaimPace pace_;
  Instant now_ = At(seconds(0));
};

TEST_F(ReclaimPaceTest, OffersWhatIsCertainFrom8MiBOn) {
  EXPECT_EQ(pace_.Offer(now_, kMuch), 400 * kMiB);
  EXPECT_EQ(pace_.Offer(now_, {.at_least = 8 * kMiB, .at_most = 8 * kMiB}), 8 * kMiB);
  EXPECT_FALSE(pace_.Offer(now_, {.at_least = 8 * kMiB - 1, .at_most = 500 * kMiB}));
}

TEST_F(ReclaimPaceTest, OneAttemptAtATimeAndItIsCountedOnForHalfASecond) {
  pace_.Sent(now_, kFirst, 400 * kMiB);
  EXPECT_FALSE(pace_.Offer(now_ + seconds(100), kMuch));
  EXPECT_EQ(pace_.ComingAt(now_ + milliseconds(499)), 400 * kMiB);
  EXPECT_EQ(pace_.ComingAt(now_ + milliseconds(500)), 0);
}

TEST_F(ReclaimPaceTest, AnotherRequestsOutcomeIsNotOurs) {
  pace_.Sent(now_, kFirst, 400 * kMiB);
  EXPECT_FALSE(pace_.Closed({.id = ReclaimId{2}, .finished_at = now_}));
  EXPECT_TRUE(pace_.under_way());
}

TEST_F(ReclaimPaceTest, WhatPaidMayBeRepeatedAfterHalfASecond) {
  Attempt(40 * kMiB);
  EXPECT_EQ(Pause(), milliseconds(500));
  EXPECT_FALSE(pace_.Offer(now_ + milliseconds(499), kMuch));
  EXPECT_TRUE(pace_.Offer(now_ + milliseconds(500), kMuch));
}

TEST_F(ReclaimPaceTest, AttemptsInVainPauseTwiceAsLongEachTimeAndAtMost256Seconds) {
  std::vector<Duration> pauses;
  for (int i = 0; i < 12; ++i) {
    Attempt(i == 1 ? -5 * kMiB : 39 * kMiB);
    pauses.push_back(Pause());
  }
  EXPECT_EQ(pauses[0], seconds(1));
  EXPECT_EQ(pauses[1], seconds(2));
  EXPECT_EQ(pauses[2], seconds(4));
  EXPECT_EQ(pauses[11], seconds(256));
  Attempt(400 * kMiB);
  EXPECT_EQ(Pause(), milliseconds(500));
}

TEST_F(ReclaimPaceTest, PagesThatWereReadAgainWereNobodysSpare) {
  Attempt(100 * kMiB, 60 * kMiB / 4096);
  EXPECT_EQ(Pause(), milliseconds(500));
  Attempt(100 * kMiB, 61 * kMiB / 4096);
  EXPECT_EQ(Pause(), seconds(1));
}

}  // namespace
}  // namespace memgov::core
