#include "governor/core/cadence.h"

#include <gtest/gtest.h>

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Duration UsageEvery(Bytes to_wire, double bytes_per_second = 0) {
  return CadenceFor({.to_wire = to_wire, .limit = kGiB, .bytes_per_second = bytes_per_second}).usage_every;
}

TEST(Cadence, WithoutALimitTheSlowestWillDo) {
  EXPECT_EQ(CadenceFor({}), (Cadence{.usage_every = seconds(1), .stat_every = seconds(10)}));
  EXPECT_EQ(CadenceFor({.bytes_per_second = 1e12}), Cadence{});
  EXPECT_EQ(CadenceFor({.to_wire = 0, .limit = 0}), Cadence{});
}

TEST(Cadence, InNeedItIs100HzForTwoSecondsThen10Hz) {
  EXPECT_EQ(CadenceFor({.in_need = true}).usage_every, milliseconds(10));
  EXPECT_EQ(CadenceFor({.in_need = true, .in_need_for = milliseconds(1999)}).usage_every, milliseconds(10));
  EXPECT_EQ(CadenceFor({.in_need = true, .in_need_for = seconds(2)}).usage_every, milliseconds(100));
  EXPECT_EQ(CadenceFor({.in_need = true}).stat_every, milliseconds(10));
}

TEST(Cadence, NearerToTheWireItIsReadMoreOften) {
  EXPECT_EQ(UsageEvery(kGiB / 2), seconds(1));
  EXPECT_EQ(UsageEvery(kGiB / 5 + kMiB), seconds(1));
  EXPECT_EQ(UsageEvery(kGiB / 5 - kMiB), milliseconds(250));
  EXPECT_EQ(UsageEvery(kGiB / 20 - kMiB), milliseconds(100));
  EXPECT_EQ(UsageEvery(0), milliseconds(100));
}

TEST(Cadence, AGrowerIsReadAtLeastFourTimesBeforeTheWire) {
  EXPECT_EQ(UsageEvery(512 * kMiB, 100.0 * kMiB), seconds(1));  // 5.1 s away
  EXPECT_EQ(UsageEvery(512 * kMiB, 200.0 * kMiB), milliseconds(250));
  EXPECT_EQ(UsageEvery(512 * kMiB, 1024.0 * kMiB), milliseconds(100));
  EXPECT_EQ(UsageEvery(512 * kMiB, 4096.0 * kMiB), milliseconds(25));
  EXPECT_EQ(UsageEvery(512 * kMiB, 1e15), milliseconds(10));
}

}  // namespace
}  // namespace memgov::core
