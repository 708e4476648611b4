// When a cgroup is read: its rhythm, its rest, and what is told at once.

#include <algorithm>
#include <array>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/test_tree.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::CgroupId;
using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Each;
using testing::IsEmpty;
using testing::SizeIs;

class CgroupCadenceTest : public testing::TestWithParam<MemoryVersion> {
 protected:
  FakeHierarchy fake_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Versions, CgroupCadenceTest, testing::Values(MemoryVersion::kV1, MemoryVersion::kV2),
                         VersionName);

// --- when
// -----------------------------------------------------------------------------------------------------

TEST_P(CgroupCadenceTest, ReadsUsageEverySecondAndStatEveryTen) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  std::vector<core::Instant> usage;
  std::vector<core::Instant> stat;
  core::Bytes bytes = 0;
  for (auto next = tree.NextDue(); *next <= kStart + seconds(40); next = tree.NextDue()) {
    fake_.SetUsage("/a", ++bytes);
    const core::Snapshot snapshot = Collect(tree, *next);
    ASSERT_THAT(snapshot.samples, SizeIs(1));
    ASSERT_GT(*tree.NextDue(), *next);
    usage.push_back(*next);
    if (snapshot.samples[0].stat.has_value()) stat.push_back(*next);
  }
  EXPECT_EQ(usage.size(), 40U);  // a stat comes with a usage, never between two
  ASSERT_GE(stat.size(), 3U);
  for (std::size_t i = 1; i < stat.size(); ++i) EXPECT_EQ(stat[i] - stat[i - 1], seconds(10));
}

TEST_P(CgroupCadenceTest, ACgroupAtRestIsReadAtAQuarterOfItsRhythmUntilItMoves) {
  fake_.Add("/a", 100);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  const CgroupId id = IdOf(tree, "/a");
  tree.SetCadence(
      {.cgroup = id, .usage_every = seconds(1), .stat_every = std::chrono::hours(1), .may_rest = true});
  for (int i = 0; i < CgroupTree::kRepeats; ++i)
    EXPECT_THAT(Collect(tree, *tree.NextDue()).samples, SizeIs(1));
  for (int i = 0; i < 3; ++i) {
    const core::Instant due = *tree.NextDue();
    EXPECT_THAT(Collect(tree, due).samples, IsEmpty());  // read, and nothing new
    EXPECT_EQ(*tree.NextDue() - due, seconds(1) * CgroupTree::kRestFactor);
  }
  fake_.SetUsage("/a", 101);
  const core::Instant moved = *tree.NextDue();
  EXPECT_THAT(Collect(tree, moved).samples, SizeIs(1));
  EXPECT_EQ(*tree.NextDue() - moved, seconds(1));

  // Near its wire it is never at rest.
  tree.SetCadence({.cgroup = id, .usage_every = milliseconds(100), .stat_every = seconds(1)});
  for (int i = 0; i < 3 * CgroupTree::kRepeats; ++i) {
    EXPECT_THAT(Collect(tree, *tree.NextDue()).samples, SizeIs(1));
  }
}

TEST_P(CgroupCadenceTest, SpreadsManyCgroupsOverThePeriod) {
  for (int i = 0; i < 300; ++i) fake_.Add(absl::StrCat("/c", i));
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  EXPECT_THAT(Collect(tree, kStart).samples, SizeIs(300));
  std::array<std::size_t, 10> tenth{};
  for (std::size_t i = 0; i < 100; ++i) {
    const std::size_t due = Collect(tree, kStart + milliseconds(10) * (i + 1)).samples.size();
    EXPECT_LE(due, 15U) << i;  // about 9 in each of the 32 slots
    tenth[i / 10] += due;
  }
  for (const std::size_t due : tenth) EXPECT_NEAR(static_cast<double>(due), 30, 8);
}

TEST_P(CgroupCadenceTest, WhatFallsDueWithinAMillisecondIsTakenTogether) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  const core::Instant due = *tree.NextDue();
  EXPECT_THAT(Collect(tree, due - milliseconds(2)).samples, IsEmpty());
  EXPECT_THAT(Collect(tree, due - milliseconds(1)).samples, SizeIs(1));
  EXPECT_THAT(Collect(tree, due).samples, IsEmpty());
}

TEST_P(CgroupCadenceTest, ALateLoopReadsOnceAndKeepsTheRhythm) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  const core::Instant due = *tree.NextDue();
  EXPECT_THAT(Collect(tree, due + seconds(60)).samples, SizeIs(1));
  EXPECT_THAT(Collect(tree, due + seconds(60)).samples, IsEmpty());
  EXPECT_LE(*tree.NextDue(), due + seconds(61));
}

