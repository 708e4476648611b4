#include "governor/identity/tenant.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "governor/identity/test_fixtures.h"

namespace memgov::identity {
namespace {

const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const std::string kUid = "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab";

TEST(Tenant, IsTheOutermostContainerWithItsWholePath) {
  const std::string pod = "/kubepods/burstable/pod" + kUid + "/" + kId;
  EXPECT_EQ(TenantOfCgroup(pod), "container " + pod);
  EXPECT_EQ(TenantOfCgroup(pod + "/workers/a"), "container " + pod);
  EXPECT_EQ(TenantOfCgroup(pod + "/docker/" + kId), "container " + pod);
  EXPECT_EQ(TenantOfCgroup("/docker/" + kId), "container /docker/" + kId);
  EXPECT_EQ(TenantOfCgroup("/system.slice/docker-" + kId + ".scope/init.scope"),
            "container /system.slice/docker-" + kId + ".scope");
}

TEST(Tenant, TwoContainersWhoseIdsBeginAlikeAreTwo) {
  const std::string other = kId.substr(0, 12) + std::string(52, 'f');
  EXPECT_NE(TenantOfCgroup("/docker/" + kId), TenantOfCgroup("/docker/" + other));
  EXPECT_NE(TenantOfCgroup("/kubepods/pod" + kUid + "/" + kId), TenantOfCgroup("/docker/" + kId));
}

TEST(Tenant, APodOutsideOfItsContainersIsOne) {
  const std::string pod = "/kubepods/besteffort/pod" + kUid;
  EXPECT_EQ(TenantOfCgroup(pod), "pod " + pod);
  EXPECT_EQ(TenantOfCgroup(pod + "/something/else"), "pod " + pod);
}

TEST(Tenant, AUnitOfTheSystemIsOneAndAUserIsOne) {
  EXPECT_EQ(TenantOfCgroup("/system.slice/redis.service/workers"), "service /system.slice/redis.service");
  for (const char* below : {"user@1000.service/app.slice/web.service", "user@1000.service", "session-3.scope",
                            "session-4.scope/docker", "user@1000.service/user.slice/docker-x.scope"}) {
    EXPECT_EQ(TenantOfCgroup(absl::StrCat("/user.slice/user-1000.slice/", below)),
              "user /user.slice/user-1000.slice");
  }
  EXPECT_EQ(TenantOfCgroup("/user.slice/user-x.slice/a"), "/user.slice/user-x.slice/a");
}

TEST(Tenant, ElsewhereEachCgroupIsOneAndItsLevelsCount) {
  EXPECT_EQ(TenantOfCgroup("/jobs/a/b"), "/jobs/a/b");
  EXPECT_EQ(TenantOfCgroup("/"), "/");
  EXPECT_EQ(TenantOfCgroup(""), "/");
  EXPECT_EQ(TenantOfCgroup("/machine.slice/machine-a.scope"), "/machine.slice/machine-a.scope");
}

// Whoever got /tenants/evil makes what looks like containers of their own there.
TEST(Tenant, AContainerWhereAnybodyMayNameCgroupsIsNoTenantOfItsOwnRank) {
  EXPECT_EQ(TenantOfCgroup("/tenants/evil/" + kId), "/tenants/evil/" + kId);
  EXPECT_EQ(TenantOfCgroup("/tenants/libpod-" + kId), "/tenants/libpod-" + kId);
  EXPECT_EQ(TenantOfCgroup("/tenants/x.slice/docker-" + kId + ".scope").substr(0, 8), "/tenants");
}

TEST(Tenant, ItsNameIsBounded) {
  std::string path;
  for (int i = 0; i < 2000; ++i) path += "/d";
  EXPECT_EQ(TenantOfCgroup(path), path.substr(0, 32));
  EXPECT_EQ(TenantOfCgroup("/x.slice" + path), "/x.slice" + path.substr(0, 30));
  EXPECT_EQ(TenantOfCgroup(std::string(5000, '/') + "a"), std::string(5000, '/') + "a") << "no level";
}

TEST(Tenant, WithoutACgroupItIsTheUser) {
  Peer peer;
  peer.uid = 1234;
  EXPECT_EQ(TenantOf(peer), kUnidentified) << "a user id is free to take";
  peer.cgroup = "/jobs";
  EXPECT_EQ(TenantOf(peer), "/jobs");
}

// Of all layouts that are known: whoever is in a container where only root names cgroups is one tenant with
// whatever is below it, and no path is without a tenant.
TEST(Tenant, HoldsForAllLayouts) {
  int contained = 0;
  for (const std::string& file : FixtureFiles("cgroup_paths")) {
    for (const FixtureRow& row : ReadFixture("cgroup_paths/" + file)) {
      const std::string& path = row.columns[0];
      if (path == "from" || path.find("..") != std::string::npos) continue;
      const std::string tenant = TenantOfCgroup(path);
      EXPECT_FALSE(tenant.empty()) << row.where;
      if (tenant.front() == '/') continue;
      ++contained;
      EXPECT_EQ(TenantOfCgroup(path + "/below"), tenant) << row.where;
    }
  }
  EXPECT_GT(contained, 20);
}

}  // namespace
}  // namespace memgov::identity
