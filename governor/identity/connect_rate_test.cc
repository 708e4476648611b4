#include "governor/identity/connect_rate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace memgov::identity {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::Instant kStart{seconds(100)};

TEST(ConnectRate, AServerMayStartItsWorkersAtOnce) {
  ConnectRate rate({});
  for (int pid = 1; pid <= 1000; ++pid) EXPECT_TRUE(rate.Admit(pid, "/server", kStart)) << pid;
  EXPECT_FALSE(rate.Admit(1001, "/server", kStart));
  EXPECT_TRUE(rate.Admit(2000, "/other", kStart));
}

TEST(ConnectRate, ALoopOfOneProcessIsRefusedByItsPid) {
  ConnectRate rate({});
  int admitted = 0;
  int unseen = 0;
  for (int i = 0; i < 100000; ++i) {  // 10 s of 10,000 a second
    const core::Instant now = kStart + i * milliseconds(1) / 10;
    if (rate.RefusesUnseen(7, now)) {
      ++unseen;
    } else if (rate.Admit(7, "/evil", now)) {
      ++admitted;
    }
  }
  EXPECT_LE(admitted, 1000 + 100) << "who goes on connecting has no turns but those of the beginning";
  EXPECT_GE(unseen, 98000) << "of the others nearly all cost nothing";
  EXPECT_FALSE(rate.RefusesUnseen(8, kStart + seconds(10))) << "another process of the tenant is looked at";
}

TEST(ConnectRate, WhoConnectsALittleTooOftenKeepsNearlyAllOfItsTurns) {
  ConnectRate rate({});
  int admitted = 0;
  for (int i = 0; i < 4000 + 1000; ++i) {  // 1,000 at once, then 400 a second
    const core::Instant now = kStart + std::max(i - 1000, 0) * milliseconds(5) / 2;
    if (!rate.RefusesUnseen(i + 1, now) && rate.Admit(i + 1, "/many", now)) ++admitted;
  }
  EXPECT_GE(admitted, 1000 + 10 * 150);
  EXPECT_LE(admitted, 1000 + 10 * 200);
}

TEST(ConnectRate, AfterAFloodATenantIsServedAgainWithinASecond) {
  ConnectRate rate({});
  core::Instant now = kStart;
  for (int i = 0; i < 100000; ++i, now += milliseconds(1) / 10) {
    if (!rate.RefusesUnseen(7, now)) rate.Admit(7, "/evil", now);
  }
  EXPECT_TRUE(rate.Admit(8, "/evil", now + milliseconds(10))) << "another process of it";
  EXPECT_TRUE(rate.Admit(7, "/evil", now + seconds(1)));
}

TEST(ConnectRate, ATenantWhoseConnectionsAreAttacksSoonHasNone) {
  ConnectRate rate({});
  int admitted = 0;
  for (int i = 0; i < 10000; ++i) {  // 10 s of 1,000 a second
    const core::Instant now = kStart + i * milliseconds(1);
    if (!rate.Admit(i + 1, "/evil", now)) continue;
    ++admitted;
    rate.Charge("/evil", now);
  }
  EXPECT_LE(admitted, (1000 + 10 * 200) / 20);
}

TEST(ConnectRate, WhatWasRefusedIsToldNowAndThen) {
  ConnectRate rate({.limits = {.per_second = 1, .burst = 1, .most = 10}});
  EXPECT_TRUE(rate.Admit(1, "/a", kStart));
  EXPECT_FALSE(rate.Admit(1, "/a", kStart));
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(rate.RefusesUnseen(1, kStart + milliseconds(i)));
  EXPECT_TRUE(rate.TakeRefused(kStart + seconds(9)).empty());
  const auto lines = rate.TakeRefused(kStart + seconds(10));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].who, "/a");
  EXPECT_EQ(lines[0].count, 41u);
}

TEST(ConnectRate, WhoIsInNoPidNamespaceOfOursIsNotRemembered) {
  ConnectRate rate({.limits = {.per_second = 1, .burst = 1, .most = 10}});
  EXPECT_TRUE(rate.Admit(0, "unidentified", kStart));
  EXPECT_FALSE(rate.Admit(0, "unidentified", kStart));
  EXPECT_FALSE(rate.RefusesUnseen(0, kStart));
}

}  // namespace
}  // namespace memgov::identity
