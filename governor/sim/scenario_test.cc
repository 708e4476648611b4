#include "governor/sim/scenario.h"

#include <gtest/gtest.h>

#include "governor/sim/campaign.h"

namespace memgov::sim {
namespace {

TEST(Scenario, OfOneSeedIsOneWorld) {
  const RunOptions record{.record = true};
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const RunResult first = RunScenario(DrawScenario(seed), Arm::kMemgov, record);
    const RunResult second = RunScenario(DrawScenario(seed), Arm::kMemgov, record);
    EXPECT_EQ(first.digest, second.digest);
    EXPECT_EQ(first.tally.work, second.tally.work);
  }
  EXPECT_NE(RunScenario(DrawScenario(1), Arm::kMemgov, record).digest,
            RunScenario(DrawScenario(2), Arm::kMemgov, record).digest);
}

TEST(Scenario, OfTheDemoEndsAsTheDemoDoes) {
  for (const bool v2 : {false, true}) {
    const Scenario demo = DemoScenario(v2);
    const RunResult without = RunScenario(demo, Arm::kNothing);
    ASSERT_EQ(without.tally.kills.size(), 1U);
    EXPECT_EQ(demo.services[static_cast<std::size_t>(without.tally.kills[0].service)].name, "redis");
    EXPECT_TRUE(RunScenario(demo, Arm::kMemgov).tally.kills.empty());
  }
}

}  // namespace
}  // namespace memgov::sim
