#include "governor/core/brake.h"

#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

constexpr Bytes kLimit = 1000 * kMiB;
constexpr Bytes kReached = 850 * kMiB;        // 85 % of the limit
constexpr Bytes kHigh = kReached + 1 * kMiB;  // where memory.high stands

class BrakeTest : public ::testing::Test {
 protected:
  std::optional<BrakeChange> See(Bytes usage) {
    view_.usage = usage;
    view_.pressing = usage - cache_;
    view_.sampled_at = now_;
    view_.just_read = just_read_;
    const auto change = brake_.Observe(now_, rule_, view_);
    view_.lost.reset();
    if (change && change->write) view_.memory_high = change->high;  // the knob's work
    return change;
  }
  // Kinds only, kRelaxed for nothing.
  NoteKind KindAt(Bytes usage) {
    const auto change = See(usage);
    return change ? change->kind : NoteKind::kRelaxed;
  }
  static constexpr NoteKind kNothing = NoteKind::kRelaxed;

  Rule rule_;
  bool just_read_ = true;
  Bytes cache_ = 0;
  Brake brake_;
  BrakeView view_{.allowed = true, .help_coming = true, .limit = kLimit};
  Instant now_ = At(seconds(0));
};

TEST_F(BrakeTest, ItIsArmedAboveUsageOnceWithItsThresholdBelow) {
  const auto armed = See(100 * kMiB);
  ASSERT_TRUE(armed);
  EXPECT_EQ(armed->kind, NoteKind::kBrakeArmed);
  EXPECT_TRUE(armed->write);
  EXPECT_EQ(armed->high, kHigh);
  EXPECT_TRUE(brake_.holds());
  EXPECT_EQ(KindAt(200 * kMiB), kNothing);
}

TEST_F(BrakeTest, ItIsNeverArmedWhereUsageHasReachedIt) {
  EXPECT_EQ(KindAt(kReached), kNothing);
  EXPECT_EQ(KindAt(kLimit + kMiB), kNothing);
  EXPECT_EQ(KindAt(kReached - 1), NoteKind::kBrakeArmed);
}

TEST_F(BrakeTest, AnOldReadingArmsNothingButLetsGo) {
  just_read_ = false;
  EXPECT_EQ(KindAt(100 * kMiB), kNothing);
  just_read_ = true;
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeArmed);
  just_read_ = false;
  view_.limit = 2 * kLimit;
  EXPECT_EQ(KindAt(100 * kMiB), kNothing);
  view_.allowed = false;
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, ItIsNotArmedWhereNobodyCanBeAsked) {
  view_.allowed = false;
  EXPECT_EQ(KindAt(100 * kMiB), kNothing);
}

TEST_F(BrakeTest, AForeignValueIsLeftAlone) {
  view_.memory_high = 900 * kMiB;
  EXPECT_EQ(KindAt(100 * kMiB), kNothing);
}

TEST_F(BrakeTest, ALimitTooSmallToHoldItHasNone) {
  view_.limit = 4 * kMiB;  // 85 % and the hover would be above the limit
  EXPECT_EQ(KindAt(kMiB), kNothing);
  view_.limit = 0;
  EXPECT_EQ(KindAt(0), kNothing);
}

TEST_F(BrakeTest, ItsWireIsInWholePages) {
  const Brake::Wire wire = Brake::WireFor(rule_, 1228 * kMiB);
  EXPECT_EQ(wire.reached % 4096, 0);
  EXPECT_EQ(wire.high % 4096, 0);
  EXPECT_GE(100.0 * static_cast<double>(wire.reached) / (1228.0 * kMiB), 85.0);
}

TEST_F(BrakeTest, ItNeverStandsBelowTheWakeThreshold) {
  rule_.brake.at_percent = 60;
  rule_.wake.usage_percent = 90;
  EXPECT_EQ(Brake::WireFor(rule_, kLimit).reached, 900 * kMiB);
}

TEST_F(BrakeTest, UsageThatTheKernelHoldsJustBelowMemoryHighIsAnEpisode) {
  See(100 * kMiB);
  EXPECT_EQ(KindAt(kHigh - 500 * kKiB), NoteKind::kBraking);
}

