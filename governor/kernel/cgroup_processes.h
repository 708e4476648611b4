// The processes of a cgroup and of all below it, and a grip on one of them that no reuse of its pid can fool.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

struct CgroupProcess {
  pid_t pid = 0;
  std::string cgroup;  // the very one it is in, below the memory mount
};

struct ProcessList {
  std::vector<CgroupProcess> processes;
  bool more = false;       // there are more than were asked for
  std::size_t hidden = 0;  // in pid namespaces that we do not see into (hostPID)
};

// At most `most` processes from `path` and the cgroups below it, of which `most_cgroups` are looked at.
// NotFound when it is gone; cgroups below that vanish meanwhile are not there. Any thread.
absl::StatusOr<ProcessList> ProcessesWithin(const CgroupLayout& layout, const std::string& path,
                                            std::size_t most, std::size_t most_cgroups = 10'000);

// One process, held: both descriptors name it and never its pid's next owner.
class PinnedProcess {
 public:
  // NotFound: it is gone, or has left `process.cgroup` meanwhile.
  static absl::StatusOr<PinnedProcess> Pin(const CgroupLayout& layout, const CgroupProcess& process);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int directory() const { return directory_.get(); }  // /proc/PID; reads fail with ESRCH once it is gone

 private:
  PinnedProcess(pid_t pid, UniqueFd pidfd, UniqueFd directory)
      : pid_(pid), pidfd_(std::move(pidfd)), directory_(std::move(directory)) {}

  pid_t pid_;
  UniqueFd pidfd_;
  UniqueFd directory_;
};

// Resident anonymous memory in bytes, lazily freed pages included, from "statm" in `directory` (/proc/PID):
// what a process can hold of them at most, for a few microseconds. NotFound when it is gone.
absl::StatusOr<core::Bytes> ReadAnonymousMemory(int directory);

// The same by pid, which may be another process's by now: good for an order to look at them in.
absl::StatusOr<core::Bytes> GuessAnonymousMemory(pid_t pid);

}  // namespace memgov::kernel