TEST_P(CgroupCadenceTest, ANewCadenceTakesEffectFromTheLastReading) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const CgroupId id = IdOf(tree, "/a");
  Collect(tree, kStart);
  tree.SetCadence({.cgroup = id, .usage_every = milliseconds(10), .stat_every = milliseconds(100)});
  int usage = 0;
  int stat = 0;
  for (core::Instant now = kStart; now <= kStart + seconds(1); now += milliseconds(5)) {
    for (const core::CgroupSample& sample : Collect(tree, now).samples) {
      ++usage;
      stat += sample.stat.has_value() ? 1 : 0;
    }
  }
  EXPECT_NEAR(usage, 100, 2);
  EXPECT_NEAR(stat, 10, 1);
  tree.SetCadence({.cgroup = id, .usage_every = seconds(1), .stat_every = seconds(10)});
  EXPECT_GT(*tree.NextDue(), kStart + milliseconds(1900));
}

TEST_P(CgroupCadenceTest, TheSameCadenceAgainChangesNothing) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  const auto due = tree.NextDue();
  tree.SetCadence({.cgroup = IdOf(tree, "/a"),
                   .usage_every = CgroupTree::kUsageEvery,
                   .stat_every = CgroupTree::kStatEvery});
  EXPECT_EQ(tree.NextDue(), due);
}

TEST_P(CgroupCadenceTest, AnAbsurdCadenceIsHeldWithinBounds) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  tree.SetCadence({.cgroup = IdOf(tree, "/a"), .usage_every = seconds(-1), .stat_every = core::Duration(0)});
  for (core::Instant now = kStart; now < kStart + milliseconds(50); now += milliseconds(1)) {
    EXPECT_LE(Collect(tree, now).samples.size(), 1U);
    EXPECT_GT(*tree.NextDue(), now);
  }
  tree.SetCadence({.cgroup = IdOf(tree, "/a"),
                   .usage_every = core::Duration::max(),
                   .stat_every = core::Duration::max()});
  EXPECT_LE(*tree.NextDue(), kStart + seconds(11));
}

TEST_P(CgroupCadenceTest, AWrittenLimitOrHighIsToldAndReadWithTheStat) {
  fake_.Add("/a");
  fake_.Add("/b");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  tree.ReadInotify();
  fake_.SetLimit("/b", absl::StrCat(50 * kMiB, "\n"));
  EXPECT_THAT(tree.ReadInotify().knobs_written, Each(IdOf(tree, "/b")));
  core::Snapshot snapshot;
  EXPECT_TRUE(tree.Sample(IdOf(tree, "/b"), kStart + milliseconds(1), true, &snapshot));
  EXPECT_EQ(snapshot.samples.at(0).limit, 50 * kMiB);
  if (GetParam() == MemoryVersion::kV1) return;
  WriteFile(fake_.Directory("/a/memory.high"), "4096\n");
  EXPECT_THAT(tree.ReadInotify().knobs_written, Each(IdOf(tree, "/a")));
}

TEST_P(CgroupCadenceTest, WithoutInotifyAChangedLimitIsNoticedWithinASecondAtAnyCadence) {
  fake_.Add("/a");
  // A file that is not there cannot be watched.
  const std::string file = GetParam() == MemoryVersion::kV1 ? "/memory.limit_in_bytes" : "/memory.max";
  std::filesystem::remove(fake_.Directory("/a") + file);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  for (const milliseconds every :
       {milliseconds(10), milliseconds(300), milliseconds(700), milliseconds(1000)}) {
    const core::Instant start = kStart + every * 1000;
    fake_.SetLimit("/a", absl::StrCat(100 * kMiB, "\n"));
    Collect(tree, start);
    tree.SetCadence({.cgroup = IdOf(tree, "/a"), .usage_every = every, .stat_every = std::chrono::hours(1)});
    core::Snapshot all = Collect(tree, start + milliseconds(1));
    fake_.SetLimit("/a", absl::StrCat(50 * kMiB, "\n"));
    std::optional<core::Bytes> limit;
    for (core::Instant now = start; now <= start + seconds(1) + milliseconds(2); now += milliseconds(1)) {
      for (const core::CgroupSample& sample : Collect(tree, now).samples) limit = sample.limit;
    }
    EXPECT_EQ(limit, 50 * kMiB) << every.count();
  }
}

}  // namespace
}  // namespace memgov::kernel
