#include "governor/core/range.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace memgov::core {
namespace {

constexpr Bytes kHighest = std::numeric_limits<Bytes>::max();
constexpr Bytes kLowest = std::numeric_limits<Bytes>::min();

TEST(RangeTest, ASumStaysAtTheEndOfTheRange) {
  EXPECT_EQ(SaturatedSum(3 * kGiB, -kGiB), 2 * kGiB);
  EXPECT_EQ(SaturatedSum(kHighest - 1, 1), kHighest);
  EXPECT_EQ(SaturatedSum(kHighest - 65536, 70000), kHighest);
  EXPECT_EQ(SaturatedSum(kHighest, kHighest), kHighest);
  EXPECT_EQ(SaturatedSum(kLowest + 1, -2), kLowest);
  EXPECT_EQ(SaturatedSum(kHighest, kLowest), -1);
}

TEST(RangeTest, AFigureOutOfRangeIsTheEndOfTheRange) {
  EXPECT_EQ(BytesOf(1.9), 1);
  EXPECT_EQ(BytesOf(-1.9), -1);
  EXPECT_EQ(BytesOf(9223372036854774784.0), Bytes{9223372036854774784});  // the last double below 2^63
  EXPECT_EQ(BytesOf(9223372036854775808.0), kHighest);
  EXPECT_EQ(BytesOf(std::numeric_limits<double>::infinity()), kHighest);
  EXPECT_EQ(BytesOf(-1e300), kLowest);
  EXPECT_EQ(BytesOf(std::nan("")), 0);
}

}  // namespace
}  // namespace memgov::core
