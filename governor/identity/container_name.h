// From the path of a cgroup to the container that it belongs to, by the naming habits of runtimes and
// systemd.
//
// Names are for people and for matching rules, never for authority: whoever may create cgroups chooses their
// names. Therefore the path is read from the left, where only root writes, and the outermost container wins.
// A pod's path must begin at the root of the hierarchy: what looks like one further down is an imitation, or
// belongs to a cluster inside a container (kind), which a memgovd in that container names.
//
// Adding a layout is adding lines to tests/fixtures/cgroup_paths.

#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "governor/core/workload.h"

namespace memgov::identity {

enum class ContainerKind {
  kOther,           // no container that we know the naming of
  kPodContainer,    // Kubernetes, any runtime
  kContainer,       // of a runtime without Kubernetes; also one that holds others, such as a kind node
  kSystemdService,  // a unit of the system manager or of a user's
};

using core::QosClass;
using core::Runtime;

struct ContainerName {
  ContainerKind kind = ContainerKind::kOther;
  Runtime runtime = Runtime::kUnknown;
  std::optional<QosClass> qos;  // kPodContainer
  std::string pod_uid;          // kPodContainer: as in the API, with dashes (static pods: 32 hex digits)
  std::string container_id;  // all 64 hex digits (ctr: the name); empty for services and a pod's own cgroup
  std::string unit;          // kSystemdService: "redis.service"

  bool operator==(const ContainerName&) const = default;
};

// Reads a path below the root of the memory hierarchy, for example
// "/system.slice/docker-<64 hex digits>.scope". Pure; never fails: what is not recognised is kOther, also a
// path with "..", which belongs through ResolveCgroupPath first.
ContainerName ParseContainerName(absl::string_view cgroup_path);

// One short word: "pod/1f2e3d4c/0123456789ab", "docker/0123456789ab", "container/0123456789ab" where the path
// does not tell the runtime, "redis.service". Empty for kOther.
std::string DisplayName(const ContainerName& name);

}  // namespace memgov::identity
