#include "governor/sim/demand.h"

#include <gtest/gtest.h>

namespace memgov::sim {
namespace {

TEST(Demand, IsStraightBetweenItsPointsAndLevelOutside) {
  const Demand demand = Demand::Ramp(100, 300, 10, 20);
  EXPECT_EQ(demand.At(0), 100);
  EXPECT_EQ(demand.At(20), 200);
  EXPECT_EQ(demand.At(1000), 300);
  EXPECT_EQ(demand.SlopeAfter(10), 10);
  EXPECT_EQ(demand.SlopeAfter(30), 0);
  EXPECT_EQ(demand.NextBreak(5), 10);
  EXPECT_EQ(demand.NextBreak(10), 30);
  EXPECT_EQ(demand.NextBreak(30), std::nullopt);
}

TEST(Demand, OfBurstsStaysBetweenLowAndHighAndGrowsNoFasterThanTold) {
  Random random(7);
  const Demand demand = Demand::Bursts(random, 100, 1000, 50, 600);
  for (double at = 0; at < 600; at += 0.1) {
    EXPECT_GE(demand.At(at), 100 - 1e-6);
    EXPECT_LE(demand.At(at), 1000 + 1e-6);
    EXPECT_LE(demand.SlopeAfter(at), 50 + 1e-6);
  }
}

TEST(Demand, OpensWithAPeakAndGoesOnAsBefore) {
  const Demand demand = Demand::Ramp(100, 300, 10, 20).WithOpening(500, 4, 2);
  EXPECT_EQ(demand.At(3), 500);
  EXPECT_EQ(demand.At(6), 100);
  EXPECT_EQ(demand.At(20), 200);
}

}  // namespace
}  // namespace memgov::sim
