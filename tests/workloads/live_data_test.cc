#include "tests/workloads/live_data.h"

#include <gtest/gtest.h>

#include "tests/workloads/arguments.h"

namespace memgov::workloads {
namespace {

TEST(LiveDataTest, GrowsToTheAskedResidentSize) {
  LiveData data;
  const std::uint64_t target = ResidentBytes() + 40 * kMiB;
  data.Grow(target);
  EXPECT_GE(ResidentBytes(), target);
  EXPECT_LT(ResidentBytes(), target + 8 * kMiB);
}

TEST(LiveDataTest, KeepsTheShareThatItIsAskedTo) {
  for (const Pattern pattern : {Pattern::kRuns, Pattern::kScattered}) {
    LiveData data;
    data.Grow(ResidentBytes() + 60 * kMiB);
    const double grown = static_cast<double>(data.live_bytes());
    data.Free(0.1, pattern);
    EXPECT_NEAR(static_cast<double>(data.live_bytes()) / grown, 0.1, 0.02);
    EXPECT_EQ(data.VerifyAll(), 0u);
  }
}

TEST(LiveDataTest, VerifiesInSlicesUpToTheEnd) {
  LiveData data;
  data.Grow(ResidentBytes() + 10 * kMiB);
  LiveData::Cursor cursor;
  int slices = 0;
  while (!cursor.at_end()) {
    EXPECT_EQ(data.Verify(kMiB, &cursor), 0u);
    ++slices;
  }
  EXPECT_GE(slices, 5);
}

TEST(LiveDataTest, NothingIsRightAtOnce) {
  LiveData data;
  LiveData::Cursor cursor;
  EXPECT_EQ(data.Verify(kMiB, &cursor), 0u);
  EXPECT_TRUE(cursor.at_end());
}

}  // namespace
}  // namespace memgov::workloads
