#include "governor/base/fair_share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace memgov::base {
namespace {

// `count` holders of one tenant, from number `first` on.
void AddMany(FairShare* shares, const std::string& tenant, FairShare::Holder first, int count) {
  for (int i = 0; i < count; ++i) shares->Add(tenant, first + static_cast<FairShare::Holder>(i));
}

TEST(FairShare, CountsWhatEachTenantHolds) {
  FairShare shares;
  AddMany(&shares, "/a/b", 1, 3);
  shares.Add("/a", 10);
  EXPECT_EQ(shares.total(), 4u);
  EXPECT_EQ(shares.CountOf("/a/b"), 3u);
  EXPECT_EQ(shares.CountOf("/a"), 1u) << "what is below is not its own";
  EXPECT_EQ(shares.CountOf("/a/c"), 0u);
  EXPECT_TRUE(shares.Remove(1));
  EXPECT_FALSE(shares.Remove(1));
  EXPECT_EQ(shares.CountOf("/a/b"), 2u);
  EXPECT_EQ(shares.total(), 3u);
}

TEST(FairShare, TheTenantThatHoldsMostYields) {
  FairShare shares;
  AddMany(&shares, "/big", 1, 5);
  AddMany(&shares, "/small", 10, 2);
  EXPECT_EQ(shares.WhoYields("/small"), 5u) << "the last that came to the big one";
  EXPECT_EQ(shares.WhoYields("/new"), 5u);
  EXPECT_EQ(shares.WhoYields("/big"), std::nullopt) << "the newcomer itself";
}

TEST(FairShare, AmongEqualsTheNewcomerYields) {
  FairShare shares;
  AddMany(&shares, "/a", 1, 2);
  AddMany(&shares, "/b", 10, 2);
  EXPECT_EQ(shares.WhoYields("/a"), std::nullopt);
  EXPECT_EQ(shares.WhoYields("/b"), std::nullopt);
  shares.Remove(11);
  EXPECT_EQ(shares.WhoYields("/b"), std::nullopt) << "it would have as many as the other then";
  shares.Remove(10);
  EXPECT_EQ(shares.WhoYields("/b"), 2u);
}

TEST(FairShare, ManyCgroupsOfOneSubtreeAreOneTenant) {
  FairShare shares;
  FairShare::Holder next = 100;
  for (int i = 0; i < 12; ++i, next += 125) AddMany(&shares, "/evil/x" + std::to_string(i), next, 125);
  AddMany(&shares, "/good", 1, 3);
  for (const char* tenant : {"/good", "/good/below", "/other"}) {
    const auto yields = shares.WhoYields(tenant);
    ASSERT_TRUE(yields.has_value()) << tenant;
    EXPECT_GE(*yields, 100u) << tenant;
  }
  EXPECT_TRUE(shares.WhoYields("/evil/another").has_value()) << "a sibling of it within the subtree";
  EXPECT_EQ(shares.WhoYields("/evil/x3"), std::nullopt);
}

TEST(FairShare, WhatACgroupHoldsItselfStandsBesideItsChildren) {
  FairShare shares;
  AddMany(&shares, "/a", 1, 10);
  AddMany(&shares, "/a/b", 20, 4);
  EXPECT_EQ(shares.WhoYields("/a/b"), 10u);
  EXPECT_EQ(shares.WhoYields("/a"), std::nullopt);
  AddMany(&shares, "/a/b", 30, 20);
  EXPECT_EQ(shares.WhoYields("/a"), 49u);
  EXPECT_EQ(shares.WhoYields("/a/b"), std::nullopt);
}

TEST(FairShare, ATenantThatIsNoPathDoesNotAnswerForItsBranch) {
  FairShare shares;
  FairShare::Holder next = 100;
  for (int i = 0; i < 60; ++i, next += 30) {
    AddMany(&shares, "container /kubepods/burstable/pod" + std::to_string(i), next, 30);
  }
  AddMany(&shares, "container /kubepods/besteffort/evil", 1, 90);
  EXPECT_EQ(shares.WhoYields("container /kubepods/burstable/new"), 90u);
}

TEST(FairShare, TheLeastRankYieldsFirst) {
  FairShare shares;
  shares.Add("/a", 1, 50);
  shares.Add("/a", 2, 10);
  shares.Add("/a", 3, 70);
  EXPECT_EQ(shares.WhoYieldsOf("/a", 20), 2u);
  EXPECT_EQ(shares.WhoYieldsOf("/a", 10), std::nullopt) << "no better than the least";
  EXPECT_EQ(shares.WhoYields("/b"), 2u);
  shares.SetRank(2, 60);
  EXPECT_EQ(shares.WhoYieldsOf("/a", 55), 1u);
  EXPECT_EQ(shares.WhoYields("/a", 55), 1u);
  EXPECT_EQ(shares.WhoYieldsOf("/nobody", 55), std::nullopt);
}

TEST(FairShare, WhatCannotBeTakenBackStaysWithinASmallMultiple) {
  FairShare shares;
  FairShare::Holder next = 0;
  const auto take = [&](const std::string& tenant, int tries) {
    int got = 0;
    for (int i = 0; i < tries && shares.Fits(tenant, 1000); ++i, ++got) shares.Add(tenant, ++next);
    return got;
  };
  for (int i = 0; i < 1000; ++i) take("/tenants/evil/x" + std::to_string(i), 1000);
  EXPECT_LE(shares.total(), 1700u);
  EXPECT_EQ(take("/tenants/good", 1000), 250) << "a sibling of all of them, at the level where they part";
  EXPECT_GE(take("/tenants/also/good", 1000), 100);
  EXPECT_EQ(take("/tenants/evil/another", 1000), 0);
  for (int i = 0; i < 1000; ++i)
    take("/tenants/evil/x/" + std::to_string(i % 10) + "/" + std::to_string(i), 1000);
  EXPECT_LE(shares.total(), 3000u) << "nor by levels";
}

TEST(FairShare, DeepPathsAreOneWithWhatLiesAtTheLastLevel) {
  FairShare shares;
  std::string deep;
  for (int i = 0; i < FairShare::kMostLevels; ++i) deep += "/d";
  shares.Add(deep, 1);
  shares.Add(deep + "/e", 2);
  shares.Add(deep + std::string(2000, '/') + "f/g", 3);
  EXPECT_EQ(shares.CountOf(deep), 3u);
}

TEST(FairShare, OddPathsAreTenantsToo) {
  FairShare shares;
  shares.Add("/", 1);
  shares.Add("", 2);
  shares.Add("//a//b/", 3);
  EXPECT_EQ(shares.CountOf("/"), 2u);
  EXPECT_EQ(shares.CountOf("/a/b"), 1u);
}

// Whoever yields can be named from plain counts; and a long life leaves nothing behind.
TEST(FairShare, AgreesWithPlainCountsInALongLife) {
  std::mt19937 random(7);
  FairShare shares;
  const std::vector<std::string> tenants{"/a", "/a/b", "/a/c", "/d/e/f", "/d", "container /a/b", "/g"};
  std::vector<std::pair<FairShare::Holder, std::string>> held;
  for (FairShare::Holder next = 1; next < 5000; ++next) {
    if (random() % 2 == 0 || held.empty()) {
      const std::string& tenant = tenants[random() % tenants.size()];
      shares.Add(tenant, next);
      held.emplace_back(next, tenant);
    } else {
      const std::size_t i = random() % held.size();
      EXPECT_TRUE(shares.Remove(held[i].first));
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ASSERT_EQ(shares.total(), held.size());
    const std::string& newcomer = tenants[random() % tenants.size()];
    const auto in = [&](std::string_view branch) {
      return std::count_if(held.begin(), held.end(), [&](const auto& one) {
        return one.second == branch || one.second.starts_with(std::string(branch) + "/");
      });
    };
    // At the root: the branch of whoever yields is no smaller than any other.
    const auto yields = shares.WhoYields(newcomer);
    if (!yields) continue;
    const auto loser =
        std::find_if(held.begin(), held.end(), [&](const auto& one) { return one.first == *yields; });
    ASSERT_NE(loser, held.end());
    const auto branch = [](const std::string& tenant) {
      return tenant.starts_with('/') ? tenant.substr(0, tenant.find('/', 1)) : tenant;
    };
    const auto of_loser = in(branch(loser->second));
    for (const std::string& tenant : tenants) {
      const int newcomers = branch(tenant) == branch(newcomer) ? 1 : 0;
      EXPECT_GE(of_loser + (branch(loser->second) == branch(newcomer) ? 1 : 0),
                in(branch(tenant)) + newcomers);
    }
  }
  for (const auto& [holder, tenant] : held) shares.Remove(holder);
  EXPECT_EQ(shares.total(), 0u);
  EXPECT_EQ(shares.WhoYields("/a"), std::nullopt);
}

}  // namespace
}  // namespace memgov::base
