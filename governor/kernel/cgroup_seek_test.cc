// Who is looked for by name, and what a tenant can make the tree hold.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/test_tree.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::CgroupId;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CgroupSeekTest : public testing::TestWithParam<MemoryVersion> {
 protected:
  FakeHierarchy fake_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Versions, CgroupSeekTest, testing::Values(MemoryVersion::kV1, MemoryVersion::kV2),
                         VersionName);

// --- one that is named
// ------------------------------------------------------------------------------------------

TEST_P(CgroupSeekTest, SeekFindsTheOneThatIsNamedAndLooksAtNoOther) {
  fake_.Add("/a/old");
  CgroupTree tree(fake_.layout(), {"/a"});
  Scan(tree);
  fake_.Add("/a/new/below");
  fake_.Add("/a/new/beside");
  fake_.Add("/a/other");
  core::Snapshot snapshot;
  const auto found = tree.Seek("/a/new/below", kStart, &snapshot);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(tree.PathOf(*found), "/a/new/below");
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/new", "/a/new/below"));
  EXPECT_EQ(snapshot.appeared[0].parent, IdOf(tree, "/a"));
  EXPECT_EQ(snapshot.appeared[1].parent, snapshot.appeared[0].id);
  // The others are for the next scan, also those beside it that came before its watch.
  core::Snapshot rest;
  tree.ReadInotify();
  tree.ScanSuspects(kStart, &rest);
  EXPECT_THAT(Paths(rest), testing::UnorderedElementsAre("/a/new/beside", "/a/other"));
  EXPECT_THAT(rest.vanished, IsEmpty());
  // Again, it is known.
  core::Snapshot again;
  EXPECT_EQ(*tree.Seek("/a/new/below", kStart, &again), *found);
  EXPECT_THAT(again.appeared, IsEmpty());
}

TEST_P(CgroupSeekTest, SeekSaysWhyItFindsNothing) {
  fake_.Add("/a/b");
  std::filesystem::create_directories(fake_.Directory("/a/bare/below"));
  std::filesystem::create_directories(fake_.Directory("/a/b/bare/below"));
  CgroupTree tree(fake_.layout(), {"/a"});
  Scan(tree);
  core::Snapshot snapshot;
  const auto status = [&](const std::string& path) { return tree.Seek(path, kStart, &snapshot).status(); };
  EXPECT_TRUE(absl::IsNotFound(status("/a/gone"))) << status("/a/gone");
  EXPECT_TRUE(absl::IsPermissionDenied(status("/b")));
  EXPECT_TRUE(absl::IsInvalidArgument(status("/a/../b")));
  EXPECT_TRUE(absl::IsOutOfRange(status("/a/" + std::string(5000, 'x'))));
  // Without the controller it is part of the nearest that has it.
  EXPECT_EQ(tree.PathOf(*tree.Seek("/a/b/bare/below", kStart, &snapshot)), "/a/b");
  EXPECT_THAT(snapshot.appeared, IsEmpty());
  EXPECT_FALSE(tree.rescan_needed()) << "asking costs no scan";
}

TEST_P(CgroupSeekTest, SeekNoticesASuccessor) {
  fake_.Add("/a/b/c");
  CgroupTree tree(fake_.layout(), {"/"});
  Scan(tree);
  const CgroupId old_b = IdOf(tree, "/a/b");
  const CgroupId old_c = IdOf(tree, "/a/b/c");
  std::filesystem::rename(fake_.Directory("/a/b"), fake_.layout().memory_mount + ".old");
  fake_.Add("/a/b/c");
  core::Snapshot snapshot;
  const auto found = tree.Seek("/a/b/c", kStart, &snapshot);
  ASSERT_TRUE(found.ok());
  EXPECT_NE(*found, old_c);
  EXPECT_THAT(snapshot.vanished, ElementsAre(old_c, old_b));
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/b", "/a/b/c"));
  std::filesystem::remove_all(fake_.layout().memory_mount + ".old");
}

