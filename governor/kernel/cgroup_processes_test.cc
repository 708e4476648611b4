#include "governor/kernel/cgroup_processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::kernel {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

class ProcessesWithinTest : public testing::Test {
 protected:
  void Put(const std::string& path, std::string_view pids) {
    fake_.Add(path);
    WriteFile(fake_.Directory(path) + "/cgroup.procs", pids);
  }
  std::vector<std::string> Listed(const std::string& path) {
    std::vector<std::string> listed;
    const auto list = ProcessesWithin(fake_.layout(), path, 100);
    EXPECT_TRUE(list.ok()) << list.status();
    if (!list.ok()) return listed;
    for (const CgroupProcess& process : list->processes) {
      listed.push_back(absl::StrCat(process.pid, " ", process.cgroup));
    }
    return listed;
  }
  FakeHierarchy fake_{MemoryVersion::kV2};
};

TEST_F(ProcessesWithinTest, FindsThoseOfACgroupAndOfAllBelow) {
  Put("/pod", "");
  Put("/pod/a", "11\n12\n");
  Put("/pod/a/deep", "2147483\n");
  Put("/podless", "14\n");
  EXPECT_THAT(Listed("/pod"), UnorderedElementsAre("11 /pod/a", "12 /pod/a", "2147483 /pod/a/deep"));
  EXPECT_THAT(Listed("/podless"), UnorderedElementsAre("14 /podless"));
}

TEST_F(ProcessesWithinTest, TheRootHasAll) {
  WriteFile(fake_.layout().memory_mount + "/cgroup.procs", "1\n");
  Put("/a", "2\n");
  EXPECT_THAT(Listed("/"), UnorderedElementsAre("1 /", "2 /a"));
}

TEST_F(ProcessesWithinTest, ProcessesOfOtherPidNamespacesAreCounted) {
  Put("/pod", "0\n0\n7\n");
  const auto list = ProcessesWithin(fake_.layout(), "/pod", 100);
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->hidden, 2U);
  EXPECT_EQ(list->processes.size(), 1U);
}

TEST_F(ProcessesWithinTest, SaysWhenThereAreMore) {
  std::string pids;
  for (int pid = 1; pid <= 2000; ++pid) absl::StrAppend(&pids, pid, "\n");  // more than one read
  Put("/pod", pids);
  const auto some = ProcessesWithin(fake_.layout(), "/pod", 1999);
  ASSERT_TRUE(some.ok());
  EXPECT_TRUE(some->more);
  EXPECT_EQ(some->processes.size(), 1999U);
  const auto all = ProcessesWithin(fake_.layout(), "/pod", 2000);
  ASSERT_TRUE(all.ok());
  EXPECT_FALSE(all->more);
  EXPECT_EQ(all->processes.back().pid, 2000);
}

TEST_F(ProcessesWithinTest, ACgroupThatIsGoneOrNoneIsAnError) {
  EXPECT_TRUE(absl::IsNotFound(ProcessesWithin(fake_.layout(), "/gone", 9).status()));
  for (const char* path : {"", "pod", "/../etc", "/a/", "/a//b"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ProcessesWithin(fake_.layout(), path, 9).status())) << path;
  }
  Put("/odd", "12a\n");
  EXPECT_FALSE(ProcessesWithin(fake_.layout(), "/odd", 9).ok());
  Put("/odd", "99999999999999999999\n");
  EXPECT_FALSE(ProcessesWithin(fake_.layout(), "/odd", 9).ok());
}

TEST_F(ProcessesWithinTest, AProcessIsPinnedOnlyWhereItIs) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  Put("/pod", absl::StrCat("1\n", child, "\n"));
  Put("/other", "1\n");
  const auto pinned = PinnedProcess::Pin(fake_.layout(), {.pid = child, .cgroup = "/pod"});
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  EXPECT_EQ(pinned->pid(), child);
  EXPECT_TRUE(ReadAnonymousMemory(pinned->directory()).ok());
  EXPECT_TRUE(GuessAnonymousMemory(child).ok());
  const auto moved = PinnedProcess::Pin(fake_.layout(), {.pid = child, .cgroup = "/other"});
  EXPECT_TRUE(absl::IsNotFound(moved.status()));

  ::kill(child, SIGKILL);
  siginfo_t unused;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &unused, WEXITED | WNOWAIT), 0);
  // A zombie has its pid still, and a line in cgroup.procs perhaps.
  EXPECT_TRUE(
      absl::IsNotFound(PinnedProcess::Pin(fake_.layout(), {.pid = child, .cgroup = "/pod"}).status()));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(absl::IsNotFound(ReadAnonymousMemory(pinned->directory()).status()));
  EXPECT_TRUE(
      absl::IsNotFound(PinnedProcess::Pin(fake_.layout(), {.pid = child, .cgroup = "/pod"}).status()));
}

TEST(AnonymousMemoryTest, OursIsAboveZeroAndBrokenTextIsRefused) {
  EXPECT_GT(GuessAnonymousMemory(::getpid()).value_or(0), 0);
  const TemporaryDirectory directory;
  const UniqueFd fd(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (const char* text : {"", "1", "1 2 3", "1 2 x 4", "-1 2 3 4", "99999999999999999999 2 3 4"}) {
    WriteFile(directory.path() + "/statm", text);
    EXPECT_TRUE(absl::IsDataLoss(ReadAnonymousMemory(fd.get()).status())) << text;
  }
  WriteFile(directory.path() + "/statm", "900 300 100 1 0 5 0\n");
  EXPECT_EQ(*ReadAnonymousMemory(fd.get()), 200 * ::sysconf(_SC_PAGESIZE));
}

TEST(RealProcessesTest, AProcessIsFoundInItsRealCgroup) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout.has_value()) GTEST_SKIP() << real.why_not;
  RealCgroup cgroup(*real.layout);
  cgroup.LetChildrenHaveMemory();
  RealCgroup child(*real.layout, &cgroup);
  EXPECT_THAT(ProcessesWithin(*real.layout, cgroup.path(), 9)->processes, IsEmpty());
  Hog hog(child);
  const auto list = ProcessesWithin(*real.layout, cgroup.path(), 9);
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->processes.size(), 1U);
  EXPECT_EQ(list->processes[0].cgroup, child.path());
  EXPECT_TRUE(PinnedProcess::Pin(*real.layout, list->processes[0]).ok());
}

}  // namespace
}  // namespace memgov::kernel
