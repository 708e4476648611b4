#include "governor/kernel/cgroup_tree.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_tree.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::CgroupId;
using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CgroupTreeTest : public testing::TestWithParam<MemoryVersion> {
 protected:
  FakeHierarchy fake_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Versions, CgroupTreeTest, testing::Values(MemoryVersion::kV1, MemoryVersion::kV2),
                         VersionName);

// --- who is there
// ---------------------------------------------------------------------------------------------

TEST_P(CgroupTreeTest, NamesParentsBeforeChildrenAndVanishesChildrenFirst) {
  fake_.Add("/a/b/c");
  fake_.Add("/d");
  CgroupTree tree(fake_.layout(), {"/"});
  const core::Snapshot first = Scan(tree);
  EXPECT_THAT(Paths(first), ElementsAre("/a", "/a/b", "/a/b/c", "/d"));
  EXPECT_EQ(first.appeared[0].parent, core::kNodeId);
  EXPECT_EQ(first.appeared[1].parent, first.appeared[0].id);
  EXPECT_EQ(first.appeared[2].parent, first.appeared[1].id);
  EXPECT_EQ(first.appeared[3].parent, core::kNodeId);
  EXPECT_EQ(first.appeared[0].has_brake, GetParam() == MemoryVersion::kV2);
  EXPECT_EQ(tree.size(), 4U);

  fake_.Remove("/a");
  const core::Snapshot second = Scan(tree);
  EXPECT_THAT(second.appeared, IsEmpty());
  EXPECT_THAT(second.vanished, ElementsAre(first.appeared[2].id, first.appeared[1].id, first.appeared[0].id));
  EXPECT_EQ(tree.size(), 1U);
  EXPECT_EQ(tree.PathOf(first.appeared[0].id), "");
}

TEST_P(CgroupTreeTest, TracksARootItselfAndNothingBesideIt) {
  fake_.Add("/a/b");
  fake_.Add("/ab");
  CgroupTree tree(fake_.layout(), {"/a/b/", "/a"});
  const core::Snapshot snapshot = Scan(tree);
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a", "/a/b"));

  CgroupTree inner(fake_.layout(), {"/a/b"});
  const core::Snapshot below = Scan(inner);
  ASSERT_THAT(Paths(below), ElementsAre("/a/b"));
  EXPECT_EQ(below.appeared[0].parent, core::kNodeId);  // "/a" is not tracked
}

TEST_P(CgroupTreeTest, WaitsForARootThatDoesNotExistYet) {
  CgroupTree tree(fake_.layout(), {"/a/b"});
  EXPECT_THAT(Scan(tree).appeared, IsEmpty());
  EXPECT_FALSE(tree.ReadInotify().scan_needed);
  fake_.Add("/a");
  EXPECT_TRUE(tree.ReadInotify().scan_needed);
  EXPECT_THAT(Scan(tree).appeared, IsEmpty());
  EXPECT_FALSE(tree.ReadInotify().scan_needed);
  fake_.Add("/a/b");
  EXPECT_TRUE(tree.ReadInotify().scan_needed);
  EXPECT_THAT(Paths(Scan(tree)), ElementsAre("/a/b"));
}

TEST_P(CgroupTreeTest, InotifyTellsOfNewCgroupsButNotOfFiles) {
  fake_.Add("/a/b");
  CgroupTree tree(fake_.layout(), {"/"});
  EXPECT_TRUE(tree.rescan_needed());  // nothing was scanned yet
  Scan(tree);
  ASSERT_GE(tree.inotify_fd(), 0);
  WriteFile(fake_.Directory("/a/b/some.file"), "x");
  EXPECT_FALSE(tree.ReadInotify().scan_needed);
  fake_.Add("/a/b/c");
  EXPECT_TRUE(tree.ReadInotify().scan_needed);
  EXPECT_TRUE(tree.rescan_needed());
  EXPECT_THAT(Paths(Scan(tree)), ElementsAre("/a/b/c"));
  EXPECT_FALSE(tree.rescan_needed());
}

