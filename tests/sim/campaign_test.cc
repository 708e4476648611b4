// A thousand worlds, a million ticks: no house rule is broken in any, and the same seeds give the same
// decisions.

#include "governor/sim/campaign.h"

#include <gtest/gtest.h>

namespace memgov::sim {
namespace {

// A sanitizer without optimisation makes it about 30 times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kShare = 50;
#else
constexpr std::uint64_t kShare = 1;
#endif
constexpr std::uint64_t kWorlds = 1000 / kShare;
constexpr std::uint64_t kTicks = 1'000'000 / kShare;

CampaignOptions Worlds(std::uint64_t first, std::uint64_t last) {
  return {.first = first, .last = last, .arms = {Arm::kMemgov}, .run = {.check = true, .record = true}};
}

TEST(Campaign, KeepsTheInvariantsForAMillionTicks) {
  const CampaignResult campaign = RunCampaign(Worlds(1, kWorlds));
  for (const auto& [seed, what] : campaign.broken) {
    ADD_FAILURE() << what << "; see build/release/tests/sim/campaign --seed " << seed << " --trace";
  }
  EXPECT_GE(campaign.ticks, kTicks);
}

TEST(Campaign, IsToldTheSameTwice) {
  EXPECT_EQ(RunCampaign(Worlds(1, kWorlds / 10)).digest, RunCampaign(Worlds(1, kWorlds / 10)).digest);
}

}  // namespace
}  // namespace memgov::sim
