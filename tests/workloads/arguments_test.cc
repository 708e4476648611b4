#include "tests/workloads/arguments.h"

#include <gtest/gtest.h>

#include <vector>

namespace memgov::workloads {
namespace {

Arguments With(std::vector<const char*> words) {
  static std::vector<const char*> kept;
  kept = std::move(words);
  kept.insert(kept.begin(), "program");
  Arguments arguments(static_cast<int>(kept.size()), const_cast<char**>(kept.data()), "usage\n");
  EXPECT_TRUE(arguments.Next());
  return arguments;
}

TEST(ArgumentsTest, ReadsSizesWithUnits) {
  EXPECT_EQ(With({"--grow", "300MiB"}).Size(), 300 * kMiB);
  EXPECT_EQ(With({"--grow", "4KiB"}).Size(), 4096u);
  EXPECT_EQ(With({"--grow", "1.5GiB"}).Size(), 1536 * kMiB);
  EXPECT_EQ(With({"--grow", "17"}).Size(), 17u);
}

TEST(ArgumentsTest, ReadsShares) { EXPECT_DOUBLE_EQ(With({"--keep", "10%"}).Percent(), 0.1); }

TEST(ArgumentsTest, SaysWhatIsWrong) {
  EXPECT_EXIT(With({"--grow", "300MB"}).Size(), testing::ExitedWithCode(2),
              "--grow: a size ends in KiB, MiB or GiB");
  EXPECT_EXIT(With({"--grow", "-1MiB"}).Size(), testing::ExitedWithCode(2), "not a number");
  EXPECT_EXIT(With({"--grow"}).Size(), testing::ExitedWithCode(2), "a value is missing");
  EXPECT_EXIT(With({"--keep", "110%"}).Percent(), testing::ExitedWithCode(2), "a share is written as 10%");
  EXPECT_EXIT(With({"--pattern", "holes"}).OneOf({"runs", "scattered"}), testing::ExitedWithCode(2),
              "not one of the choices");
}

}  // namespace
}  // namespace memgov::workloads