TEST_P(CgroupTreeTest, OnlyTheSuspectDirectoriesAreScannedAgain) {
  for (const char* path : {"/a/x", "/a/y/z", "/b/x"}) fake_.Add(path);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  fake_.Add("/a/new/below");
  fake_.Remove("/a/y");
  tree.ReadInotify();
  core::Snapshot snapshot;
  const std::vector<CgroupId> gone = {IdOf(tree, "/a/y/z"), IdOf(tree, "/a/y")};
  tree.ScanSuspects(kStart, &snapshot);
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/new", "/a/new/below"));
  EXPECT_EQ(snapshot.vanished, gone);  // children first
  EXPECT_EQ(tree.size(), 6U);
  EXPECT_FALSE(tree.rescan_needed());
  // And the newcomers are watched as well.
  fake_.Add("/a/new/below/it");
  EXPECT_TRUE(tree.ReadInotify().scan_needed);
}

TEST_P(CgroupTreeTest, AReadingThatFailsMakesItsParentSuspect) {
  for (const char* path : {"/a/x/deep", "/b"}) fake_.Add(path);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const CgroupId x = IdOf(tree, "/a/x");
  const CgroupId deep = IdOf(tree, "/a/x/deep");
  std::filesystem::rename(fake_.Directory("/a/x"), fake_.Directory("/old"));  // keeps its inode taken
  fake_.Add("/a/x");  // a successor, before anybody looks
  fake_.Remove("/old");
  core::Snapshot snapshot;
  tree.ReadInotify();
  tree.ScanSuspects(kStart, &snapshot);
  EXPECT_THAT(snapshot.vanished, ElementsAre(deep, x));
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/x"));
  EXPECT_NE(IdOf(tree, "/a/x"), x);

  fake_.Remove("/b");
  core::Snapshot reading;
  const CgroupId b = IdOf(tree, "/b");
  EXPECT_FALSE(tree.Sample(b, kStart, false, &reading));
  EXPECT_TRUE(tree.rescan_needed());
  tree.ScanSuspects(kStart, &reading);
  EXPECT_THAT(reading.vanished, ElementsAre(b));
}

TEST_P(CgroupTreeTest, WhatComesBesideARootIsNoNews) {
  fake_.Add("/a/root/x");
  CgroupTree tree(fake_.layout(), {"/a/root"});
  Scan(tree);
  fake_.Add("/a/other");
  EXPECT_FALSE(tree.ReadInotify().scan_needed);
  std::filesystem::rename(fake_.Directory("/a/root"), fake_.Directory("/old"));  // keeps its inode taken
  fake_.Add("/a/root/y");
  EXPECT_TRUE(tree.ReadInotify().scan_needed);
  core::Snapshot snapshot;
  tree.ScanSuspects(kStart, &snapshot);
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/root", "/a/root/y"));
  EXPECT_EQ(snapshot.vanished.size(), 2U);
}

TEST_P(CgroupTreeTest, AScanAloneFindsAChildOfALeaf) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  fake_.Add("/a/b");
  EXPECT_THAT(Paths(Scan(tree)), ElementsAre("/a/b"));
}

TEST_P(CgroupTreeTest, ASuccessorOfTheSameNameIsANewCgroup) {
  fake_.Add("/a/b");
  CgroupTree tree(fake_.layout(), {"/"});
  const core::Snapshot first = Scan(tree);
  // Keeps the old inode numbers in use, as the kernel's are for ever.
  std::filesystem::rename(fake_.Directory("/a"), fake_.layout().memory_mount + ".old");
  fake_.Add("/a/b");
  const core::Snapshot second = Scan(tree);
  EXPECT_THAT(second.vanished, ElementsAre(first.appeared[1].id, first.appeared[0].id));
  ASSERT_THAT(Paths(second), ElementsAre("/a", "/a/b"));
  EXPECT_EQ(second.appeared[1].parent, second.appeared[0].id);
  EXPECT_GT(second.appeared[0].id, first.appeared[1].id);
  std::filesystem::remove_all(fake_.layout().memory_mount + ".old");
}

