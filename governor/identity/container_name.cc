#include "governor/identity/container_name.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace memgov::identity {
namespace {

using Names = std::span<const absl::string_view>;

constexpr std::size_t kIdLength = 64;
constexpr std::size_t kShortId = 12;  // what docker ps and crictl ps show
constexpr std::size_t kShortUid = 8;

bool IsHex(absl::string_view text, std::size_t length) {
  return text.size() == length && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

// A UID of the API, or the 32 hex digits (a hash) that static pods have.
bool IsPodUid(absl::string_view text) {
  if (IsHex(text, 32)) return true;
  const std::vector<absl::string_view> groups = absl::StrSplit(text, '-');
  return groups.size() == 5 && IsHex(groups[0], 8) && IsHex(groups[1], 4) && IsHex(groups[2], 4) &&
         IsHex(groups[3], 4) && IsHex(groups[4], 12);
}

// The id in "PREFIX<64>SUFFIX"; empty if `name` is nothing of the kind.
absl::string_view IdIn(absl::string_view name, absl::string_view prefix, absl::string_view suffix) {
  if (!absl::ConsumePrefix(&name, prefix) || !absl::ConsumeSuffix(&name, suffix)) return {};
  return IsHex(name, kIdLength) ? name : absl::string_view{};
}

ContainerName Container(ContainerKind kind, absl::string_view id) {
  ContainerName name;
  name.kind = kind;
  name.container_id = std::string(id);
  return name;
}

ContainerName PodContainer(absl::string_view uid, absl::string_view id) {
  ContainerName name = Container(ContainerKind::kPodContainer, id);
  name.pod_uid = std::string(uid);
  return name;
}

// kubelet with the cgroupfs driver, below "/kubepods": [QOS/]pod<UID>[/<64>].
ContainerName KubepodsCgroupfs(Names names) {
  if (!names.empty() && (names[0] == "burstable" || names[0] == "besteffort")) names = names.subspan(1);
  if (names.empty()) return {};
  absl::string_view uid = names[0];
  if (!absl::ConsumePrefix(&uid, "pod") || !IsPodUid(uid)) return {};
  if (names.size() == 1) return PodContainer(uid, {});
  for (const absl::string_view prefix : {"", "crio-"}) {
    if (const absl::string_view id = IdIn(names[1], prefix, ""); !id.empty()) return PodContainer(uid, id);
  }
  return {};
}

// kubelet with the systemd driver, below "/kubepods.slice":
// [kubepods-QOS.slice/]kubepods[-QOS]-pod<U_>.slice[/RUNTIME-<64>.scope]. Each slice repeats its parent's
// name.
ContainerName KubepodsSystemd(Names names) {
  std::string parent = "kubepods";
  if (!names.empty() && (names[0] == "kubepods-burstable.slice" || names[0] == "kubepods-besteffort.slice")) {
    parent = std::string(absl::StripSuffix(names[0], ".slice"));
    names = names.subspan(1);
  }
  if (names.empty()) return {};
  absl::string_view slice = names[0];
  if (!absl::ConsumePrefix(&slice, absl::StrCat(parent, "-pod")) || !absl::ConsumeSuffix(&slice, ".slice")) {
    return {};
  }
  const std::string uid = absl::StrReplaceAll(slice, {{"_", "-"}});
  if (!IsPodUid(uid)) return {};
  if (names.size() == 1) return PodContainer(uid, {});
  for (const absl::string_view prefix : {"cri-containerd-", "crio-", "docker-"}) {
    if (const absl::string_view id = IdIn(names[1], prefix, ".scope"); !id.empty())
      return PodContainer(uid, id);
  }
  return {};
}

// What systemd runs: below any number of slices a container's scope or a service. A user's manager is a
// service itself, and its children (rootless podman, the user's own services) say more than its name does.
ContainerName SystemdUnit(Names names) {
  while (!names.empty() && absl::EndsWith(names[0], ".slice")) names = names.subspan(1);
  if (names.empty()) return {};
  const absl::string_view unit = names[0];
  if (const absl::string_view id = IdIn(unit, "docker-", ".scope"); !id.empty()) {
    return Container(ContainerKind::kDocker, id);
  }
  if (const absl::string_view id = IdIn(unit, "libpod-", ".scope"); !id.empty()) {
    return Container(ContainerKind::kPodman, id);
  }
  if (!absl::EndsWith(unit, ".service")) return {};
  if (absl::StartsWith(unit, "user@")) {
    if (ContainerName inner = SystemdUnit(names.subspan(1)); inner.kind != ContainerKind::kOther)
      return inner;
  }
  ContainerName name;
  name.kind = ContainerKind::kSystemdService;
  name.unit = std::string(unit);
  return name;
}

}  // namespace

ContainerName ParseContainerName(absl::string_view cgroup_path) {
  const std::vector<absl::string_view> all = absl::StrSplit(cgroup_path, '/', absl::SkipEmpty());
  const Names names(all);
  if (names.empty()) return {};
  if (names[0] == "kubepods") return KubepodsCgroupfs(names.subspan(1));
  if (names[0] == "kubepods.slice") return KubepodsSystemd(names.subspan(1));
  if (names[0] == "docker" && names.size() > 1 && IsHex(names[1], kIdLength)) {
    return Container(ContainerKind::kDocker, names[1]);
  }
  if (names[0] == "libpod_parent" && names.size() > 1) {
    const absl::string_view id = IdIn(names[1], "libpod-", "");
    if (!id.empty()) return Container(ContainerKind::kPodman, id);
    return {};
  }
  return SystemdUnit(names);
}

std::string DisplayName(const ContainerName& name) {
  const absl::string_view id = absl::string_view(name.container_id).substr(0, kShortId);
  switch (name.kind) {
    case ContainerKind::kOther:
      return "";
    case ContainerKind::kPodContainer: {
      const std::string pod = absl::StrCat("pod/", absl::string_view(name.pod_uid).substr(0, kShortUid));
      return id.empty() ? pod : absl::StrCat(pod, "/", id);
    }
    case ContainerKind::kDocker:
      return absl::StrCat("docker/", id);
    case ContainerKind::kPodman:
      return absl::StrCat("podman/", id);
    case ContainerKind::kSystemdService:
      return name.unit;
  }
  return "";
}

}  // namespace memgov::identity