TEST_P(CgroupSeekTest, WhatAReadingHasShownToBeGoneIsDroppedWithoutAScan) {
  fake_.Add("/a/b/c");
  fake_.Add("/a/d");
  CgroupTree tree(fake_.layout(), {"/a"});
  Scan(tree);
  const CgroupId b = IdOf(tree, "/a/b");
  const CgroupId c = IdOf(tree, "/a/b/c");
  core::Snapshot snapshot;
  tree.Drop(b, &snapshot);
  EXPECT_THAT(snapshot.vanished, IsEmpty()) << "nothing has shown it";
  fake_.Remove("/a/b");
  EXPECT_FALSE(tree.Sample(b, kStart, false, &snapshot));
  tree.Drop(b, &snapshot);
  EXPECT_THAT(snapshot.vanished, ElementsAre(c, b));
  EXPECT_EQ(tree.size(), 2U);
}

TEST_P(CgroupSeekTest, ARootThatGoesTakesNothingBesideItIn) {
  fake_.Add("/a/b");
  fake_.Add("/other");
  CgroupTree tree(fake_.layout(), {"/a"});
  Scan(tree);
  fake_.Remove("/a");
  core::Snapshot snapshot;
  EXPECT_FALSE(tree.Sample(IdOf(tree, "/a"), kStart, false, &snapshot));
  tree.ScanSuspects(kStart, &snapshot);
  EXPECT_THAT(snapshot.appeared, IsEmpty());
  EXPECT_EQ(snapshot.vanished.size(), 2U);
  EXPECT_EQ(tree.size(), 0U);
}

// --- what a tenant can make it hold
// ---------------------------------------------------------------------------

bool IsTenantsName(std::string_view path) { return path.ends_with("/tenant"); }

TEST_P(CgroupSeekTest, ATenantsCgroupsAreTrackedUpToItsBound) {
  fake_.Add("/a/tenant");
  const std::size_t more = kTenantBounds.most + 50;
  for (std::size_t i = 0; i < more; ++i) fake_.Add(absl::StrCat("/a/tenant/c", i));
  fake_.Add("/a/honest/x");
  CgroupTree tree(fake_.layout(), {"/"}, IsTenantsName);
  Scan(tree);
  EXPECT_EQ(tree.size(), kTenantBounds.most + 3);
  EXPECT_THAT(tree.degraded(), ElementsAre(HasSubstr("/a/tenant has more than 1024 cgroups")));
  IdOf(tree, "/a/honest/x");
  // Whoever attaches from one that is not tracked belongs to the nearest that is.
  std::size_t beyond = 0;
  for (std::size_t i = 0; i < more; ++i) {
    core::Snapshot snapshot;
    const auto found = tree.Seek(absl::StrCat("/a/tenant/c", i), kStart, &snapshot);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_THAT(snapshot.appeared, IsEmpty());
    if (tree.PathOf(*found) == "/a/tenant") ++beyond;
  }
  EXPECT_EQ(beyond, 51U);
  // Another tenant has as much, and nobody's cgroups as they come.
  fake_.Add("/b/tenant/x");
  tree.ReadInotify();
  core::Snapshot snapshot;
  tree.ScanSuspects(kStart, &snapshot);
  EXPECT_THAT(Paths(snapshot), ElementsAre("/b", "/b/tenant", "/b/tenant/x"));
}