TEST_P(CgroupTreeTest, ACgroupWithoutTheControllerIsNotTrackedUntilItHasIt) {
  std::filesystem::create_directories(fake_.Directory("/a/b"));
  CgroupTree tree(fake_.layout(), {"/"});
  EXPECT_THAT(Scan(tree).appeared, IsEmpty());
  fake_.SetUsage("/a", 0);
  EXPECT_THAT(Paths(Scan(tree)), ElementsAre("/a"));
}

TEST_P(CgroupTreeTest, InnermostIsTheDeepestKnownOne) {
  fake_.Add("/a/b");
  CgroupTree tree(fake_.layout(), {"/a"});
  Scan(tree);
  EXPECT_EQ(tree.PathOf(*tree.Innermost("/a")), "/a");
  EXPECT_EQ(tree.PathOf(*tree.Innermost("/a/b")), "/a/b");
  EXPECT_EQ(tree.PathOf(*tree.Innermost("/a/b/c/d")), "/a/b");
  EXPECT_EQ(tree.PathOf(*tree.Innermost("/a/x")), "/a");
  for (const char* outside : {"/", "/ab", "/b", "", "a", "/a/../b", "/../a", "/a/./b"}) {
    EXPECT_EQ(tree.Innermost(outside), std::nullopt) << outside;
  }
}

TEST_P(CgroupTreeTest, TheNodeStandsForTheHierarchysOwnRoot) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  EXPECT_EQ(tree.Innermost("/"), core::kNodeId);
  EXPECT_EQ(tree.PathOf(core::kNodeId), "/");
  EXPECT_EQ(tree.Innermost("/not-scanned"), std::nullopt);  // it may have a limit of its own: scan first
}

// --- what they hold
// -------------------------------------------------------------------------------------------

TEST_P(CgroupTreeTest, ASampleHasWhatTheFilesSay) {
  fake_.Add("/a", 10 * kMiB);
  fake_.SetLimit("/a", absl::StrCat(100 * kMiB, "\n"));
  fake_.SetOomKills("/a", 3);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const core::Snapshot snapshot = Collect(tree, kStart);
  ASSERT_THAT(snapshot.samples, SizeIs(1));
  const core::CgroupSample& sample = snapshot.samples[0];
  EXPECT_EQ(sample.id, IdOf(tree, "/a"));
  EXPECT_EQ(sample.taken_at, kStart);
  EXPECT_EQ(sample.usage, 10 * kMiB);
  EXPECT_EQ(sample.limit, 100 * kMiB);
  EXPECT_EQ(sample.memory_high, std::nullopt);
  EXPECT_EQ(sample.oom_kills, 3U);
  ASSERT_TRUE(sample.stat.has_value());
  EXPECT_EQ(sample.stat->anon, kMiB);
  EXPECT_FALSE(sample.pressure.has_value());
}

TEST_P(CgroupTreeTest, ReadsPressureFromItsOwnTree) {
  fake_.Add("/a");
  CgroupLayout layout = fake_.layout();
  layout.pressure_mount = fake_.Directory("/psi");
  std::filesystem::create_directories(fake_.Directory("/psi/a"));
  CgroupTree tree(layout, {"/a"});
  Scan(tree);
  EXPECT_FALSE(Collect(tree, kStart).samples[0].pressure.has_value());
  WriteFile(fake_.Directory("/psi/a/memory.pressure"), "some avg10=0 total=5\nfull avg10=0 total=4\n");
  core::Snapshot snapshot;
  EXPECT_TRUE(tree.Sample(IdOf(tree, "/a"), kStart, true, &snapshot));
  ASSERT_TRUE(snapshot.samples[0].pressure.has_value());
  EXPECT_EQ(snapshot.samples[0].pressure->some_us, 5U);
}

TEST_P(CgroupTreeTest, AMissingOrBrokenFileLeavesItsPartAbsent) {
  fake_.Add("/a", 5 * kMiB);
  fake_.SetLimit("/a", "garbage");
  WriteFile(fake_.Directory("/a/memory.stat"), "anon 1\n");
  std::filesystem::remove(fake_.Directory("/a/memory.events"));
  std::filesystem::remove(fake_.Directory("/a/memory.oom_control"));
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const core::Snapshot snapshot = Collect(tree, kStart);
  ASSERT_THAT(snapshot.samples, SizeIs(1));
  EXPECT_EQ(snapshot.samples[0].usage, 5 * kMiB);
  EXPECT_EQ(snapshot.samples[0].limit, std::nullopt);
  EXPECT_FALSE(snapshot.samples[0].stat.has_value());
  EXPECT_EQ(snapshot.samples[0].oom_kills, 0U);
}

