// Prints costs: memgov_kernel_test --gtest_filter='PageOutTest.*'.

#include "governor/kernel/page_out.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/core/lazily_freed.h"
#include "governor/kernel/cgroup_files.h"
#include "governor/kernel/cgroup_processes.h"
#include "governor/kernel/process.h"
#include "governor/kernel/test_holder.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::Bytes;
using core::kGiB;
using core::kMiB;
using std::chrono::steady_clock;

// A page or two may wait in a batch of their processor.
auto About(Bytes bytes) { return testing::AllOf(testing::Ge(bytes - kMiB / 2), testing::Le(bytes)); }

std::chrono::duration<double, std::milli> OurCpu() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

TEST(PageOutModeTest, ARangeThatIsLazyThroughoutIsTakenWhole) {
  const LazyRange range{
      .start = 0, .length = 100 * kMiB, .lazy = 80 * kMiB, .anon = 84 * kMiB, .huge = 80 * kMiB};
  for (const bool swap : {false, true}) {
    for (const bool flags : {false, true}) EXPECT_EQ(ModeFor(range, swap, flags), PageOutMode::kWhole);
  }
}

TEST(PageOutModeTest, AMixedRangeIsTakenByPageWhereThatCanBeTold) {
  const LazyRange range{.start = 0, .length = 100 * kMiB, .lazy = 80 * kMiB, .anon = 85 * kMiB};
  EXPECT_EQ(ModeFor(range, true, true), PageOutMode::kByPage);
  EXPECT_EQ(ModeFor(range, false, true), PageOutMode::kByPage);
}

TEST(PageOutModeTest, WhereItCannotBeToldAMixedRangeIsLeftUnlessItOnlyCostsTime) {
  LazyRange range{.start = 0, .length = 100 * kMiB, .lazy = 2 * kMiB, .anon = 34 * kMiB};
  EXPECT_EQ(ModeFor(range, false, false), PageOutMode::kWhole);
  EXPECT_EQ(ModeFor(range, true, false), PageOutMode::kLeave) << "it would be swapped out";
  range.huge = 2 * kMiB;
  EXPECT_EQ(ModeFor(range, false, false), PageOutMode::kLeave) << "a huge page would be split";
  range.huge = 0;
  range.anon += kMiB;
  EXPECT_EQ(ModeFor(range, false, false), PageOutMode::kLeave) << "17 bytes looked at for each one freed";
  EXPECT_EQ(ModeFor(range, false, true), PageOutMode::kLeave);
}

TEST(PageOutModeTest, AVastEmptyRangeIsNotLookedThroughByPage) {
  LazyRange range{.start = 0, .length = 32 * kGiB, .lazy = 512 * kMiB, .anon = kGiB};
  EXPECT_EQ(ModeFor(range, true, true), PageOutMode::kByPage);
  range.length = 33 * kGiB;
  EXPECT_EQ(ModeFor(range, true, true), PageOutMode::kLeave);
}

TEST(PageOutModeTest, AStrideCoversAStepOfResidentMemory) {
  EXPECT_EQ(PageOutStride({.length = kGiB, .lazy = kGiB, .anon = kGiB}), kReclaimStep);
  EXPECT_EQ(PageOutStride({.length = 4 * kGiB, .lazy = kGiB, .anon = kGiB}), 4 * kReclaimStep);
  EXPECT_EQ(PageOutStride({.length = 1000 * kGiB, .lazy = kMiB, .anon = kMiB}), 8 * kReclaimStep);
  EXPECT_EQ(PageOutStride({.length = kMiB, .lazy = kMiB, .anon = kMiB}), kReclaimStep);
}

// --- real processes

class PageOutTest : public testing::Test {
 protected:
  void SetUp() override {
    RealHierarchy real = FindRealHierarchy();
    if (!real.layout.has_value()) GTEST_SKIP() << "no memory controller that we may write: " << real.why_not;
    layout_ = *std::move(real.layout);
    cgroup_ = std::make_unique<RealCgroup>(layout_);
    cgroup_->SetLimit(1536 * kMiB);
    holder_ = std::make_unique<Holder>(*cgroup_);
  }
  void TearDown() override { holder_.reset(); }

