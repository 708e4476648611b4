#include "governor/kernel/process_table.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;

TEST(ParseProcessCgroupTest, FindsTheMemoryHierarchy) {
  constexpr std::string_view kHybrid = "12:pids:/a\n4:cpu,memory:/pods/x\n1:name=systemd:/b\n0::/c\n";
  EXPECT_EQ(ParseProcessCgroup(MemoryVersion::kV1, kHybrid), "/pods/x");
  EXPECT_EQ(ParseProcessCgroup(MemoryVersion::kV2, kHybrid), "/c");
  EXPECT_EQ(ParseProcessCgroup(MemoryVersion::kV2, "0::/a:b/c d\n"), "/a:b/c d");
  EXPECT_EQ(ParseProcessCgroup(MemoryVersion::kV2, "0::/a (deleted)\n"), "/a");
}

TEST(ParseProcessCgroupTest, WhatIsNotAPlaceInOurViewIsAbsent) {
  for (const char* text : {"", "0", "0::", "0::/\n", "0::/../x\n", "1:memory\n", ":::\n", "1:pids:/a\n"}) {
    EXPECT_EQ(ParseProcessCgroup(MemoryVersion::kV2, text), std::nullopt) << text;
    EXPECT_EQ(ParseProcessCgroup(MemoryVersion::kV1, text), std::nullopt) << text;
  }
}

class ProcessTableTest : public testing::Test {
 protected:
  FakeHierarchy fake_{MemoryVersion::kV2};
};

TEST_F(ProcessTableTest, ListsEachProcessWithItsCgroup) {
  fake_.Add("/pod/a");
  WriteFile(fake_.Directory("/pod") + "/cgroup.procs", "");
  WriteFile(fake_.Directory("/pod/a") + "/cgroup.procs", absl::StrCat(::getpid(), "\n5000000\n"));
  const ProcessTable table = ReadProcessTable(fake_.layout(), "/pod", {.longest = std::chrono::seconds(60)});
  ASSERT_EQ(table.processes.size(), 1U);
  EXPECT_TRUE(table.complete);
  const ProcessEntry& self = table.processes[0];
  EXPECT_EQ(self.pid, ::getpid());
  EXPECT_EQ(self.cgroup, "/pod/a");
  EXPECT_EQ(self.name, "memgov_kernel_t");
  EXPECT_GT(self.rss, kMiB);
  EXPECT_LE(self.anon, self.rss);
  EXPECT_TRUE(self.oom_score_adj.has_value());
}

TEST_F(ProcessTableTest, IsBoundedAndSaysSo) {
  fake_.Add("/pod");
  std::string pids;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&pids, ::getpid(), "\n");
  WriteFile(fake_.Directory("/pod") + "/cgroup.procs", pids);
  const ProcessTable few =
      ReadProcessTable(fake_.layout(), "/pod", {.most_pids = 5, .longest = std::chrono::hours(1)});
  EXPECT_EQ(few.seen, 5U);
  EXPECT_FALSE(few.complete);
  const ProcessTable top =
      ReadProcessTable(fake_.layout(), "/pod", {.most_kept = 3, .longest = std::chrono::hours(1)});
  EXPECT_EQ(top.processes.size(), 3U);
  EXPECT_EQ(top.seen, 100U);
  EXPECT_TRUE(top.complete);
  const ProcessTable none =
      ReadProcessTable(fake_.layout(), "/pod", {.longest = std::chrono::nanoseconds(-1)});
  EXPECT_EQ(none.seen, 0U);
  EXPECT_FALSE(none.complete);
}

TEST_F(ProcessTableTest, WhomWeCannotSeeMakesItIncomplete) {
  fake_.Add("/pod");
  WriteFile(fake_.Directory("/pod") + "/cgroup.procs", "0\n");  // in a pid namespace beside ours
  EXPECT_FALSE(ReadProcessTable(fake_.layout(), "/pod").complete);
}

TEST_F(ProcessTableTest, ACgroupThatIsGoneHasNobody) {
  EXPECT_TRUE(ReadProcessTable(fake_.layout(), "/nowhere").processes.empty());
}

TEST(RealProcessTableTest, TheLargestComesFirstWithWhatItTook) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout) GTEST_SKIP() << real.why_not;
  RealCgroup parent(*real.layout);
  parent.LetChildrenHaveMemory();
  RealCgroup leaf(*real.layout, &parent);
  Hog small(leaf);
  Hog large(leaf);
  ASSERT_TRUE(large.Take(24 * kMiB));
  const ProcessTable table =
      ReadProcessTable(*real.layout, parent.path(), {.longest = std::chrono::seconds(10)});
  ASSERT_EQ(table.processes.size(), 2U);
  EXPECT_EQ(table.processes[0].cgroup, leaf.path());
  EXPECT_GE(table.processes[0].rss, 24 * kMiB);
  EXPECT_GE(table.processes[0].rss - table.processes[1].rss, 20 * kMiB);
  const int pid = table.processes[0].pid;
  EXPECT_EQ(CgroupOfProcess(real.layout->memory_version, pid, "memgov_kernel_t"), leaf.path());
  EXPECT_EQ(CgroupOfProcess(real.layout->memory_version, pid, "another"), std::nullopt);
}

}  // namespace
}  // namespace memgov::kernel