// A directory with more entries than are looked at: what is known stays, and what goes is noticed.
TEST_P(CgroupSeekTest, ATenantWithMoreDirectoriesThanAreListedKeepsWhatItHas) {
  for (int i = 0; i < 20; ++i) fake_.Add(absl::StrCat("/a/tenant/c", i));
  CgroupTree tree(fake_.layout(), {"/"}, IsTenantsName);
  Scan(tree);
  const CgroupId first = IdOf(tree, "/a/tenant/c0");
  for (int i = 0; i < 10'100; ++i) {
    std::filesystem::create_directories(fake_.Directory(absl::StrCat("/a/tenant/empty", i)));
  }
  fake_.Remove("/a/tenant/c7");
  core::Instant now = kStart;
  core::Snapshot snapshot;
  tree.ReadInotify();
  for (int step = 0; step < 100 && tree.SuspectsDue(); ++step)
    tree.ScanSuspects(now += seconds(1), &snapshot);
  EXPECT_THAT(snapshot.vanished, SizeIs(1));
  EXPECT_THAT(snapshot.appeared, IsEmpty());
  tree.Scan(now, &snapshot);  // whether its directories are listed now or not
  tree.Scan(now, &snapshot);
  tree.Scan(now, &snapshot);
  EXPECT_THAT(snapshot.vanished, SizeIs(1));
  EXPECT_EQ(IdOf(tree, "/a/tenant/c0"), first);
  EXPECT_EQ(tree.size(), 21U);
}

// Its directories are listed no more for a while, not even by a whole scan, which forgets what inotify told.
TEST_P(CgroupSeekTest, WhatComesWhileItsTenantIsFarBehindIsSeenAtItsTurn) {
  fake_.Add("/a/tenant");
  for (int i = 0; i < 9'000; ++i) {
    std::filesystem::create_directories(fake_.Directory(absl::StrCat("/a/tenant/empty", i)));
  }
  CgroupTree tree(fake_.layout(), {"/"}, IsTenantsName);
  Scan(tree);
  fake_.Add("/a/tenant/new");
  tree.ReadInotify();
  core::Instant now = kStart;
  core::Snapshot snapshot;
  tree.Scan(now, &snapshot);
  EXPECT_THAT(snapshot.appeared, IsEmpty());
  for (int step = 0; step < 100 && tree.SuspectsDue(); ++step) {
    tree.ScanSuspects(now += milliseconds(100), &snapshot);
  }
  EXPECT_THAT(Paths(snapshot), ElementsAre("/a/tenant/new"));
}

TEST_P(CgroupSeekTest, ATenantThatMakesCgroupsAllTheTimeCostsALimitedNumberOfThem) {
  fake_.Add("/a/tenant");
  fake_.Add("/a/honest");
  CgroupTree tree(fake_.layout(), {"/"}, IsTenantsName);
  Scan(tree);
  std::size_t appeared = 0;
  core::Instant now = kStart;
  for (int step = 0; step < 30; ++step) {  // 3 s
    now += milliseconds(100);
    for (int i = 0; i < 15; ++i) fake_.Add(absl::StrCat("/a/tenant/s", step, "-", i));
    tree.ReadInotify();
    core::Snapshot snapshot;
    tree.ScanSuspects(now, &snapshot);
    appeared += snapshot.appeared.size();
    for (int i = 0; i < 15; ++i) fake_.Remove(absl::StrCat("/a/tenant/s", step, "-", i));
  }
  EXPECT_GE(appeared, 150U);
  EXPECT_LE(appeared, kTenantBounds.newcomers_at_once + 3 * kTenantBounds.newcomers + 1);
  EXPECT_THAT(tree.degraded(), testing::Contains(HasSubstr("/a/tenant makes more than 50 cgroups a second")));
  // What waits has its turn, and a neighbour's is seen at once.
  fake_.Add("/a/tenant/stays");
  fake_.Add("/a/honest/new");
  tree.ReadInotify();
  core::Snapshot soon;
  tree.ScanSuspects(now, &soon);
  EXPECT_THAT(Paths(soon), testing::Contains("/a/honest/new"));
  for (int step = 0; step < 50 && tree.SuspectsDue(); ++step) {
    now += milliseconds(100);
    tree.ScanSuspects(now, &soon);
  }
  EXPECT_EQ(tree.SuspectsDue(), std::nullopt);
  IdOf(tree, "/a/tenant/stays");
}

}  // namespace
}  // namespace memgov::kernel
