// What both levers share: reading usage between steps, and knowing when to stop.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/cgroup_files.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// No single step asks the kernel for more: it lasts some 10 ms, and holds the mmap_lock of a process or keeps
// our worker for no longer.
inline constexpr core::Bytes kReclaimStep = 32 * core::kMiB;

// Asked between steps; false: stop here (the time is over, or we are shut down).
using GoOn = std::function<bool()>;

// Usage and refaults of one cgroup, read often. One thread.
class ReclaimMeter {
 public:
  ReclaimMeter(const CgroupLayout& layout, std::string path)
      : path_(std::move(path)), files_(layout, budget_) {}

  // NotFound when the cgroup is gone.
  absl::StatusOr<core::Bytes> Usage();
  // workingset_refault_file, of the whole subtree; absent where the kernel does not tell it.
  std::optional<std::uint64_t> Refaults();

 private:
  const std::string path_;
  FdBudget budget_{.most = 2};
  CgroupFiles files_;
};

// Whether what leaves the cgroup's memory could go to swap: there is free swap, and (v2) neither the cgroup
// nor one above it has used up its memory.swap.max. Where that cannot be told: yes.
bool SwapIsAvailable(const CgroupLayout& layout, const std::string& path);

}  // namespace memgov::kernel
