// From the path of a cgroup to the container that it belongs to, by the naming habits of runtimes and
// systemd.
//
// Names are for people and for matching rules, never for authority: whoever may create cgroups chooses their
// names. Therefore the path is read from the left, where only root writes, and the outermost container wins.

#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace memgov::identity {

enum class ContainerKind {
  kOther,           // no container that we know the naming of
  kPodContainer,    // Kubernetes, any runtime
  kDocker,          // also docker's children in the cgroup of a container, such as a kind node
  kPodman,          // rootful or rootless
  kSystemdService,  // a unit of the system manager
};

struct ContainerName {
  ContainerKind kind = ContainerKind::kOther;
  std::string pod_uid;       // kPodContainer: as in the API, with dashes (static pods: 32 hex digits)
  std::string container_id;  // all 64 hex digits; empty for kSystemdService and the pod's own cgroup
  std::string unit;          // kSystemdService: "redis.service"
};

// Reads a path below the root of the memory hierarchy, for example
// "/system.slice/docker-<64 hex digits>.scope". Pure; never fails: what is not recognised is kOther.
ContainerName ParseContainerName(absl::string_view cgroup_path);

// One short word: "pod/1f2e3d4c/0123456789ab", "docker/0123456789ab", "podman/0123456789ab", "redis.service".
// Empty for kOther.
std::string DisplayName(const ContainerName& name);

}  // namespace memgov::identity
