#include "governor/base/fair_rate.h"

#include <gtest/gtest.h>

#include <string>

namespace memgov::base {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::Instant kStart{seconds(100)};
constexpr FairRate::Limits kLimits{.per_second = 10, .burst = 50, .most = 100, .window = seconds(1)};

// How many of `tries` turns a tenant gets at one moment.
int Turns(FairRate* rate, const std::string& tenant, core::Instant now, int tries) {
  int got = 0;
  for (int i = 0; i < tries; ++i) got += rate->Take(tenant, now) ? 1 : 0;
  return got;
}

TEST(FairRate, EachTenantHasABurstAndARate) {
  FairRate rate(kLimits);
  EXPECT_EQ(Turns(&rate, "/a", kStart, 500), 50);
  EXPECT_EQ(Turns(&rate, "/b", kStart, 20), 20) << "another has its own";
  EXPECT_EQ(Turns(&rate, "/a", kStart + seconds(2), 500), 20);
}

TEST(FairRate, WhoeverHasManyTenantsHasTheTurnsOfOne) {
  FairRate rate(kLimits);
  int evil = 0;
  for (int i = 0; i < 40; ++i) evil += Turns(&rate, "/evil/x" + std::to_string(i), kStart, 50);
  EXPECT_GE(evil, 100);
  EXPECT_LE(evil, 170);
  EXPECT_EQ(Turns(&rate, "/good", kStart + milliseconds(1), 50), 25);
  EXPECT_EQ(Turns(&rate, "/evil/y", kStart + milliseconds(2), 50), 0);
  EXPECT_EQ(Turns(&rate, "/evil/y", kStart + milliseconds(1001), 50), 50) << "in the next window again";
}

// As after a restart: many tenants that all connect without pause, and some that come back now and then.
TEST(FairRate, ManyWhoConnectAllTheTimeDoNotStarveTheOthers) {
  FairRate rate({.per_second = 200, .burst = 1000, .most = 1200});
  int good = 0;
  for (int ms = 0; ms < 10'000; ++ms) {
    const core::Instant now = kStart + milliseconds(ms);
    for (int evil = 0; evil < 35; ++evil) rate.Take("container /evil" + std::to_string(evil), now);
    // 10 honest ones, each of whom tries 20 times a second.
    if (ms % 5 == 0) good += rate.Take("container /good" + std::to_string(ms / 5 % 10), now) ? 1 : 0;
  }
  EXPECT_GE(good, 2000 * 9 / 10) << "of 2,000";
}

TEST(FairRate, ARefusedTurnCostsNothing) {
  FairRate rate({.per_second = 10, .burst = 5, .most = 100, .window = seconds(1)});
  EXPECT_EQ(Turns(&rate, "/a", kStart, 1000), 5);
  EXPECT_EQ(Turns(&rate, "/a", kStart + milliseconds(100), 1000), 1);
}

TEST(FairRate, WhatATurnHasCostIsChargedToItsTenantOnceItHasSomeLeft) {
  FairRate rate(kLimits);
  EXPECT_TRUE(rate.Take("/a", kStart));
  for (int i = 0; i < 100; ++i) rate.Charge("/a", 20, kStart);
  EXPECT_FALSE(rate.Take("/a", kStart + seconds(1)));
  EXPECT_TRUE(rate.Take("/a", kStart + seconds(2))) << "its debt is one charge at most";
  EXPECT_EQ(Turns(&rate, "/b", kStart, 50), 50) << "another does not pay";
  rate.Charge("/unheard of", 20, kStart);
}

TEST(FairRate, ForgetsWhoHasItsWholeBurstAgain) {
  FairRate rate(kLimits);
  for (int i = 0; i < 100000; ++i) {
    rate.Take("/evil/x" + std::to_string(i), kStart + milliseconds(10 * i));
    ASSERT_LE(rate.remembered(), 200u);
  }
}

}  // namespace
}  // namespace memgov::base
