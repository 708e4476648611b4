#include "governor/kernel/tree_tenants.h"

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr core::Instant kStart(std::chrono::hours(1));

bool IsScope(std::string_view path) {
  return absl::EndsWith(absl::string_view(path.data(), path.size()), ".scope");
}

TEST(TreeTenantsTest, TheOutermostNameOrOwnerSaysWhoseItIs) {
  TreeTenants tenants(IsScope);
  TreeTenants::Tenant* slice = tenants.Of("/system.slice", nullptr, false);
  EXPECT_TRUE(slice->is_group);
  TreeTenants::Join(slice);
  TreeTenants::Tenant* scope = tenants.Of("/system.slice/a.scope", slice, false);
  EXPECT_EQ(scope->top, "/system.slice/a.scope");
  EXPECT_FALSE(scope->is_group);
  // Nothing that it makes below, whatever it calls it and whoever it gives it to, is another's.
  EXPECT_EQ(tenants.Of("/system.slice/a.scope/b.scope", scope, false), scope);
  EXPECT_EQ(tenants.Of("/system.slice/a.scope/kubepods", scope, true), scope);
  EXPECT_EQ(tenants.Of("/system.slice/plain", slice, false), slice);
  EXPECT_EQ(tenants.Of("/system.slice/given", slice, true)->top, "/system.slice/given");
}

TEST(TreeTenantsTest, AGroupAndATenantOfTheSamePathAreTwo) {
  TreeTenants tenants({});
  EXPECT_NE(tenants.Of("/a", nullptr, true), tenants.Of("/a", nullptr, false));
}

TEST(TreeTenantsTest, OneTooManyIsRefusedUntilAnotherGoes) {
  TreeTenants tenants({});
  TreeTenants::Tenant* tenant = tenants.Of("/a", nullptr, true);
  for (std::size_t i = 0; i < kTenantBounds.most; ++i) {
    ASSERT_TRUE(TreeTenants::MayJoin(tenant, kStart, true));
    TreeTenants::Join(tenant);
  }
  EXPECT_THAT(tenants.degraded(), IsEmpty());
  EXPECT_FALSE(TreeTenants::MayJoin(tenant, kStart, true));
  EXPECT_THAT(tenants.degraded(), ElementsAre(HasSubstr("/a has more than 1024 cgroups")));
  // Another has its own.
  EXPECT_TRUE(TreeTenants::MayJoin(tenants.Of("/b", nullptr, true), kStart, true));
  tenants.Leave(tenant);
  tenants.BeginWholeScan();
  EXPECT_TRUE(TreeTenants::MayJoin(tenant, kStart, true));
  EXPECT_THAT(tenants.degraded(), IsEmpty());
}

TEST(TreeTenantsTest, WhoMakesThemTooFastWaits) {
  TreeTenants tenants({});
  TreeTenants::Tenant* tenant = tenants.Of("/a", nullptr, true);
  int taken = 0;
  for (int ms = 0; ms < 10'000; ms += 2) {  // 500 a second for 10 s
    if (!TreeTenants::MayJoin(tenant, kStart + milliseconds(ms), false)) continue;
    TreeTenants::Join(tenant);
    ++taken;
    tenants.Leave(tenant);
    tenant = tenants.Of("/a", nullptr, true);
    TreeTenants::Join(tenant);
    break;
  }
  EXPECT_EQ(taken, 1);
  taken = 0;
  for (int ms = 0; ms < 10'000; ms += 2) {
    if (TreeTenants::MayJoin(tenant, kStart + seconds(60) + milliseconds(ms), false)) ++taken;
  }
  EXPECT_NEAR(taken, kTenantBounds.newcomers_at_once + 10 * kTenantBounds.newcomers, 2);
  EXPECT_THAT(tenants.degraded(), ElementsAre(HasSubstr("makes more than 50 cgroups a second")));
}

TEST(TreeTenantsTest, SaysOnlySoMany) {
  TreeTenants tenants({});
  for (int i = 0; i < 100; ++i) {
    TreeTenants::Tenant* tenant = tenants.Of("/t" + std::to_string(i), nullptr, true);
    tenant->too_many = true;
  }
  EXPECT_EQ(tenants.degraded().size(), TreeTenants::kMostWords);
}

}  // namespace
}  // namespace memgov::kernel