  ReclaimResult Run(
      Bytes bytes, const GoOn& go_on = [] { return true; }) {
    const auto began = steady_clock::now();
    const auto cpu_began = OurCpu();
    ReclaimResult result =
        PageOut(layout_, {.path = cgroup_->path(), .bytes = bytes, .lever = ReclaimLever::kPageOut}, go_on);
    const auto cpu = OurCpu() - cpu_began;
    const std::chrono::duration<double, std::milli> took = steady_clock::now() - began;
    EXPECT_TRUE(result.status.ok()) << result.status;
    const auto mib = [](Bytes b) { return static_cast<double>(b) / kMiB; };
    const Bytes dropped = result.usage_before - result.usage_after;
    ::printf("[   saw    ] %.0f MiB confirmed, usage %.0f -> %.0f MiB in %.0f ms, %.0f ms CPU",
             mib(result.confirmed), mib(result.usage_before), mib(result.usage_after), took.count(),
             cpu.count());
    if (dropped > kMiB) ::printf(" (%.0f ms CPU for each GiB)", cpu.count() * 1024 / mib(dropped));
    ::printf("\n");
    return result;
  }
  core::MemoryStat Stat() const {
    FdBudget budget{.most = 1};
    return CgroupFiles(layout_, budget).Stat(cgroup_->path(), false).value.value_or(core::MemoryStat{});
  }
  Bytes Anonymous() const { return GuessAnonymousMemory(holder_->pid()).value_or(0); }
  LazyMap Map() const {
    const UniqueFd process(
        ::open(absl::StrCat("/proc/", holder_->pid()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return ReadLazyMap(process.get(), 100).value_or(LazyMap{});
  }
  Holder::Region Filled(Bytes bytes) {
    const Holder::Region region = holder_->Map(bytes);
    holder_->Write(region, 0, bytes);
    return region;
  }

  CgroupLayout layout_;
  std::unique_ptr<RealCgroup> cgroup_;
  std::unique_ptr<Holder> holder_;
};

TEST_F(PageOutTest, GivesBackWhatIsLazilyFreedAndSparesANeighboursPageCache) {
  Holder neighbour(*cgroup_);
  neighbour.MakeFile(200 * kMiB);
  const Bytes at_first = Anonymous();
  const Holder::Region region = Filled(540 * kMiB);
  holder_->FreeLazily(region, 0, 500 * kMiB);
  const core::MemoryStat before = Stat();
  // Some kernels drop cache that nobody reads by themselves.
  ASSERT_GE(before.file, 150 * kMiB) << "there is something to spare";
  const ReclaimResult result = Run(kGiB);
  EXPECT_EQ(result.end, ReclaimEnd::kNoMore);
  EXPECT_EQ(result.processes, 1);
  EXPECT_THAT(result.confirmed, About(500 * kMiB));
  EXPECT_GE(result.usage_before - result.usage_after, 490 * kMiB);
  EXPECT_LT(Anonymous(), at_first + 50 * kMiB);
  const core::MemoryStat after = Stat();
  EXPECT_GE(after.file, before.file - before.file / 20);
  // What was not freed is what it was.
  EXPECT_EQ(holder_->Intact(region, 500 * kMiB, 40 * kMiB), 40 * kMiB / 4096);
}

TEST_F(PageOutTest, StopsWhenUsageHasFallenByWhatWasOrdered) {
  const Holder::Region region = Filled(300 * kMiB);
  holder_->FreeLazily(region, 0, 300 * kMiB);
  const ReclaimResult result = Run(100 * kMiB);
  EXPECT_EQ(result.end, ReclaimEnd::kEnough);
  EXPECT_GE(result.usage_before - result.usage_after, 100 * kMiB);
  EXPECT_LE(result.usage_before - result.usage_after, 100 * kMiB + 2 * kReclaimStep);
}

TEST_F(PageOutTest, NothingFreedIsNothingDone) {
  Filled(64 * kMiB);
  const ReclaimResult result = Run(kGiB);
  EXPECT_EQ(result.end, ReclaimEnd::kNoMore);
  EXPECT_EQ(result.processes, 0);
  EXPECT_EQ(result.confirmed, 0);
  EXPECT_GE(Anonymous(), 64 * kMiB);
}

TEST_F(PageOutTest, PagesThatWereWrittenAgainKeepTheirContent) {
  const Holder::Region region = Filled(300 * kMiB);
  holder_->FreeLazily(region, 0, 300 * kMiB);
  holder_->Write(region, 0, 100 * kMiB);
  const ReclaimResult result = Run(kGiB);
  EXPECT_THAT(result.confirmed, About(200 * kMiB));
  EXPECT_EQ(holder_->Intact(region, 0, 100 * kMiB), 100 * kMiB / 4096);
  EXPECT_GE(result.usage_before - result.usage_after, 195 * kMiB);
  // They have been looked at, and are where they belong: memory.stat tells the truth again.
  EXPECT_LE(core::LazilyFreedBounds(Stat()).at_least, kMiB);
}

TEST_F(PageOutTest, AHeapInWhichEverySecondPageIsInUseLosesTheOthersOnly) {
  const Holder::Region region = Filled(128 * kMiB);
  holder_->FreeLazily(region, 0, 128 * kMiB);
  holder_->WriteEveryOther(region, 0, 128 * kMiB);
  const ReclaimResult result = Run(kGiB);
  EXPECT_THAT(result.confirmed, About(64 * kMiB));
  EXPECT_GE(result.usage_before - result.usage_after, 60 * kMiB);
  const Bytes intact = holder_->Intact(region, 0, 128 * kMiB);
  EXPECT_GE(intact, 128 * kMiB / 4096 / 2);
  EXPECT_LE(intact, 128 * kMiB / 4096 / 2 + 64);  // those in a batch were not freed yet
}

TEST_F(PageOutTest, HugePagesInUseAreNotSplit) {
  const Holder::Region region = holder_->MapHuge(128 * kMiB);
  holder_->Write(region, 0, 128 * kMiB);
  holder_->FreeLazily(region, 0, 64 * kMiB);
  const LazyMap before = Map();
  if (before.ranges.empty() || before.ranges[0].huge < 64 * kMiB) GTEST_SKIP() << "no huge pages here";
  Run(kGiB);
  const ReclaimResult again = Run(kGiB);
  EXPECT_EQ(holder_->Intact(region, 64 * kMiB, 64 * kMiB), 64 * kMiB / 4096);
  const UniqueFd process(
      ::open(absl::StrCat("/proc/", holder_->pid()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string smaps = ReadFile(absl::StrCat("/proc/", holder_->pid(), "/smaps_rollup"));
  const std::size_t at = smaps.find("AnonHugePages:");
  ASSERT_NE(at, std::string::npos);
  EXPECT_EQ(std::stoll(smaps.substr(at + 14)) * core::kKiB, 64 * kMiB);
  if (HasEffectiveCapability(CAP_SYS_ADMIN)) {
    EXPECT_EQ(again.confirmed, 0);
  }
}

TEST_F(PageOutTest, LockedAndUnmappedRangesAreLeftOut) {
  const Holder::Region region = Filled(96 * kMiB);
  holder_->FreeLazily(region, 0, 96 * kMiB);
  holder_->Lock(region, 0, 32 * kMiB);
  holder_->Unmap(region, 40 * kMiB, 8 * kMiB);
  const ReclaimResult result = Run(kGiB);
  EXPECT_GE(result.usage_before - result.usage_after, 54 * kMiB);
}

// Without CAP_SYS_NICE the kernel lets us read, but not advise: the order fails with that, and not with a
// silent nothing.
TEST_F(PageOutTest, WithoutTheCapabilityItSaysSo) {
  const Holder::Region region = Filled(64 * kMiB);
  holder_->FreeLazily(region, 0, 64 * kMiB);
  const pid_t child = ::fork();
  if (child == 0) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    ::syscall(SYS_capget, &header, data);
    data[0].effective &= ~(1U << CAP_SYS_NICE);
    ::syscall(SYS_capset, &header, data);
    const ReclaimResult result =
        PageOut(layout_, {.path = cgroup_->path(), .bytes = kGiB}, [] { return true; });
    ::_exit(absl::IsPermissionDenied(result.status) && result.confirmed > 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_GE(Anonymous(), 64 * kMiB);
}

TEST_F(PageOutTest, TheLargestHolderComesFirst) {
  Holder small(*cgroup_);
  const Holder::Region little = small.Map(64 * kMiB);
  small.Write(little, 0, 64 * kMiB);
  small.FreeLazily(little, 0, 64 * kMiB);
  const Holder::Region much = Filled(128 * kMiB);
  holder_->FreeLazily(much, 0, 128 * kMiB);
  const ReclaimResult result = Run(32 * kMiB);
  EXPECT_THAT(result.confirmed, About(192 * kMiB));
  EXPECT_EQ(result.processes, 1);
  EXPECT_GE(GuessAnonymousMemory(small.pid()).value_or(0), 64 * kMiB);
}

TEST_F(PageOutTest, StopsBetweenStepsWhenTheTimeIsOver) {
  const Holder::Region region = Filled(256 * kMiB);
  holder_->FreeLazily(region, 0, 256 * kMiB);
  bool over = false;
  const ReclaimResult none = Run(kGiB, [&] { return !over && (over = true, false); });
  EXPECT_EQ(none.end, ReclaimEnd::kTimeOver);
  EXPECT_EQ(none.processes, 0);
  const Bytes before = Anonymous();
  const ReclaimResult some = Run(kGiB, [&] { return Anonymous() > before - 64 * kMiB; });
  EXPECT_EQ(some.end, ReclaimEnd::kTimeOver);
  EXPECT_GE(Anonymous(), before - 64 * kMiB - 2 * kReclaimStep);
}

TEST_F(PageOutTest, ProcessesOfCgroupsBelowBelongToIt) {
  if (layout_.memory_version == MemoryVersion::kV2) {
    holder_.reset();  // v2: no processes beside children
    cgroup_->LetChildrenHaveMemory();
  }
  RealCgroup child(layout_, cgroup_.get());
  Holder below(child);
  const Holder::Region region = below.Map(64 * kMiB);
  below.Write(region, 0, 64 * kMiB);
  below.FreeLazily(region, 0, 64 * kMiB);
  EXPECT_GE(
      [&] {
        const ReclaimResult result = Run(kGiB);
        return result.usage_before - result.usage_after;
      }(),
      60 * kMiB);
}

TEST_F(PageOutTest, AProcessThatDiesMeanwhileIsHarmless) {
  for (int i = 0; i < 5; ++i) {
    Holder victim(*cgroup_);
    const Holder::Region region = victim.Map(128 * kMiB);
    victim.Write(region, 0, 128 * kMiB);
    victim.FreeLazily(region, 0, 128 * kMiB);
    int asked = 0;
    const ReclaimResult result = Run(kGiB, [&] {
      if (++asked == 3 + i) ::kill(victim.pid(), SIGKILL);
      return true;
    });
    EXPECT_TRUE(result.status.ok());
  }
}

TEST_F(PageOutTest, ACgroupThatIsGoneIsNotFound) {
  const ReclaimResult result =
      PageOut(layout_, {.path = "/memgov-kt-nowhere", .bytes = kMiB}, [] { return true; });
  EXPECT_TRUE(absl::IsNotFound(result.status)) << result.status;
}

TEST(PageOutFakeTest, ProcessesThatCannotBeSeenAreAPreciseError) {
  FakeHierarchy fake(MemoryVersion::kV2);
  fake.Add("/pod", 100 * kMiB);
  WriteFile(fake.Directory("/pod") + "/cgroup.procs", "0\n0\n");
  const ReclaimResult result = PageOut(fake.layout(), {.path = "/pod", .bytes = kMiB}, [] { return true; });
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status));
  EXPECT_THAT(std::string(result.status.message()), testing::HasSubstr("2 processes of /pod"));
}

}  // namespace
}  // namespace memgov::kernel