TEST_P(CgroupTreeTest, BrokenUsageGivesNoSampleAndIsTriedAgain) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  WriteFile(
      fake_.Directory(GetParam() == MemoryVersion::kV1 ? "/a/memory.usage_in_bytes" : "/a/memory.current"),
      "lots\n");
  core::Snapshot snapshot;
  EXPECT_TRUE(tree.Sample(IdOf(tree, "/a"), kStart, false, &snapshot));
  EXPECT_THAT(snapshot.samples, IsEmpty());
  fake_.SetUsage("/a", 7);
  EXPECT_TRUE(tree.Sample(IdOf(tree, "/a"), kStart, false, &snapshot));
  ASSERT_THAT(snapshot.samples, SizeIs(1));
}

TEST_P(CgroupTreeTest, ASecondReadingReplacesTheFirstAndKeepsItsStat) {
  fake_.Add("/a", 1);
  fake_.Add("/b", 2);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  core::Snapshot snapshot = Collect(tree, kStart);
  ASSERT_THAT(snapshot.samples, SizeIs(2));
  fake_.SetUsage("/a", 3);
  EXPECT_TRUE(tree.Sample(IdOf(tree, "/a"), kStart + milliseconds(1), false, &snapshot));
  ASSERT_THAT(snapshot.samples, SizeIs(2));
  EXPECT_EQ(snapshot.samples[0].usage, 3);
  EXPECT_EQ(snapshot.samples[0].taken_at, kStart + milliseconds(1));
  EXPECT_TRUE(snapshot.samples[0].stat.has_value());
}

TEST_P(CgroupTreeTest, AnUnknownIdIsNoSample) {
  CgroupTree tree(fake_.layout(), {"/"});
  core::Snapshot snapshot;
  EXPECT_FALSE(tree.Sample(CgroupId{77}, kStart, true, &snapshot));
  EXPECT_FALSE(tree.Sample(core::kNodeId, kStart, true, &snapshot));
  tree.SetCadence({.cgroup = CgroupId{77}, .usage_every = seconds(1), .stat_every = seconds(1)});
  EXPECT_EQ(tree.NextDue(), std::nullopt);
}

TEST_P(CgroupTreeTest, AGoneCgroupIsReadNoMoreAndAsksForAScan) {
  fake_.Add("/a");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const CgroupId id = IdOf(tree, "/a");
  fake_.Remove("/a");
  EXPECT_THAT(Collect(tree, kStart).samples, IsEmpty());
  EXPECT_TRUE(tree.rescan_needed());
  EXPECT_EQ(tree.NextDue(), std::nullopt);
  fake_.Add("/a");  // the name lives again, but not the id
  core::Snapshot snapshot;
  EXPECT_FALSE(tree.Sample(id, kStart, true, &snapshot));
  const core::Snapshot scanned = Scan(tree);
  EXPECT_THAT(scanned.vanished, ElementsAre(id));
  EXPECT_THAT(Paths(scanned), ElementsAre("/a"));
  EXPECT_NE(IdOf(tree, "/a"), id);
}

TEST_P(CgroupTreeTest, AKillIsSeenWithTheUsageThatFell) {
  fake_.Add("/a", 100);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  Collect(tree, kStart);
  fake_.SetOomKills("/a", 1);
  fake_.SetUsage("/a", 10);
  core::Snapshot snapshot;
  EXPECT_TRUE(tree.Sample(IdOf(tree, "/a"), kStart + milliseconds(10), false, &snapshot));
  EXPECT_EQ(snapshot.samples[0].oom_kills, 1U);
}

// --- when descriptors are short
// -------------------------------------------------------------------------------

