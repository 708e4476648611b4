// The ladder's order and pauses, with time set by hand.

#include "client/c/local/pace.h"

#include <gtest/gtest.h>

namespace memgov::testing {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kMiB = 1 << 20;

class PaceTest : public ::testing::Test {
 protected:
  mg_step Next(bool limit = true) { return mg_pace_next(&pace_, MEMGOV_LEVEL_WAKE, limit, &means_, now_); }
  // The next step, carried out.
  mg_step Do(std::uint64_t given, bool limit = true) {
    const mg_step step = Next(limit);
    mg_pace_done(&pace_, step, given, now_);
    return step;
  }
  void Calm() { EXPECT_EQ(mg_pace_next(&pace_, MEMGOV_LEVEL_CALM, false, &means_, now_), MG_STEP_NONE); }

  mg_pace pace_ = {};
  mg_means means_ = {
      .eager = true, .release = true, .shed = true, .told = true, .retained_bytes = 500 * kMiB};
  std::uint64_t now_ = 1'000'000 * kMs;
};

TEST_F(PaceTest, NothingIsDoneWhileCalm) { Calm(); }

TEST_F(PaceTest, EagerFirstThenReleaseWhileItGivesThenTheCaches) {
  EXPECT_EQ(Do(0), MG_STEP_EAGER);
  EXPECT_EQ(Do(64 * kMiB), MG_STEP_RELEASE);
  EXPECT_EQ(Next(), MG_STEP_NONE);
  now_ += 50 * kMs;
  EXPECT_EQ(Do(64 * kMiB), MG_STEP_RELEASE);
  now_ += 50 * kMs;
  means_.retained_bytes = 0;
  EXPECT_EQ(Do(8 * kMiB), MG_STEP_SHED);
  now_ += 99 * kMs;
  EXPECT_EQ(Next(), MG_STEP_NONE);
  now_ += 1 * kMs;
  EXPECT_EQ(Do(8 * kMiB), MG_STEP_SHED);
}

TEST_F(PaceTest, WhatAShedLeavesInTheAllocatorIsReleasedFirst) {
  means_.eager = false;
  means_.retained_bytes = 0;
  EXPECT_EQ(Do(8 * kMiB), MG_STEP_SHED);
  means_.retained_bytes = 20 * kMiB;
  EXPECT_EQ(Do(20 * kMiB), MG_STEP_RELEASE);
}

TEST_F(PaceTest, TheEagerModeIsRenewedAtHalfItsTimeWhilePressedAndNotWhenCalm) {
  means_.release = means_.shed = false;
  EXPECT_EQ(Do(0), MG_STEP_EAGER);
  now_ += MG_LOCAL_TTL_MS / 2 * kMs - 1;
  EXPECT_EQ(Next(), MG_STEP_NONE);
  now_ += 1;
  EXPECT_EQ(Do(0), MG_STEP_EAGER);
  now_ += MG_LOCAL_TTL_MS * kMs;
  Calm();
}

TEST_F(PaceTest, AReleaseThatGivesNothingWaitsTwiceAsLongEachTimeUpToAMinute) {
  means_ = {.release = true};
  EXPECT_EQ(Do(0), MG_STEP_RELEASE);
  for (const std::uint64_t pause_ms : {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000}) {
    now_ += pause_ms * kMs - 1;
    EXPECT_EQ(Next(), MG_STEP_NONE) << pause_ms;
    now_ += 1;
    EXPECT_EQ(Do(0), MG_STEP_RELEASE) << pause_ms;
  }
}

TEST_F(PaceTest, OneThatGivesEndsTheWaiting) {
  means_ = {.release = true};
  for (int i = 0; i < 6; ++i, now_ += 60000 * kMs) EXPECT_EQ(Do(0), MG_STEP_RELEASE);
  EXPECT_EQ(Do(2 * kMiB), MG_STEP_RELEASE);
  now_ += 50 * kMs;
  EXPECT_EQ(Next(), MG_STEP_RELEASE);
}

TEST_F(PaceTest, PlentyThatIsKnownOfEndsALongPause) {
  means_ = {.release = true};
  for (int i = 0; i < 6; ++i, now_ += 60000 * kMs) EXPECT_EQ(Do(0), MG_STEP_RELEASE);
  EXPECT_EQ(Do(0), MG_STEP_RELEASE);
  now_ += 1000 * kMs;
  EXPECT_EQ(Next(), MG_STEP_NONE);
  means_.told = true;
  means_.retained_bytes = 100 * kMiB;
  EXPECT_EQ(Next(), MG_STEP_RELEASE);
}

TEST_F(PaceTest, CachesAreAskedOnlyWhenReleasingGivesNoMore) {
  means_ = {.release = true, .shed = true};  // nobody knows what is retained
  EXPECT_EQ(Do(10 * kMiB), MG_STEP_RELEASE);
  EXPECT_EQ(Next(), MG_STEP_NONE);
  now_ += 50 * kMs;
  EXPECT_EQ(Do(0), MG_STEP_RELEASE);
  EXPECT_EQ(Next(), MG_STEP_SHED);
}

TEST_F(PaceTest, AMomentsStallDoesNotEmptyACache) {
  means_ = {.shed = true};
  EXPECT_EQ(Next(false), MG_STEP_NONE);
  now_ += 1999 * kMs;
  EXPECT_EQ(Next(false), MG_STEP_NONE);
  now_ += 1 * kMs;
  EXPECT_EQ(Next(false), MG_STEP_SHED);
  Calm();
  EXPECT_EQ(Next(false), MG_STEP_NONE) << "stalls that begin anew";
  EXPECT_EQ(Next(true), MG_STEP_SHED) << "a limit is no matter of time";
}

TEST_F(PaceTest, WithoutMeansNothingIsDone) {
  means_ = {};
  EXPECT_EQ(Next(), MG_STEP_NONE);
}

}  // namespace
}  // namespace memgov::testing
