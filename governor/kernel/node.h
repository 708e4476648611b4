// The root of all limit domains: the machine itself.

#pragma once

#include <optional>
#include <string>

#include "governor/core/snapshot.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Reads /proc/meminfo on a kept descriptor. Not thread-safe.
class NodeSampler {
 public:
  // The files are parameters so that tests can bring their own.
  explicit NodeSampler(std::string meminfo = "/proc/meminfo", std::string pressure = "/proc/pressure/memory");

  // usage = MemTotal - MemAvailable, limit = MemTotal (the policy's reserve is the engine's to subtract).
  // pressure is absent when PSI is off; oom_kills is 0: a kill is counted in its victim's cgroup.
  // std::nullopt when meminfo cannot be read or understood.
  std::optional<core::CgroupSample> Sample(core::Instant now);

 private:
  std::string meminfo_path_;
  std::string pressure_path_;
  UniqueFd meminfo_;
  UniqueFd pressure_;
};

}  // namespace memgov::kernel
