#include "governor/kernel/node.h"

#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

constexpr core::Instant kNow(std::chrono::seconds(7));

class NodeTest : public testing::Test {
 protected:
  NodeTest() : meminfo_(files_.Directory("/meminfo")), pressure_(files_.Directory("/pressure")) {}
  FakeHierarchy files_{MemoryVersion::kV2};
  std::string meminfo_;
  std::string pressure_;
};

TEST_F(NodeTest, UsageIsTotalLessAvailable) {
  WriteFile(meminfo_, "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\nSwapFree: 7 kB\n");
  NodeSampler node(meminfo_, pressure_);
  auto sample = node.Sample(kNow);
  ASSERT_TRUE(sample.has_value());
  EXPECT_EQ(sample->id, core::kNodeId);
  EXPECT_EQ(sample->taken_at, kNow);
  EXPECT_EQ(sample->usage, 600 * core::kKiB);
  EXPECT_EQ(sample->limit, 1000 * core::kKiB);
  EXPECT_EQ(sample->swap_left, 7 * core::kKiB);
  EXPECT_FALSE(sample->pressure.has_value());

  WriteFile(meminfo_, "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 100 kB\nSwapFree: 7 kB\n");
  sample = node.Sample(kNow);
  ASSERT_TRUE(sample.has_value());
  EXPECT_EQ(sample->usage, 900 * core::kKiB);
}

TEST_F(NodeTest, MoreAvailableThanThereIsMeansNoUsage) {
  WriteFile(meminfo_, "MemTotal: 1000 kB\nMemAvailable: 1001 kB\nSwapFree: 7 kB\n");
  EXPECT_EQ(NodeSampler(meminfo_, pressure_).Sample(kNow)->usage, 0);
}

TEST_F(NodeTest, MissingOrBrokenFilesGiveNoSample) {
  EXPECT_FALSE(NodeSampler(meminfo_, pressure_).Sample(kNow).has_value());
  WriteFile(meminfo_, "MemTotal: lots\n");
  EXPECT_FALSE(NodeSampler(meminfo_, pressure_).Sample(kNow).has_value());
}

TEST_F(NodeTest, ReadsThisMachine) {
  const auto sample = NodeSampler().Sample(kNow);
  ASSERT_TRUE(sample.has_value());
  EXPECT_GT(sample->usage, 0);
  EXPECT_GT(sample->limit, sample->usage);
}

}  // namespace
}  // namespace memgov::kernel
