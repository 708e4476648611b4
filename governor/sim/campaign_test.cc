#include "governor/sim/campaign.h"

#include <gtest/gtest.h>

namespace memgov::sim {
namespace {

TEST(MissedKills, AreThoseBeyondTheOraclesWhereWhatWasLackingWasThere) {
  const Kill savable{.lacking = 2 * kMiBf, .spare = 2 * kMiBf};
  const Kill not_savable{.lacking = 2 * kMiBf, .spare = 1 * kMiBf};
  EXPECT_EQ(MissedKills({}, 0), 0U);
  EXPECT_EQ(MissedKills({savable, savable}, 0), 2U);
  EXPECT_EQ(MissedKills({savable, savable}, 1), 1U) << "one happens under the oracle too";
  EXPECT_EQ(MissedKills({savable, savable}, 5), 0U) << "the oracle has more";
  EXPECT_EQ(MissedKills({not_savable, not_savable, savable}, 0), 1U) << "they held too little";
  EXPECT_EQ(MissedKills({not_savable, not_savable, savable}, 2), 1U);
}

}  // namespace
}  // namespace memgov::sim