TEST_F(BrakeTest, AnEpisodeEndsWhenUsageHasRelaxedAndTheBrakeStays) {
  See(100 * kMiB);
  EXPECT_EQ(KindAt(kReached - 1), kNothing);
  EXPECT_EQ(KindAt(kReached), NoteKind::kBraking);
  EXPECT_TRUE(brake_.braking());
  EXPECT_EQ(KindAt(810 * kMiB), kNothing);
  const auto relaxed = See(799 * kMiB);
  ASSERT_TRUE(relaxed);
  EXPECT_EQ(relaxed->kind, NoteKind::kBrakeArmed);
  EXPECT_FALSE(relaxed->write);
  EXPECT_TRUE(brake_.holds());
  EXPECT_EQ(brake_.ends_at(), std::nullopt);
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBraking);  // a new one
}

TEST_F(BrakeTest, AnEpisodeLastsAtMost10Seconds) {
  See(100 * kMiB);
  See(860 * kMiB);
  EXPECT_EQ(brake_.ends_at(), now_ + seconds(10));
  now_ += milliseconds(9999);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  now_ += milliseconds(1);
  const auto let_go = See(860 * kMiB);
  ASSERT_TRUE(let_go);
  EXPECT_EQ(let_go->kind, NoteKind::kBrakeReleased);
  EXPECT_TRUE(let_go->write);
  EXPECT_EQ(let_go->high, std::nullopt);
  EXPECT_FALSE(brake_.holds());
}

TEST_F(BrakeTest, AfterAnEpisodeItIsNotArmedBeforeUsageHasRelaxed) {
  See(100 * kMiB);
  See(860 * kMiB);
  now_ += seconds(10);
  See(860 * kMiB);
  EXPECT_EQ(KindAt(820 * kMiB), kNothing);
  EXPECT_EQ(KindAt(799 * kMiB), kNothing);
  EXPECT_EQ(KindAt(799 * kMiB), NoteKind::kBrakeArmed);
}

TEST_F(BrakeTest, WithoutHelpItIsLetGoAfter250Ms) {
  See(100 * kMiB);
  See(860 * kMiB);
  view_.help_coming = false;
  now_ += milliseconds(249);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  now_ += milliseconds(1);
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, HelpThatComesAgainIsWaitedForAgain) {
  See(100 * kMiB);
  See(860 * kMiB);
  for (int i = 0; i < 10; ++i) {
    now_ += milliseconds(200);
    view_.help_coming = i % 2 == 0;
    EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  }
}

TEST_F(BrakeTest, ItIsLetGoWhenNobodyMayBeAskedAnyMore) {
  See(100 * kMiB);
  view_.allowed = false;
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeReleased);
  view_.allowed = true;
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeArmed);
  See(860 * kMiB);
  view_.allowed = false;
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, WhenTheLimitVanishesItIsLetGo) {
  See(100 * kMiB);
  See(860 * kMiB);
  view_.limit = 0;
  view_.allowed = false;  // what the engine makes of it
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
}

TEST_F(BrakeTest, TheWireFollowsTheLimit) {
  See(100 * kMiB);
  view_.limit = 2 * kLimit;
  const auto moved = See(100 * kMiB);
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->kind, NoteKind::kBrakeArmed);
  EXPECT_EQ(moved->high, 1701 * kMiB);
}

TEST_F(BrakeTest, ALimitThatFallsBelowUsageLetsGoInsteadOfWritingBelowUsage) {
  See(500 * kMiB);
  view_.limit = 550 * kMiB;  // its wire would be at 467.5 MiB
  EXPECT_EQ(KindAt(500 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, AValueThatDoesNotHoldIsSomebodyElsesAfterThreeSeconds) {
  See(100 * kMiB);
  view_.memory_high = std::nullopt;  // reset, or our write has not been seen yet
  now_ += milliseconds(2999);
  EXPECT_EQ(KindAt(100 * kMiB), kNothing);
  now_ += milliseconds(1);
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, PageCacheThatReachesItIsGivenItsRoom) {
  See(100 * kMiB);
  cache_ = 500 * kMiB;
  const auto let_go = See(860 * kMiB);
  ASSERT_TRUE(let_go);
  EXPECT_EQ(let_go->kind, NoteKind::kBrakeReleased);
  EXPECT_TRUE(let_go->write);
  EXPECT_EQ(KindAt(900 * kMiB), kNothing);
  EXPECT_EQ(KindAt(700 * kMiB), kNothing);  // cache comes and goes: not at once
  now_ += seconds(10);
  EXPECT_EQ(KindAt(900 * kMiB), kNothing);  // never below usage
  EXPECT_EQ(KindAt(700 * kMiB), NoteKind::kBrakeArmed);
}

// Let go, it could not be armed above usage again.
TEST_F(BrakeTest, WhereNeedIsNearPageCacheGivesWayToIt) {
  See(100 * kMiB);
  cache_ = 500 * kMiB;
  view_.time_to_limit = milliseconds(1999);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  EXPECT_TRUE(brake_.holds());
  cache_ = 50 * kMiB;
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBraking);
}

TEST_F(BrakeTest, PageCacheGivesWayForNoLongerThanThat) {
  See(100 * kMiB);
  cache_ = 500 * kMiB;
  view_.time_to_limit = seconds(1);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  now_ += milliseconds(1999);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  now_ += milliseconds(1);
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, NorForLongerThanAnEpisodeMayLast) {
  rule_.brake.longest = milliseconds(500);
  See(100 * kMiB);
  cache_ = 500 * kMiB;
  view_.time_to_limit = seconds(1);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  now_ += milliseconds(500);
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, AnEpisodeEndsWhenOnlyPageCacheIsLeftAboveIt) {
  See(100 * kMiB);
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBraking);
  cache_ = 100 * kMiB;
  EXPECT_EQ(KindAt(870 * kMiB), NoteKind::kBrakeReleased);
  EXPECT_FALSE(brake_.holds());
}

