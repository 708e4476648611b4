// Where this machine keeps its memory controller, and in which dialect it speaks.
//
// Three kinds of host are met in the field: pure v2, pure v1, and hybrid, where memory is a v1 controller and
// an otherwise empty v2 tree beside it has the pressure files.

#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace memgov::kernel {

enum class MemoryVersion { kV1, kV2 };

struct CgroupLayout {
  MemoryVersion memory_version = MemoryVersion::kV2;
  std::string memory_mount;  // no trailing slash; a cgroup's directory is memory_mount + path
  std::optional<std::string>
      pressure_mount;   // the tree whose cgroups have memory.pressure; absent: PSI is off
  bool hybrid = false;  // memory is v1 and a v2 tree is mounted too
};

// Asks libcgroup what is mounted. NotFound, with the reason, when no memory controller is.
//
// `override_mount` replaces the question by a directory that is looked at instead, for a container that sees
// the host's tree at /host/cgroup. It may be the v2 tree, the v1 memory hierarchy, or the directory above
// ("memory" and "unified" are then sought in it).
//
// Reads the mount table once; libcgroup keeps what it saw for the life of the process. Call it from one
// thread.
absl::StatusOr<CgroupLayout> DiscoverCgroups(const std::optional<std::string>& override_mount = std::nullopt);

}  // namespace memgov::kernel
