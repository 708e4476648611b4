#include "governor/base/tally.h"

#include <gtest/gtest.h>

#include <string>

namespace memgov::base {
namespace {

using std::chrono::seconds;

constexpr core::Instant kStart{seconds(100)};

TEST(Tally, TellsEachTenantOnceInAWhile) {
  Tally tally(seconds(10), 8);
  for (int i = 0; i < 5; ++i) tally.Count("/a", kStart + seconds(i));
  tally.Count("/b", kStart + seconds(3));
  EXPECT_TRUE(tally.Due(kStart + seconds(9)).empty());
  const auto lines = tally.Due(kStart + seconds(10));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].who, "/a");
  EXPECT_EQ(lines[0].count, 5u);
  EXPECT_EQ(lines[0].over, seconds(10));
  EXPECT_EQ(tally.Due(kStart + seconds(13)).size(), 1u);
  EXPECT_TRUE(tally.Due(kStart + seconds(1000)).empty()) << "what was told is forgotten";
}

TEST(Tally, OthersAreCountedTogether) {
  Tally tally(seconds(10), 4);
  for (int i = 0; i < 1000; ++i) tally.Count("/t" + std::to_string(i), kStart);
  tally.Count("/t0", kStart);
  const auto lines = tally.Due(kStart + seconds(10));
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].who, "");
  EXPECT_EQ(lines[0].count, 996u);
  EXPECT_EQ(lines[1].who, "/t0");
  EXPECT_EQ(lines[1].count, 2u);
}

}  // namespace
}  // namespace memgov::base
