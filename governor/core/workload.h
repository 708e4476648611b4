// What a cgroup is called, besides its path: the names that people gave to the pod and the container it
// belongs to. Rules may match by them. A cgroup inside of a container has the container's names.

#pragma once

#include <optional>
#include <string>

namespace memgov::core {

// Who made the cgroup, as far as its path tells, which is not always.
enum class Runtime { kUnknown, kContainerd, kCrio, kDocker, kPodman, kCtr, kSystemd };

// Kubernetes' quality of service class.
enum class QosClass { kGuaranteed, kBurstable, kBestEffort };

// Each part empty or absent where it is not known, or does not apply: /kubepods has none of them, a pod's own
// cgroup no container.
struct WorkloadNames {
  std::string pod_namespace;
  std::string pod;
  std::string container;
  std::optional<QosClass> qos;
  Runtime runtime = Runtime::kUnknown;
  // Somebody still looks for pod_namespace, pod and container. Until then nobody knows which rules match, so
  // nothing is done to the cgroup.
  bool pending = false;

  bool operator==(const WorkloadNames&) const = default;
};

}  // namespace memgov::core