TEST_F(BrakeTest, ALossThatTheKnobReportsNeedsNoWaiting) {
  See(100 * kMiB);
  view_.lost = BrakeLost{.foreign = true};
  view_.memory_high = std::nullopt;
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeReleased);
  now_ += milliseconds(999);
  EXPECT_EQ(KindAt(100 * kMiB), kNothing);
  now_ += milliseconds(1);
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeArmed);
}

TEST_F(BrakeTest, AnEpisodeEndsWhenSomebodyElseSetsMemoryHigh) {
  See(100 * kMiB);
  See(860 * kMiB);
  view_.lost = BrakeLost{.foreign = true};
  view_.memory_high = 900 * kMiB;
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
  view_.memory_high = 900 * kMiB;
  now_ += seconds(10);
  EXPECT_EQ(KindAt(799 * kMiB), kNothing);
  EXPECT_EQ(KindAt(799 * kMiB), kNothing);  // it stays theirs
  view_.memory_high = std::nullopt;
  EXPECT_EQ(KindAt(799 * kMiB), NoteKind::kBrakeArmed);
}

TEST_F(BrakeTest, AnEpisodeWithoutAReportEndsByTheSamples) {
  See(100 * kMiB);
  now_ += milliseconds(2000);
  See(860 * kMiB);
  view_.memory_high = std::nullopt;
  now_ += milliseconds(999);
  EXPECT_EQ(KindAt(860 * kMiB), kNothing);
  now_ += milliseconds(1);
  EXPECT_EQ(KindAt(860 * kMiB), NoteKind::kBrakeReleased);
}

TEST_F(BrakeTest, WhatCannotBeKeptIsTriedLessAndLessOften) {
  for (int round = 0; round < 5; ++round) {
    ASSERT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeArmed);
    view_.lost = BrakeLost{.foreign = false};
    view_.memory_high = std::nullopt;
    ASSERT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeReleased);
    now_ += seconds(1 << std::min(round, 2)) - milliseconds(1);
    ASSERT_EQ(KindAt(100 * kMiB), kNothing);
    now_ += milliseconds(1);
  }
}

TEST_F(BrakeTest, ALossOfWhatIsNotHeldMeansNothing) {
  view_.lost = BrakeLost{.foreign = true};
  EXPECT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeArmed);
}

TEST_F(BrakeTest, WhoeverKeepsResettingItIsFoughtLessAndLess) {
  std::vector<Duration> waits;
  for (int round = 0; round < 9; ++round) {
    ASSERT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeArmed);
    view_.memory_high = std::nullopt;
    now_ += seconds(3);
    ASSERT_EQ(KindAt(100 * kMiB), NoteKind::kBrakeReleased);
    const Instant lost_at = now_;
    Brake copy = brake_;
    for (;; now_ += milliseconds(500)) {
      brake_ = copy;
      if (KindAt(100 * kMiB) == NoteKind::kBrakeArmed) break;
    }
    brake_ = copy;
    view_.memory_high = std::nullopt;
    waits.push_back(now_ - lost_at);
  }
  EXPECT_EQ(waits[0], seconds(1));
  EXPECT_EQ(waits[1], seconds(2));
  EXPECT_EQ(waits[6], seconds(64));
  EXPECT_EQ(waits[8], seconds(64));
}

}  // namespace
}  // namespace memgov::core