// Leaves this process `free` descriptors while it lives.
class ShortOfDescriptors {
 public:
  explicit ShortOfDescriptors(std::size_t free) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit low{.rlim_cur = 128, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (UniqueFd fd(::open("/dev/null", O_RDONLY)); fd; fd.reset(::open("/dev/null", O_RDONLY))) {
      taken_.push_back(std::move(fd));
    }
    taken_.resize(taken_.size() - free);
  }
  ~ShortOfDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

TEST_P(CgroupTreeTest, WithoutDescriptorsToKeepItReadsAllTheSame) {
  for (int i = 0; i < 30; ++i) fake_.Add(absl::StrCat("/c", i), i);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const ShortOfDescriptors squeeze(5);
  std::map<CgroupId, core::Bytes> seen;
  for (int round = 0; round < 5; ++round) {
    for (const core::CgroupSample& sample : Collect(tree, kStart + seconds(round)).samples) {
      seen[sample.id] = sample.usage;
    }
  }
  EXPECT_EQ(seen.size(), 30U);
  for (const auto& [id, usage] : seen) EXPECT_EQ(tree.PathOf(id), absl::StrCat("/c", usage));
  EXPECT_THAT(tree.degraded(), testing::Contains(HasSubstr("RLIMIT_NOFILE")));
}

std::size_t OpenFiles() {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

TEST_P(CgroupTreeTest, DescriptorsThatRanOutOnceAreKeptAgainLater) {
  for (int i = 0; i < 30; ++i) fake_.Add(absl::StrCat("/c", i), i);
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const std::size_t before = OpenFiles();
  for (int round = 0; round < 3; ++round) Collect(tree, kStart + seconds(round));
  const std::size_t kept = OpenFiles() - before;
  ASSERT_GE(kept, 60U);
  fake_.Add("/late");
  core::Instant now = kStart + seconds(3);
  core::Snapshot snapshot;
  Scan(tree);
  {
    const ShortOfDescriptors squeeze(0);
    EXPECT_TRUE(tree.Sample(IdOf(tree, "/late"), now, true, &snapshot));
    for (int round = 0; round < 4; ++round) Collect(tree, now += seconds(1));
  }
  EXPECT_LT(OpenFiles() - before, kept * 4 / 5) << "nothing was given back";
  EXPECT_THAT(tree.degraded(), testing::Contains(HasSubstr("kept open for a while")));
  for (int round = 0; round < 30; ++round) Collect(tree, now += seconds(1));
  EXPECT_GE(OpenFiles() - before, kept);
  Scan(tree);
  EXPECT_THAT(tree.degraded(), IsEmpty());
}

// A limit that no usage reaches is none: with what is left of swap it would be past the end of the numbers.
TEST_P(CgroupTreeTest, ALimitAboveAllMachinesIsNone) {
  fake_.Add("/a", 100);
  fake_.SetLimit("/a", "9223372036854600000\n");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const core::Snapshot snapshot = Collect(tree, kStart);
  ASSERT_THAT(snapshot.samples, SizeIs(1));
  EXPECT_EQ(snapshot.samples[0].limit, std::nullopt);
}

TEST_P(CgroupTreeTest, ADirectoryThatCannotBeListedHasNotVanished) {
  fake_.Add("/a/b");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  core::Snapshot snapshot;
  {
    const ShortOfDescriptors squeeze(0);  // judged outside of it: the sanitizers need descriptors for that
    tree.Scan(kStart, &snapshot);
  }
  EXPECT_THAT(snapshot.vanished, IsEmpty());
  EXPECT_TRUE(tree.incomplete());
  EXPECT_FALSE(tree.rescan_needed()) << "at once; whoever scans knows when";
  EXPECT_THAT(tree.degraded(), testing::Contains(HasSubstr("could not be listed")));
  // Newcomers are found meanwhile without walking everything, and what could not be listed is not forgotten.
  fake_.Add("/a/new");
  tree.ReadInotify();
  tree.ScanSuspects(kStart, &snapshot);
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/new"));
  EXPECT_TRUE(tree.incomplete());
  EXPECT_THAT(Scan(tree).vanished, IsEmpty());
  EXPECT_THAT(tree.degraded(), IsEmpty());
}

}  // namespace
}  // namespace memgov::kernel
