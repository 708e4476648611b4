// What the governor asks of the kernel for its own process, so that it works when memory is short.
// Each may be refused on an unprivileged machine; that is a degraded state to be shown, not an error to die
// of.

#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgov::kernel {

// Writes /proc/self/oom_score_adj (-1000 never ... 1000 first). PermissionDenied: lowering it needs
// CAP_SYS_RESOURCE.
absl::Status OomScoreAdjust(int score);

// Locks what is in memory, and with CAP_IPC_LOCK what will be, page by page as it is touched. Without the
// capability future mappings are left alone: the memlock limit would make them fail.
absl::Status LockMemory();

// Raises the soft limit of open files to the hard one; the limit that now holds.
absl::StatusOr<std::size_t> RaiseFileLimit();

// Whether we have a capability (CAP_... of linux/capability.h) in effect, in our user namespace.
bool HasEffectiveCapability(unsigned capability);

}  // namespace memgov::kernel
