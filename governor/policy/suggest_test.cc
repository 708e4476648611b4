// Suggestions: near words are found, far ones are left alone.

#include "governor/policy/suggest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace memgov::policy {
namespace {

TEST(EditDistance, CountsLetters) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("usage", "usage"), 0);
  EXPECT_EQ(EditDistance("usge", "usage"), 1);
  EXPECT_EQ(EditDistance("usagge", "usage"), 1);
  EXPECT_EQ(EditDistance("usaje", "usage"), 1);
  EXPECT_EQ(EditDistance("wkae", "wake"), 1) << "neighbours swapped are one mistake";
  EXPECT_EQ(EditDistance("brake", "wake"), 2);
}

TEST(DidYouMean, NamesTheNearestWord) {
  const std::vector<std::string> keys{"name", "match", "mode", "wake", "timeToLimit", "longestStall"};
  EXPECT_EQ(DidYouMean("mod", keys), " (did you mean \"mode\"?)");
  EXPECT_EQ(DidYouMean("wkae", keys), " (did you mean \"wake\"?)");
  EXPECT_EQ(DidYouMean("MODE", keys), " (did you mean \"mode\"?)");
  EXPECT_EQ(DidYouMean("time_to_limit", keys), " (did you mean \"timeToLimit\"?)");
  EXPECT_EQ(DidYouMean("longest_stall", keys), " (did you mean \"longestStall\"?)");
}

TEST(DidYouMean, QuotesASuggestionMadeOfTheFilesText) {
  EXPECT_EQ(DidYouMean("/\r\n"), " (did you mean \"/\\r\\n\"?)");
}

TEST(DidYouMean, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(DidYouMean("namespace", {"name", "mode"}), "");
  EXPECT_EQ(DidYouMean("", {"name"}), "");
  EXPECT_EQ(DidYouMean("x", {}), "");
  EXPECT_EQ(DidYouMean(std::string(1 << 20, 'a'), {"name"}), "");
}

}  // namespace
}  // namespace memgov::policy
