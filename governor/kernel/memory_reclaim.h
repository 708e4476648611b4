// The lever kReclaim: memory.reclaim of cgroup v2 (Linux 5.19 and newer), in bounded steps.
//
// It takes from the cold end of the lists, page cache and lazily freed pages alike. It must not swap: with
// swap available it is used only where the kernel takes swappiness=0 (6.11), and refused otherwise.

#pragma once

#include "governor/kernel/mounts.h"
#include "governor/kernel/reclaim_order.h"
#include "governor/kernel/reclaim_step.h"

namespace memgov::kernel {

// Carries the order out on this thread. The result's wall and cpu are the caller's to fill in.
ReclaimResult ReclaimMemory(const CgroupLayout& layout, const ReclaimOrder& order, bool swappiness_argument,
                            const GoOn& go_on);

// Asks the kernel to reclaim `bytes`. OK or Unavailable (it found less): usage tells what it was worth.
// NotFound when the file, or the cgroup, is gone. 0 bytes change nothing, and so tell what the kernel takes.
absl::Status WriteReclaim(const CgroupLayout& layout, const std::string& path, core::Bytes bytes,
                          bool swappiness_argument);

}  // namespace memgov::kernel
