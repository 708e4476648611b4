#include "governor/identity/tenant.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "governor/identity/container_name.h"

namespace memgov::identity {
namespace {

// No runtime puts a container deeper, and base/fair_share.h looks no further.
constexpr int kMostLevels = 16;

// First names below the root that runtimes and systemd use. Below any other, also what looks like a container
// may have been made by whoever the subtree was given to.
bool OnlyRootNames(absl::string_view first) {
  for (const absl::string_view name :
       {"kubepods", "kubelet", "docker", "libpod_parent", "default", "k8s.io"}) {
    if (first == name) return true;
  }
  return absl::EndsWith(first, ".slice") || absl::EndsWith(first, ".scope") ||
         absl::EndsWith(first, ".service");
}

// "user-<digits>.slice".
bool IsUserSlice(absl::string_view name) {
  return absl::ConsumePrefix(&name, "user-") && absl::ConsumeSuffix(&name, ".slice") && !name.empty() &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
}

// The path of the first `levels` names, without a slash at its end.
absl::string_view Front(absl::string_view path, int levels) {
  std::size_t end = 0;
  for (; levels > 0; --levels) {
    const std::size_t begin = path.find_first_not_of('/', end);
    if (begin == absl::string_view::npos) break;
    end = std::min(path.find('/', begin), path.size());
  }
  return path.substr(0, end);
}

absl::string_view LastName(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::string TenantOfCgroup(absl::string_view cgroup_path) {
  const absl::string_view whole = Front(cgroup_path, kMostLevels);
  if (whole.empty()) return "/";
  if (!OnlyRootNames(LastName(Front(whole, 1)))) return std::string(whole);
  absl::string_view pod;
  absl::string_view before;
  for (int levels = 1; levels <= kMostLevels; ++levels) {
    const absl::string_view front = Front(whole, levels);
    if (front == before) break;
    before = front;
    if (levels == 2 && Front(whole, 1) == "/user.slice" && IsUserSlice(LastName(front))) {
      return absl::StrCat("user ", front);
    }
    const ContainerName name = ParseContainerName(front);
    if (name.kind == ContainerKind::kOther) continue;
    if (name.kind == ContainerKind::kSystemdService) return absl::StrCat("service ", front);
    if (!name.container_id.empty()) return absl::StrCat("container ", front);
    pod = front;
  }
  return pod.empty() ? std::string(whole) : absl::StrCat("pod ", pod);
}

}  // namespace memgov::identity
