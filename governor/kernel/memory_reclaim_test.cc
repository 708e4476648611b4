#include "governor/kernel/memory_reclaim.h"

#include <stdio.h>

#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_holder.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::Bytes;
using core::kMiB;

ReclaimResult Order(const CgroupLayout& layout, const std::string& path, Bytes bytes,
                    bool swappiness = false) {
  return ReclaimMemory(layout, {.path = path, .bytes = bytes, .lever = ReclaimLever::kReclaim}, swappiness,
                       [] { return true; });
}

TEST(MemoryReclaimTest, V1HasNone) {
  const FakeHierarchy fake(MemoryVersion::kV1);
  EXPECT_TRUE(absl::IsFailedPrecondition(Order(fake.layout(), "/a", kMiB).status));
}

// A plain file takes what is written and reclaims nothing: two steps, then it is given up.
TEST(MemoryReclaimTest, ALeverThatYieldsNothingIsGivenUp) {
  FakeHierarchy fake(MemoryVersion::kV2);
  fake.Add("/a", 500 * kMiB);
  WriteFile(fake.Directory("/a") + "/memory.swap.max", "0\n");
  WriteFile(fake.Directory("/a") + "/memory.swap.current", "0\n");
  WriteFile(fake.Directory("/a") + "/memory.reclaim", "");
  const ReclaimResult result = Order(fake.layout(), "/a", 100 * kMiB);
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.end, ReclaimEnd::kNoYield);
  EXPECT_EQ(ReadFile(fake.Directory("/a") + "/memory.reclaim"), absl::StrCat(kReclaimStep));
  EXPECT_EQ(result.refaults_before, 10U);
}

TEST(MemoryReclaimTest, FilesAskedToGoFirstWhereTheKernelListens) {
  FakeHierarchy fake(MemoryVersion::kV2);
  fake.Add("/a", 500 * kMiB);
  WriteFile(fake.Directory("/a") + "/memory.reclaim", "");
  EXPECT_TRUE(Order(fake.layout(), "/a", 8 * kMiB, true).status.ok());
  EXPECT_EQ(ReadFile(fake.Directory("/a") + "/memory.reclaim"), absl::StrCat(8 * kMiB, " swappiness=0"));
}

TEST(MemoryReclaimTest, ACgroupWithoutTheFileIsNotFound) {
  FakeHierarchy fake(MemoryVersion::kV2);
  fake.Add("/a", 500 * kMiB);
  EXPECT_TRUE(absl::IsNotFound(Order(fake.layout(), "/a", kMiB, true).status));
  EXPECT_TRUE(absl::IsNotFound(Order(fake.layout(), "/b", kMiB, true).status));
}

class RealMemoryReclaimTest : public testing::Test {
 protected:
  void SetUp() override {
    RealHierarchy real = FindRealHierarchy();
    if (!real.layout.has_value()) GTEST_SKIP() << "no memory controller that we may write: " << real.why_not;
    layout_ = *std::move(real.layout);
    if (layout_.memory_version == MemoryVersion::kV1) GTEST_SKIP() << "memory.reclaim needs cgroup v2";
    cgroup_ = std::make_unique<RealCgroup>(layout_);
    cgroup_->SetLimit(512 * kMiB);
    swappiness_ = WriteReclaim(layout_, cgroup_->path(), 0, true).ok();
  }
  ReclaimResult Run(Bytes bytes) {
    const auto began = std::chrono::steady_clock::now();
    ReclaimResult result = Order(layout_, cgroup_->path(), bytes, swappiness_);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
    EXPECT_TRUE(result.status.ok()) << result.status;
    ::printf("[   saw    ] asked for %.0f MiB, %.1f came in %.0f ms, %ld pages read back%s\n",
             static_cast<double>(bytes) / kMiB,
             static_cast<double>(result.usage_before - result.usage_after) / kMiB, took.count(),
             static_cast<long>(result.refaults_after.value_or(0) - result.refaults_before.value_or(0)),
             swappiness_ ? ", swappiness=0" : "");
    return result;
  }
  CgroupLayout layout_;
  std::unique_ptr<RealCgroup> cgroup_;
  bool swappiness_ = false;
};

TEST_F(RealMemoryReclaimTest, TakesColdPageCache) {
  Holder holder(*cgroup_);
  holder.MakeFile(160 * kMiB);
  const ReclaimResult result = Run(96 * kMiB);
  EXPECT_EQ(result.end, ReclaimEnd::kEnough);
  EXPECT_GE(result.usage_before - result.usage_after, 96 * kMiB);
}

TEST_F(RealMemoryReclaimTest, TakesLazilyFreedMemory) {
  Holder holder(*cgroup_);
  const Holder::Region region = holder.Map(160 * kMiB);
  holder.Write(region, 0, 160 * kMiB);
  holder.FreeLazily(region, 0, 120 * kMiB);
  const ReclaimResult result = Run(96 * kMiB);
  EXPECT_GE(result.usage_before - result.usage_after, 90 * kMiB);
  EXPECT_EQ(holder.Intact(region, 120 * kMiB, 40 * kMiB), 40 * kMiB / 4096);
}

TEST_F(RealMemoryReclaimTest, WhereAllIsInUseItEndsByItself) {
  Holder holder(*cgroup_);
  holder.Write(holder.Map(64 * kMiB), 0, 64 * kMiB);
  const ReclaimResult result = Run(48 * kMiB);
  EXPECT_NE(result.end, ReclaimEnd::kEnough);
  EXPECT_LT(result.usage_before - result.usage_after, 8 * kMiB);
}

}  // namespace
}  // namespace memgov::kernel
