#include "governor/identity/container_name.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "governor/core/words.h"

namespace memgov::identity {
namespace {

using Names = std::span<const absl::string_view>;

constexpr std::size_t kIdLength = 64;
constexpr std::size_t kShortId = 12;  // what docker ps and crictl ps show
constexpr std::size_t kShortUid = 8;
constexpr std::size_t kLongestCtrName = 76;  // containerd, identifiers/validate.go

// How runtimes name the scopes that systemd makes for them: PREFIX<64>.scope.
struct Scope {
  absl::string_view prefix;
  Runtime runtime;
};
constexpr Scope kScopes[] = {{"cri-containerd-", Runtime::kContainerd},
                             {"nerdctl-", Runtime::kContainerd},
                             {"crio-", Runtime::kCrio},
                             {"docker-", Runtime::kDocker},
                             {"libpod-", Runtime::kPodman}};

bool IsHex(absl::string_view text, std::size_t length) {
  return text.size() == length && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

bool IsId(absl::string_view text) { return IsHex(text, kIdLength); }

// A UID of the API, or the 32 hex digits (a hash) that static pods have.
bool IsPodUid(absl::string_view text) {
  if (IsHex(text, 32)) return true;
  const std::vector<absl::string_view> groups = absl::StrSplit(text, absl::MaxSplits('-', 5));
  return groups.size() == 5 && IsHex(groups[0], 8) && IsHex(groups[1], 4) && IsHex(groups[2], 4) &&
         IsHex(groups[3], 4) && IsHex(groups[4], 12);
}

// A name that ctr accepts: letters and digits, joined by single '-', '_' or '.'.
bool IsCtrName(absl::string_view text) {
  if (text.size() > kLongestCtrName) return false;
  bool after_letter = false;
  for (const char c : text) {
    const bool letter = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (!letter && (!after_letter || (c != '-' && c != '_' && c != '.'))) return false;
    after_letter = letter;
  }
  return after_letter;
}

// The id in "PREFIX<64>SUFFIX"; empty if `name` is nothing of the kind.
absl::string_view IdIn(absl::string_view name, absl::string_view prefix, absl::string_view suffix) {
  if (!absl::ConsumePrefix(&name, prefix) || !absl::ConsumeSuffix(&name, suffix)) return {};
  return IsId(name) ? name : absl::string_view{};
}

bool IsUnit(absl::string_view name) {
  return absl::EndsWith(name, ".slice") || absl::EndsWith(name, ".scope") || absl::EndsWith(name, ".service");
}

ContainerName Container(Runtime runtime, absl::string_view id) {
  ContainerName name;
  name.kind = ContainerKind::kContainer;
  name.runtime = runtime;
  name.container_id = std::string(id);
  return name;
}

// kOther if `unit` is no container's scope.
ContainerName ContainerScope(absl::string_view unit) {
  for (const auto& [prefix, runtime] : kScopes) {
    if (const absl::string_view id = IdIn(unit, prefix, ".scope"); !id.empty()) return Container(runtime, id);
  }
  return {};
}

ContainerName InPod(QosClass qos, absl::string_view uid, ContainerName container) {
  container.kind = ContainerKind::kPodContainer;
  container.qos = qos;
  container.pod_uid = std::string(uid);
  return container;
}

// kubelet with the cgroupfs driver, below "/kubepods": [QOS/]pod<UID>[/<64>].
ContainerName KubepodsCgroupfs(Names names) {
  QosClass qos = QosClass::kGuaranteed;
  if (!names.empty() && (names[0] == "burstable" || names[0] == "besteffort")) {
    qos = names[0] == "burstable" ? QosClass::kBurstable : QosClass::kBestEffort;
    names = names.subspan(1);
  }
  if (names.empty()) return {};
  absl::string_view uid = names[0];
  if (!absl::ConsumePrefix(&uid, "pod") || !IsPodUid(uid)) return {};
  if (names.size() == 1) return InPod(qos, uid, {});
  if (IsId(names[1])) return InPod(qos, uid, Container(Runtime::kUnknown, names[1]));
  const absl::string_view id = IdIn(names[1], "crio-", "");
  return id.empty() ? ContainerName{} : InPod(qos, uid, Container(Runtime::kCrio, id));
}

// kubelet with the systemd driver, below "/<parent>.slice", where parent is "kubepods":
// [<parent>-QOS.slice/]<parent>[-QOS]-pod<U_>.slice[/RUNTIME-<64>.scope]. Each slice repeats its parent's
// name.
ContainerName KubepodsSystemd(std::string parent, Names names) {
  QosClass qos = QosClass::kGuaranteed;
  for (const QosClass below : {QosClass::kBurstable, QosClass::kBestEffort}) {
    const std::string slice = absl::StrCat(parent, "-", std::string(NameOf(below)));
    if (names.empty() || names[0] != absl::StrCat(slice, ".slice")) continue;
    qos = below;
    parent = slice;
    names = names.subspan(1);
    break;
  }
  if (names.empty()) return {};
  absl::string_view slice = names[0];
  if (!absl::ConsumePrefix(&slice, absl::StrCat(parent, "-pod")) || !absl::ConsumeSuffix(&slice, ".slice")) {
    return {};
  }
  const std::string uid = absl::StrReplaceAll(slice, {{"_", "-"}});
  if (!IsPodUid(uid)) return {};
  if (names.size() == 1) return InPod(qos, uid, {});
  ContainerName container = ContainerScope(names[1]);
  if (container.kind == ContainerKind::kOther) return {};
  return InPod(qos, uid, std::move(container));
}

// What systemd runs below any number of slices: a container's scope or a service.
ContainerName Unit(Names names) {
  while (!names.empty() && absl::EndsWith(names[0], ".slice")) names = names.subspan(1);
  if (names.empty()) return {};
  if (!absl::EndsWith(names[0], ".service")) return ContainerScope(names[0]);
  ContainerName name;
  name.kind = ContainerKind::kSystemdService;
  name.runtime = Runtime::kSystemd;
  name.unit = std::string(names[0]);
  return name;
}

// As Unit. A user's manager is a service itself, and its children (rootless podman, the user's own services)
// say more than its name does.
ContainerName SystemdUnit(Names names) {
  ContainerName outer = Unit(names);
  if (!absl::StartsWith(outer.unit, "user@")) return outer;
  const auto manager = std::find(names.begin(), names.end(), outer.unit);
  ContainerName inner = Unit(Names(manager + 1, names.end()));
  return inner.kind == ContainerKind::kOther ? outer : inner;
}

// Below a parent that somebody chose (--cgroup-parent): podman's "libpod-<64>", or the "<64>" of Docker and
// others. Not below what is a unit or a runtime's root: nobody puts that under a parent of his choice.
ContainerName BelowChosenParent(Names names) {
  for (const absl::string_view name : names) {
    if (IsUnit(name) || name == "kubepods" || name == "docker" || name == "libpod_parent") return {};
    if (const absl::string_view id = IdIn(name, "libpod-", ""); !id.empty()) {
      return Container(Runtime::kPodman, id);
    }
    if (IsId(name)) return Container(Runtime::kUnknown, name);
  }
  return {};
}

ContainerName Podman(Names names) {
  if (!names.empty() && IsId(names[0])) names = names.subspan(1);  // a pod of podman
  if (names.empty()) return {};
  const absl::string_view id = IdIn(names[0], "libpod-", "");
  return id.empty() ? ContainerName{} : Container(Runtime::kPodman, id);
}

// containerd without a parent: /NAMESPACE/ID. Any two names look like that, so only the namespaces that are
// containerd's own count. CRI and nerdctl make ids of 64 hex digits, ctr takes a name.
ContainerName InContainerdNamespace(absl::string_view id) {
  if (IsId(id)) return Container(Runtime::kContainerd, id);
  return IsCtrName(id) ? Container(Runtime::kCtr, id) : ContainerName{};
}

}  // namespace

ContainerName ParseContainerName(absl::string_view cgroup_path) {
  const std::vector<absl::string_view> all = absl::StrSplit(cgroup_path, '/', absl::SkipEmpty());
  const Names names(all);
  if (names.empty() || std::find(all.begin(), all.end(), "..") != all.end()) return {};
  const absl::string_view first = names[0];
  const Names rest = names.subspan(1);
  const absl::string_view second = rest.empty() ? absl::string_view{} : rest[0];

  // kind starts its kubelets with the cgroup root "/kubelet".
  if (first == "kubepods") return KubepodsCgroupfs(rest);
  if (first == "kubelet" && second == "kubepods") return KubepodsCgroupfs(rest.subspan(1));
  if (first == "kubepods.slice") return KubepodsSystemd("kubepods", rest);
  if (first == "kubelet.slice" && second == "kubelet-kubepods.slice") {
    return KubepodsSystemd("kubelet-kubepods", rest.subspan(1));
  }
  if (IsUnit(first)) return SystemdUnit(names);
  if (first == "docker") return IsId(second) ? Container(Runtime::kDocker, second) : ContainerName{};
  if (first == "libpod_parent") return Podman(rest);
  if ((first == "default" || first == "k8s.io") && !second.empty()) return InContainerdNamespace(second);
  return BelowChosenParent(names);
}

std::string DisplayName(const ContainerName& name) {
  // Only the ids of ctr are names, and those are told apart by all of their letters.
  const absl::string_view id =
      absl::string_view(name.container_id).substr(0, IsId(name.container_id) ? kShortId : kLongestCtrName);
  switch (name.kind) {
    case ContainerKind::kOther:
      return "";
    case ContainerKind::kPodContainer: {
      const std::string pod = absl::StrCat("pod/", absl::string_view(name.pod_uid).substr(0, kShortUid));
      return id.empty() ? pod : absl::StrCat(pod, "/", id);
    }
    case ContainerKind::kContainer:
      return absl::StrCat(name.runtime == Runtime::kUnknown ? "container" : std::string(NameOf(name.runtime)),
                          "/", id);
    case ContainerKind::kSystemdService:
      return name.unit;
  }
  return "";
}

}  // namespace memgov::identity
