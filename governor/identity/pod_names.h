// From a container of a pod to the names that people gave it: namespace, pod, container.
//
// A cgroup path has only a UID and an id. The names lie in files that the node's container runtime and
// kubelet write anyway, so that neither the API server nor any credentials are needed:
//   - containerd's bundle, <bundles>/<id>/config.json: the annotations io.kubernetes.cri.*. Comes first,
//     because it is there before the container runs and lies in memory, so that a node that thrashes answers.
//   - the kubelet's log directories, <pod logs>/<namespace>_<pod>_<uid>/<container>/, and links
//     <container logs>/<pod>_<namespace>_<container>-<id>.log. Names only: no log is opened, no link
//     followed.
// Names are decoration: where nothing is found, or what is found cannot be right, they stay empty, and
// nothing else changes.

#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "governor/core/units.h"
#include "governor/identity/container_name.h"

namespace memgov::identity {

// Each empty where it is not known. Only what Kubernetes allows in such names: lower case letters, digits,
// dashes, for pods also dots.
struct PodName {
  std::string pod_namespace;
  std::string pod;
  std::string container;

  bool operator==(const PodName&) const = default;
};

struct PodNamesOptions {
  std::string containerd_bundles = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
  std::string pod_logs = "/var/log/pods";
  std::string container_logs = "/var/log/containers";
  std::size_t most_entries = 10'000;  // of a directory; what stands after them is not found
  std::size_t most_json = 128 << 10;  // bytes of a config.json; usual are 10 to 30 KiB, about 0.3 ms each KiB
  std::size_t most_cached = 1024;     // containers
  core::Duration look_again_after = std::chrono::seconds(5);  // for names that were not complete
};

// One thread.
class PodNames {
 public:
  explicit PodNames(PodNamesOptions options = {}) : options_(std::move(options)) {}

  // The names of a container of a pod; of anything else none. Reads files at the first time, and again after
  // a while if they were not there yet: the kubelet makes its link after the container has started.
  PodName Find(const ContainerName& name, core::Instant now);

 private:
  struct Known {
    PodName name;
    core::Instant looked_at;
  };

  PodName Look(const ContainerName& name) const;
  std::optional<PodName> FromBundle(const ContainerName& name) const;
  PodName FromLogs(const ContainerName& name) const;
  std::string OnlyContainer(const std::string& directory) const;

  const PodNamesOptions options_;
  std::map<std::string, Known> known_;  // by pod UID and container id
};

// The short name with names in it: "shop/web-7d4b9/nginx", with the id's beginning where the container's name
// is not known; what DisplayName(name) says where the pod's is not.
std::string DisplayName(const ContainerName& name, const PodName& pod);

}  // namespace memgov::identity
