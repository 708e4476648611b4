// core/lazily_freed.h against this machine's own kernel: bounds from memory.stat, truth from smaps.
//
// Prints what it saw: memgov_kernel_test --gtest_filter='LazilyFreedRealTest.*'.

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cmath>
#include <ctime>
#include <memory>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/core/lazily_freed.h"
#include "governor/kernel/cgroup_files.h"
#include "governor/kernel/lazy_memory.h"
#include "governor/kernel/test_holder.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::Bytes;
using core::kMiB;

// Pages on their way between lists, of each of two processors' batches, and counts that lag behind.
constexpr Bytes kSlack = kMiB;

// Freed, but for a page or two that wait in such a batch.
auto About(Bytes bytes) { return testing::AllOf(testing::Ge(bytes - kSlack), testing::Le(bytes)); }

class LazilyFreedRealTest : public testing::Test {
 protected:
  void SetUp() override {
    RealHierarchy real = FindRealHierarchy();
    if (!real.layout.has_value()) GTEST_SKIP() << "no memory controller that we may write: " << real.why_not;
    layout_ = *std::move(real.layout);
    cgroup_ = std::make_unique<RealCgroup>(layout_);
    cgroup_->SetLimit(1024 * kMiB);
    holder_ = std::make_unique<Holder>(*cgroup_);
  }
  void TearDown() override { holder_.reset(); }

  core::LazyBounds Bounds() const {
    FdBudget budget{.most = 1};
    CgroupFiles files(layout_, budget);
    const auto stat = files.Stat(cgroup_->path(), false);
    EXPECT_TRUE(stat.value.has_value());
    return core::LazilyFreedBounds(stat.value.value_or(core::MemoryStat{}));
  }
  Bytes Truth() const {
    const UniqueFd process(
        ::open(absl::StrCat("/proc/", holder_->pid()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const auto total = ReadLazyTotal(process.get());
    EXPECT_TRUE(total.ok()) << total.status();
    const auto map = ReadLazyMap(process.get(), 100);
    EXPECT_TRUE(map.ok()) << map.status();
    EXPECT_LE(std::abs(map->lazy - total.value_or(-1)), kSlack);
    return total.value_or(0);
  }
  static void Print(const char* what, const core::LazyBounds& bounds, Bytes truth) {
    constexpr double kUnit = kMiB;
    ::printf("[   saw    ] %s: %.2f <= %.2f (smaps) <= %.2f MiB\n", what,
             static_cast<double>(bounds.at_least) / kUnit, static_cast<double>(truth) / kUnit,
             static_cast<double>(bounds.at_most) / kUnit);
  }
  // Page cache, tmpfs and anonymous memory in use, so that there is something to be confused with.
  void FillWithOtherThings() {
    holder_->MakeFile(64 * kMiB);
    holder_->MakeShmem(48 * kMiB);
    holder_->Write(holder_->Map(80 * kMiB), 0, 80 * kMiB);
  }
  Holder::Region FreeLazily(Bytes bytes) {
    const Holder::Region region = holder_->Map(bytes);
    holder_->Write(region, 0, bytes);
    holder_->FreeLazily(region, 0, bytes);
    return region;
  }

  CgroupLayout layout_;
  std::unique_ptr<RealCgroup> cgroup_;
  std::unique_ptr<Holder> holder_;
};

TEST_F(LazilyFreedRealTest, NothingFreedIsNothing) {
  FillWithOtherThings();
  const core::LazyBounds bounds = Bounds();
  Print("nothing freed", bounds, Truth());
  EXPECT_EQ(Truth(), 0);
  EXPECT_LE(bounds.at_most, kSlack);
}

TEST_F(LazilyFreedRealTest, BothBoundsAreWithin2PercentWhenNothingWasWrittenAgain) {
  FillWithOtherThings();
  FreeLazily(256 * kMiB);
  const core::LazyBounds bounds = Bounds();
  const Bytes truth = Truth();
  Print("among page cache and tmpfs", bounds, truth);
  EXPECT_THAT(truth, About(256 * kMiB));
  EXPECT_LE(std::abs(bounds.at_least - truth), truth / 50);
  EXPECT_LE(std::abs(bounds.at_most - truth), truth / 50);
}

TEST_F(LazilyFreedRealTest, TheBoundsHoldAmongLockedMemory) {
  FillWithOtherThings();
  FreeLazily(128 * kMiB);
  const Bytes locked_file = 24 * kMiB;
  const Bytes locked_anon = 40 * kMiB;
  const Bytes locked_shmem = 16 * kMiB;
  holder_->Lock(holder_->MakeFile(locked_file), 0, locked_file);
  const Holder::Region anon = holder_->Map(locked_anon);
  holder_->Write(anon, 0, locked_anon);
  holder_->Lock(anon, 0, locked_anon);
  holder_->Lock(holder_->MakeShmem(locked_shmem), 0, locked_shmem);
  const core::LazyBounds bounds = Bounds();
  const Bytes truth = Truth();
  Print("24 MiB file, 40 anonymous, 16 tmpfs locked", bounds, truth);
  EXPECT_THAT(truth, About(128 * kMiB));
  EXPECT_LE(bounds.at_least, truth + kSlack);
  EXPECT_GE(bounds.at_most, truth - kSlack);
  // And they are off by what is locked, no more.
  EXPECT_GE(bounds.at_least, truth - locked_file - kSlack);
  EXPECT_LE(bounds.at_most, truth + locked_anon + locked_shmem + kSlack);
}

TEST_F(LazilyFreedRealTest, PrintsThePriceOfConfirmation) {
  FreeLazily(512 * kMiB);
  const UniqueFd process(
      ::open(absl::StrCat("/proc/", holder_->pid()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::clock_t began = std::clock();
  EXPECT_TRUE(ReadLazyTotal(process.get()).ok());
  const std::clock_t rollup = std::clock() - began;
  began = std::clock();
  EXPECT_TRUE(ReadLazyMap(process.get(), 100).ok());
  const std::clock_t smaps = std::clock() - began;
  const auto ms_per_gib = [](std::clock_t ticks) {
    return 2e3 * static_cast<double>(ticks) / CLOCKS_PER_SEC;
  };
  ::printf("[   saw    ] smaps_rollup %.0f, smaps %.0f ms CPU for each GiB\n", ms_per_gib(rollup),
           ms_per_gib(smaps));
}

// Written again, pages are in use: smaps knows it, memory.stat does not. What holds is that lazily freed and
// written again lie between the bounds together; so the upper one bounds the truth, the lower one does not.
TEST_F(LazilyFreedRealTest, WhatWasWrittenAgainIsCountedUntilReclaimLooksAtIt) {
  FillWithOtherThings();
  const Bytes freed = 160 * kMiB;
  const Bytes again = 60 * kMiB;
  holder_->Write(FreeLazily(freed), 0, again);
  const core::LazyBounds bounds = Bounds();
  const Bytes truth = Truth();
  Print("60 of 160 MiB written again", bounds, truth);
  EXPECT_THAT(truth, About(freed - again));
  EXPECT_LE(truth, bounds.at_most);
  EXPECT_LE(bounds.at_least, freed + kSlack);
  EXPECT_GE(bounds.at_most, freed - kSlack);
}

}  // namespace
}  // namespace memgov::kernel
