// What an honest governor does stays within the bounds; what more does is bounded.

#include "client/c/bounds.h"

#include <gtest/gtest.h>

namespace memgov::testing {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kStart = 3'600'000 * kMs;

TEST(BoundsTest, MessagesAtOnceThenSoManyASecond) {
  mg_bounds bounds = {};
  std::uint64_t now = kStart;
  for (int i = 0; i < MG_MESSAGES_AT_ONCE; ++i) ASSERT_TRUE(mg_bounds_message(&bounds, now)) << i;
  EXPECT_FALSE(mg_bounds_message(&bounds, now));
  now += 1000 * kMs;
  for (int i = 0; i < MG_MESSAGES_A_SECOND; ++i) ASSERT_TRUE(mg_bounds_message(&bounds, now)) << i;
  EXPECT_FALSE(mg_bounds_message(&bounds, now));
}

// A policy's shortest cooldown is 100 ms, of which a fiftieth is less than a tick of 10 ms; a setting comes
// with it.
TEST(BoundsTest, TheBusiestHonestGovernorIsNoFlood) {
  mg_bounds bounds = {};
  for (int tick = 0; tick < 6000; ++tick) {
    const std::uint64_t now = kStart + tick * 10 * kMs;
    ASSERT_TRUE(mg_bounds_message(&bounds, now)) << tick;
    ASSERT_TRUE(mg_bounds_message(&bounds, now)) << tick;
    ASSERT_TRUE(mg_bounds_bytes(&bounds, 600, now)) << tick;
  }
}

TEST(BoundsTest, BytesAtOnceThenSoManyASecond) {
  mg_bounds bounds = {};
  for (int i = 0; i < MG_BYTES_AT_ONCE / 1024; ++i) ASSERT_TRUE(mg_bounds_bytes(&bounds, 1024, kStart)) << i;
  EXPECT_FALSE(mg_bounds_bytes(&bounds, 1024, kStart));
  EXPECT_FALSE(mg_bounds_bytes(&bounds, 1024, kStart + 15 * kMs));
  EXPECT_TRUE(mg_bounds_bytes(&bounds, 1024, kStart + 16 * kMs));
}

// Requests of `took` each, `rest` between an answer and the next, for a minute: how many were declined, and
// the part of the time that the rest took.
struct Minute {
  int declined = 0;
  double part = 0;
};

Minute Work(std::uint64_t took, std::uint64_t rest) {
  mg_bounds bounds = {};
  Minute minute;
  std::uint64_t worked = 0;
  for (std::uint64_t now = kStart; now < kStart + 60'000 * kMs;) {
    if (mg_bounds_may_work(&bounds, now)) {
      mg_bounds_worked(&bounds, took, now);
      worked += took;
      now += took;
    } else {
      ++minute.declined;
    }
    now += rest;
  }
  minute.part = static_cast<double>(worked) / (60'000.0 * kMs);
  return minute;
}

// governor/core/ledger.cc: a rest of 20 times what it took, or 4 times where time is short, at most the
// policy's cooldown (5 s by default).
TEST(BoundsTest, AnHonestGovernorIsNeverTooSoon) {
  for (const std::uint64_t took : {1 * kMs, 30 * kMs, 250 * kMs, 1250 * kMs, 2000 * kMs, 8000 * kMs}) {
    EXPECT_EQ(Work(took, std::min(4 * took, 5000 * kMs)).declined, 0) << took;
    EXPECT_EQ(Work(took, std::min(20 * took, 5000 * kMs)).declined, 0) << took;
  }
}

TEST(BoundsTest, SecondsBeforeAKillItMayWorkWithoutRest) {
  mg_bounds bounds = {};
  std::uint64_t now = kStart;
  for (int i = 0; i < 20; ++i, now += 110 * kMs) {  // a fiftieth of 500 ms
    ASSERT_TRUE(mg_bounds_may_work(&bounds, now)) << i;
    mg_bounds_worked(&bounds, 100 * kMs, now);
  }
}

TEST(BoundsTest, WhoAsksWithoutRestGetsAQuarterOfTheTime) {
  const Minute minute = Work(5 * kMs, 1 * kMs);
  EXPECT_GT(minute.declined, 0);
  EXPECT_NEAR(minute.part, 0.25 + 2.0 / 60, 0.01);  // and what it may at once
}

}  // namespace
}  // namespace memgov::testing
