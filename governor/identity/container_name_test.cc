#include "governor/identity/container_name.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace memgov::identity {
namespace {

const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const std::string kUid = "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab";
const std::string kUidInSlice = "1f2e3d4c_aaaa_bbbb_cccc_0123456789ab";
const std::string kStaticUid = "0123456789abcdef0123456789abcdef";

struct Case {
  std::string path;
  ContainerKind kind;
  std::string display;
};

void ExpectNames(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const ContainerName name = ParseContainerName(c.path);
    EXPECT_EQ(name.kind, c.kind) << c.path;
    EXPECT_EQ(DisplayName(name), c.display) << c.path;
  }
}

TEST(ContainerName, PodsOfTheCgroupfsDriver) {
  const std::string display = "pod/1f2e3d4c/0123456789ab";
  ExpectNames({
      {absl::StrCat("/kubepods/burstable/pod", kUid, "/", kId), ContainerKind::kPodContainer, display},
      {absl::StrCat("/kubepods/besteffort/pod", kUid, "/", kId), ContainerKind::kPodContainer, display},
      {absl::StrCat("/kubepods/pod", kUid, "/", kId), ContainerKind::kPodContainer, display},
      {absl::StrCat("/kubepods/pod", kUid, "/crio-", kId), ContainerKind::kPodContainer, display},
      {absl::StrCat("/kubepods/pod", kUid), ContainerKind::kPodContainer, "pod/1f2e3d4c"},
  });
}

TEST(ContainerName, PodsOfTheSystemdDriver) {
  const std::string burstable = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod";
  const std::string display = "pod/1f2e3d4c/0123456789ab";
  ExpectNames({
      {absl::StrCat(burstable, kUidInSlice, ".slice/cri-containerd-", kId, ".scope"),
       ContainerKind::kPodContainer, display},
      {absl::StrCat(burstable, kUidInSlice, ".slice/crio-", kId, ".scope/container"),
       ContainerKind::kPodContainer, display},
      {absl::StrCat(burstable, kUidInSlice, ".slice/docker-", kId, ".scope"), ContainerKind::kPodContainer,
       display},
      {absl::StrCat("/kubepods.slice/kubepods-pod", kUidInSlice, ".slice/cri-containerd-", kId, ".scope"),
       ContainerKind::kPodContainer, display},
      {absl::StrCat(burstable, kStaticUid, ".slice/cri-containerd-", kId, ".scope"),
       ContainerKind::kPodContainer, "pod/01234567/0123456789ab"},
  });
}

TEST(ContainerName, PodUidIsGivenAsInTheApi) {
  const ContainerName name = ParseContainerName(
      absl::StrCat("/kubepods.slice/kubepods-pod", kUidInSlice, ".slice/cri-containerd-", kId, ".scope"));
  EXPECT_EQ(name.pod_uid, kUid);
  EXPECT_EQ(name.container_id, kId);
}

TEST(ContainerName, DockerAndPodman) {
  ExpectNames({
      {absl::StrCat("/docker/", kId), ContainerKind::kDocker, "docker/0123456789ab"},
      {absl::StrCat("/system.slice/docker-", kId, ".scope"), ContainerKind::kDocker, "docker/0123456789ab"},
      {absl::StrCat("/tenants.slice/tenants-a.slice/docker-", kId, ".scope"), ContainerKind::kDocker,
       "docker/0123456789ab"},
      {absl::StrCat("/libpod_parent/libpod-", kId), ContainerKind::kPodman, "podman/0123456789ab"},
      {absl::StrCat("/machine.slice/libpod-", kId, ".scope/container"), ContainerKind::kPodman,
       "podman/0123456789ab"},
      {absl::StrCat("/machine.slice/machine-libpod_pod_", kId, ".slice/libpod-", kId, ".scope/container"),
       ContainerKind::kPodman, "podman/0123456789ab"},
      {absl::StrCat("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-", kId, ".scope"),
       ContainerKind::kPodman, "podman/0123456789ab"},
  });
}

TEST(ContainerName, SystemdServices) {
  ExpectNames({
      {"/system.slice/redis.service", ContainerKind::kSystemdService, "redis.service"},
      {"/system.slice/redis.service/workers", ContainerKind::kSystemdService, "redis.service"},
      {"/system.slice/system-getty.slice/getty@tty1.service", ContainerKind::kSystemdService,
       "getty@tty1.service"},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", ContainerKind::kSystemdService,
       "web.service"},
      {"/user.slice/user-1000.slice/user@1000.service/init.scope", ContainerKind::kSystemdService,
       "user@1000.service"},
  });
}

TEST(ContainerName, TheOutermostContainerWins) {
  // Inside its own cgroup a container may create what it likes, for example something that looks like a pod.
  ExpectNames({
      {absl::StrCat("/docker/", kId, "/kubepods/burstable/pod", kUid, "/", kId), ContainerKind::kDocker,
       "docker/0123456789ab"},
      {absl::StrCat("/system.slice/redis.service/kubepods.slice/kubepods-pod", kUidInSlice, ".slice"),
       ContainerKind::kSystemdService, "redis.service"},
  });
}

TEST(ContainerName, WhatIsNotRecognisedHasNoName) {
  ExpectNames({
      {"", ContainerKind::kOther, ""},
      {"/", ContainerKind::kOther, ""},
      {"/user.slice/user-1000.slice/session-3.scope", ContainerKind::kOther, ""},
      {absl::StrCat("/system.slice/crio-conmon-", kId, ".scope"), ContainerKind::kOther, ""},
      {"/kubepods", ContainerKind::kOther, ""},
      {"/kubepods/burstable", ContainerKind::kOther, ""},
      {absl::StrCat("/kubepods/podnot-a-uid/", kId), ContainerKind::kOther, ""},
      {absl::StrCat("/kubepods/burstable/pod", kUid, "/short"), ContainerKind::kOther, ""},
      {absl::StrCat("/docker/", kId.substr(1)), ContainerKind::kOther, ""},
      // The slices contradict each other.
      {absl::StrCat("/kubepods.slice/kubepods-besteffort.slice/kubepods-burstable-pod", kUidInSlice,
                    ".slice/cri-containerd-", kId, ".scope"),
       ContainerKind::kOther, ""},
      {"/k8s.io/redis", ContainerKind::kOther, ""},
  });
}

}  // namespace
}  // namespace memgov::identity
