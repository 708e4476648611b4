// Where memgovd's own cgroup namespace begins.
//
// /proc/PID/cgroup shows paths as seen from the reader's cgroup namespace. In a container with a private one
// (the default of Docker and Kubernetes on v2) our own path reads "/" and a peer's "/../../burstable/...",
// and nothing in /proc tells the names that are climbed over. But the host's tree, where it is mounted into
// our container, lists our pid in exactly one cgroup: that is where we are, and what our own path does not
// say of it is the root of the namespace. The kernel writes those lists, so nobody can make us believe
// another place.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace memgov::identity {

// The root of our cgroup namespace as a path below `memory_mount`: "/" in the host's namespace and wherever
// the mount begins where the namespace does. Absent if the mount does not hold our cgroup. One read on plain
// hosts; in a private namespace it looks through the tree once, about 0.2 ms a cgroup, at most 20,000 of
// them.
std::optional<std::string> FindNamespaceRoot(const std::string& memory_mount);

// The same for a process `pid` whose own path reads `own_path` in its namespace.
std::optional<std::string> FindNamespaceRoot(const std::string& memory_mount, absl::string_view own_path,
                                             pid_t pid);

}  // namespace memgov::identity
