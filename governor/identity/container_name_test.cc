#include "governor/identity/container_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "governor/core/words.h"
#include "governor/identity/attestor.h"
#include "governor/identity/test_fixtures.h"

namespace memgov::identity {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const std::string kUid = "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab";

// --- the tables of tests/fixtures/cgroup_paths
// --------------------------------------------------------------

std::string KindWord(ContainerKind kind) {
  switch (kind) {
    case ContainerKind::kOther:
      return "other";
    case ContainerKind::kPodContainer:
      return "pod";
    case ContainerKind::kContainer:
      return "container";
    case ContainerKind::kSystemdService:
      return "service";
  }
  return "";
}

std::string Word(std::string_view text) {
  return text.empty() || text == "unknown" ? "-" : std::string(text);
}

// The columns of a table after the path.
std::vector<std::string> Columns(const ContainerName& name) {
  return {KindWord(name.kind), Word(NameOf(name.runtime)), Word(name.qos ? NameOf(*name.qos) : ""),
          Word(name.pod_uid), Word(name.unit.empty() ? name.container_id : name.unit)};
}

class CgroupPaths : public testing::TestWithParam<std::string> {};

TEST_P(CgroupPaths, MeanWhatTheTableSays) {
  const std::vector<FixtureRow> rows = ReadFixture("cgroup_paths/" + GetParam());
  ASSERT_THAT(rows, testing::Not(IsEmpty()));
  std::string seen_from = "-";
  int paths = 0;
  for (const FixtureRow& row : rows) {
    if (row.columns[0] == "from") {
      ASSERT_EQ(row.columns.size(), 2u) << row.where;
      seen_from = row.columns[1];
      continue;
    }
    ASSERT_EQ(row.columns.size(), 6u) << row.where << ": path kind runtime qos pod container";
    std::string path = row.columns[0];
    if (seen_from != "-") {
      const auto resolved = ResolveCgroupPath(path, seen_from);
      ASSERT_TRUE(resolved.ok()) << row.where << ": " << resolved.status();
      path = *resolved;
    }
    const std::vector<std::string> expected(row.columns.begin() + 1, row.columns.end());
    EXPECT_EQ(Columns(ParseContainerName(path)), expected) << row.where;
    ++paths;
  }
  EXPECT_GT(paths, 0);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, CgroupPaths, testing::ValuesIn(FixtureFiles("cgroup_paths")),
                         [](const auto& file) { return file.param.substr(0, file.param.find('.')); });

// --- names for people
// ---------------------------------------------------------------------------------------

std::string Display(absl::string_view path) { return DisplayName(ParseContainerName(path)); }

TEST(ContainerName, IsShownInOneShortWord) {
  EXPECT_EQ(Display(absl::StrCat("/kubepods/burstable/pod", kUid, "/", kId)), "pod/1f2e3d4c/0123456789ab");
  EXPECT_EQ(Display(absl::StrCat("/kubepods/burstable/pod", kUid)), "pod/1f2e3d4c");
  EXPECT_EQ(Display(absl::StrCat("/kubepods/pod0123456789abcdef0123456789abcdef/", kId)),
            "pod/01234567/0123456789ab");
  EXPECT_EQ(Display(absl::StrCat("/docker/", kId)), "docker/0123456789ab");
  EXPECT_EQ(Display(absl::StrCat("/machine.slice/libpod-", kId, ".scope/container")), "podman/0123456789ab");
  EXPECT_EQ(Display(absl::StrCat("/tenants/", kId)), "container/0123456789ab");
  EXPECT_EQ(Display("/default/redis-for-the-web-shop"), "ctr/redis-for-the-web-shop");
  EXPECT_EQ(Display("/system.slice/redis.service/workers"), "redis.service");
  EXPECT_EQ(Display("/user.slice"), "");
}

// --- what a tenant may come up with
// -------------------------------------------------------------------------

TEST(ContainerName, OddSlashesAndDotsChangeNothing) {
  EXPECT_EQ(ParseContainerName(""), ContainerName{});
  EXPECT_EQ(ParseContainerName("///"), ContainerName{});
  EXPECT_EQ(Display(absl::StrCat("docker//", kId, "/")), "docker/0123456789ab");
  EXPECT_EQ(ParseContainerName(absl::StrCat("/..", "/docker/", kId)), ContainerName{});
  EXPECT_EQ(ParseContainerName(absl::StrCat("/./docker/", kId)).kind, ContainerKind::kOther);
}

TEST(ContainerName, IdsAreExactlyAsRuntimesMakeThem) {
  std::string upper = kId;
  upper[10] = 'A';
  for (const std::string& id : {kId.substr(1), kId + "0", upper, kId.substr(0, 63) + "g",
                                kId.substr(0, 63) + '\0', std::string(64, '\xff')}) {
    EXPECT_EQ(ParseContainerName("/docker/" + id), ContainerName{}) << id;
    EXPECT_EQ(ParseContainerName("/system.slice/docker-" + id + ".scope"), ContainerName{}) << id;
    EXPECT_EQ(ParseContainerName(absl::StrCat("/kubepods/pod", kUid, "/", id)), ContainerName{}) << id;
  }
}

TEST(ContainerName, UidsAreExactlyAsTheApiMakesThem) {
  for (const std::string& uid : {kUid.substr(1), kUid + "-", kUid + "0", std::string(36, '-'),
                                 std::string(4000, '-'), std::string("..")}) {
    EXPECT_EQ(ParseContainerName(absl::StrCat("/kubepods/pod", uid, "/", kId)), ContainerName{}) << uid;
  }
}

TEST(ContainerName, BytesThatAreNoTextStayWhatTheyAre) {
  const std::string unit = "caf\xc3\x28\x01\n.service";
  EXPECT_EQ(ParseContainerName("/system.slice/" + unit).unit, unit);
  EXPECT_EQ(ParseContainerName("/\xff\xfe/\x01").kind, ContainerKind::kOther);
  EXPECT_EQ(ParseContainerName("/default/\xff\xfe").kind, ContainerKind::kOther);
}

TEST(ContainerName, LongAndDeepPathsAreReadToo) {
  const std::string long_name(255, 'a');
  EXPECT_EQ(Display(absl::StrCat("/", long_name, "/libpod-", kId)), "podman/0123456789ab");
  EXPECT_EQ(Display("/default/" + long_name), "");
  EXPECT_EQ(Display("/system.slice/" + long_name + ".service"), long_name + ".service");
  std::string deep, managers = "/user.slice";
  for (int i = 0; i < 100'000; ++i) {
    deep += "/a";
    managers += "/user@1000.service";
  }
  EXPECT_EQ(Display(absl::StrCat(deep, "/", kId)), "container/0123456789ab");
  EXPECT_EQ(Display(managers), "user@1000.service");
  EXPECT_EQ(Display(absl::StrCat("/docker/", kId, deep)), "docker/0123456789ab");
}

TEST(ContainerName, NothingThatCanBeShuffledTogetherIsMoreThanItsOutermostPart) {
  const std::vector<std::string> pieces = {"kubepods",
                                           "burstable",
                                           "pod" + kUid,
                                           kId,
                                           "docker",
                                           "libpod-" + kId,
                                           "libpod_parent",
                                           "system.slice",
                                           "kubepods.slice",
                                           "docker-" + kId + ".scope",
                                           "user@1000.service",
                                           "default",
                                           "redis",
                                           "kubelet",
                                           "..",
                                           ""};
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string path;
    for (unsigned n = random() % 6; n > 0; --n) absl::StrAppend(&path, "/", pieces[random() % pieces.size()]);
    const ContainerName name = ParseContainerName(path);
    EXPECT_EQ(name.kind == ContainerKind::kPodContainer, !name.pod_uid.empty()) << path;
    EXPECT_EQ(name.kind == ContainerKind::kPodContainer, name.qos.has_value()) << path;
    EXPECT_EQ(name.kind == ContainerKind::kOther, DisplayName(name).empty()) << path;
    if (!name.pod_uid.empty()) {
      EXPECT_LT(path.find("kubepods"), 10u) << path;
    }
    // What the container makes below its own cgroup is its own business.
    if (!name.container_id.empty()) {
      EXPECT_EQ(ParseContainerName(absl::StrCat(path, "/kubepods/pod", kUid, "/", kId)), name) << path;
    }
  }
}

}  // namespace
}  // namespace memgov::identity
