#include "governor/owner_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace memgov {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr core::Instant kStart{seconds(100)};

bool Admits(OwnerBudget* budget, OwnerBudget::Cookie cookie, const std::string& tenant,
            core::Bytes size = core::kMiB, core::Instant now = kStart) {
  return budget->Add(cookie, tenant, size, now).refusal.empty();
}

TEST(OwnerBudget, AServerMayStartFiveHundredWorkersAtOnce) {
  OwnerBudget budget({});
  for (OwnerBudget::Cookie cookie = 1; cookie <= 500; ++cookie) {
    EXPECT_TRUE(Admits(&budget, cookie, "/server")) << cookie;
  }
  EXPECT_EQ(budget.silent(), 500u);
}

TEST(OwnerBudget, SilentOnesAreBoundedForEachTenant) {
  OwnerBudget budget({});
  OwnerBudget::Cookie cookie = 0;
  while (Admits(&budget, ++cookie, "/evil")) {
  }
  EXPECT_EQ(budget.silent(), 750u);
  const auto refused = budget.Add(++cookie, "/evil", 0, kStart);
  EXPECT_TRUE(refused.unheard);
  EXPECT_THAT(refused.refusal, HasSubstr("750 connections of this tenant have not said Hello"));
  EXPECT_TRUE(Admits(&budget, ++cookie, "/good"));
  budget.SaidHello(1);
  EXPECT_TRUE(Admits(&budget, ++cookie, "/evil")) << "one that speaks is not silent";
  budget.Remove(2);
  EXPECT_TRUE(Admits(&budget, ++cookie, "/evil")) << "nor one that has left";
}

TEST(OwnerBudget, TheSilentOfManyCgroupsYieldToOthers) {
  OwnerBudget budget({});
  OwnerBudget::Cookie cookie = 0;
  for (int i = 0; i < 50; ++i) {
    for (int k = 0; k < 400; ++k) Admits(&budget, ++cookie, "/evil/x" + std::to_string(i));
  }
  EXPECT_EQ(budget.silent(), 4096u);
  const auto answer = budget.Add(++cookie, "/good", 0, kStart);
  EXPECT_EQ(answer.refusal, "");
  EXPECT_EQ(answer.yields.size(), 1u);
  EXPECT_EQ(budget.silent(), 4096u);
}

TEST(OwnerBudget, WhoSaysNothingInTimeIsForgottenTheOldestFirst) {
  OwnerBudget budget({.hello_within = seconds(5)});
  for (OwnerBudget::Cookie cookie : {3, 1, 2, 4}) {
    Admits(&budget, cookie, "/a", 0, kStart + seconds(cookie == 4 ? 1 : 0));
  }
  budget.SaidHello(1);
  EXPECT_THAT(budget.TakeOverdue(kStart + seconds(4)), IsEmpty());
  EXPECT_THAT(budget.TakeOverdue(kStart + seconds(5)), ElementsAre(3, 2));
  EXPECT_THAT(budget.TakeOverdue(kStart + seconds(50)), ElementsAre(4));
  EXPECT_EQ(budget.silent(), 0u);
  EXPECT_EQ(budget.total(), 1u);
}

TEST(OwnerBudget, ABigProcessTakesTheSmallestOnesPlace) {
  OwnerBudget budget({.per_tenant = 64});
  for (OwnerBudget::Cookie cookie = 1; cookie <= 64; ++cookie) {
    EXPECT_TRUE(Admits(&budget, cookie, "/a", core::Bytes(cookie == 9 ? 3 : 5) * core::kMiB));
    budget.SaidHello(cookie);
  }
  EXPECT_THAT(budget.Add(100, "/a", 5 * core::kMiB, kStart).refusal,
              HasSubstr("has 64 connections to memgovd, its most"));
  const auto answer = budget.Add(101, "/a", 300 * core::kMiB, kStart);
  EXPECT_EQ(answer.refusal, "");
  EXPECT_THAT(answer.yields, ElementsAre(9));
  EXPECT_EQ(budget.total(), 64u);
  EXPECT_FALSE(Admits(&budget, 102, "/a", 3 * core::kMiB)) << "it may not come back in its place";
  budget.SetSize(20, 100 * core::kKiB);
  EXPECT_THAT(budget.Add(103, "/a", 5 * core::kMiB, kStart).yields, ElementsAre(20));
}

TEST(OwnerBudget, NobodyHasToGoForOneWhoIsRefused) {
  OwnerBudget budget({.per_tenant = 4, .most_silent = 3, .silent_per_tenant = 3});
  for (OwnerBudget::Cookie cookie = 1; cookie <= 4; ++cookie) {
    EXPECT_TRUE(Admits(&budget, cookie, "/a"));
    budget.SaidHello(cookie);
  }
  for (OwnerBudget::Cookie cookie = 11; cookie <= 13; ++cookie) {
    EXPECT_TRUE(Admits(&budget, cookie, "/b" + std::to_string(cookie)));
  }
  // It is large enough for the place of a small one of its tenant, but too many say nothing.
  const auto answer = budget.Add(5, "/a", 300 * core::kMiB, kStart);
  EXPECT_THAT(answer.refusal, HasSubstr("3 connections have not said Hello yet"));
  EXPECT_THAT(answer.yields, IsEmpty());
  EXPECT_EQ(budget.total(), 7u);
}

TEST(OwnerBudget, DescriptorsAreSharedAlongPaths) {
  const OwnerBudget::Limits limits = OwnerBudget::LimitsFor(1024, 1000);
  EXPECT_EQ(limits.most, 256u) << "two each, and half are ours";
  EXPECT_EQ(limits.per_tenant, 256u);
  OwnerBudget budget(limits);
  OwnerBudget::Cookie cookie = 0;
  for (int i = 0; i < 12; ++i) {
    for (int k = 0; k < 125; ++k) {
      if (Admits(&budget, ++cookie, "/evil/x" + std::to_string(i))) budget.SaidHello(cookie);
    }
  }
  EXPECT_EQ(budget.total(), 256u);
  EXPECT_THAT(budget.Add(++cookie, "/evil/x0", 0, kStart).refusal, HasSubstr("raise its RLIMIT_NOFILE"));
  for (int k = 0; k < 100; ++k) EXPECT_TRUE(Admits(&budget, ++cookie, "/good")) << k;
  EXPECT_EQ(budget.total(), 256u);
}

TEST(OwnerBudget, FewFilesAreFewOwners) {
  for (const std::size_t files : {0u, 8u, 64u}) {
    const OwnerBudget::Limits limits = OwnerBudget::LimitsFor(files, 1000);
    EXPECT_GE(limits.most, 8u);
    EXPECT_LE(limits.most, 16u);
    EXPECT_GE(limits.silent_per_tenant, 1u);
    EXPECT_LT(limits.silent_per_tenant, limits.most) << "one tenant's silence leaves room for another's";
  }
  EXPECT_EQ(OwnerBudget::LimitsFor(1 << 20, 1000).most, 20000u);
}

}  // namespace
}  // namespace memgov
