// What this node offers memgovd, found out by looking and by harmless trials, as plain values.
//
// What can be read is read. What only a trial tells (a trigger's window, an argument of memory.reclaim) is
// tried in a cgroup of our own that holds nothing and is removed again, or on ourselves; nobody else notices.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

struct ProbeRequest {
  std::optional<std::string> cgroup_mount;
  std::vector<std::string> roots{"/"};
  std::string socket_path;
  std::string state_dir;
  std::size_t clients_per_tenant = 0;  // as asked for; goes into the facts
  bool try_out = true;                 // false: only look; what a trial would tell stays absent
};

// An attempt: 0 when it worked, else its errno. Absent: it could not be tried, or makes no sense here.
using Trial = std::optional<int>;

struct RootFacts {
  std::string path;
  bool exists = false;
  bool has_memory = false;  // its cgroups have the memory controller
};

struct NodeFacts {
  std::string kernel;  // "6.1.0-18-amd64"

  std::optional<CgroupLayout> layout;
  std::string layout_error;  // why not
  std::vector<RootFacts> roots;
  std::size_t cgroups = 0;  // below the roots
  int write_error = 0;      // of making a cgroup of our own below the first root
  bool own_cgroup = false;  // it was made; the trials below were

  bool system_pressure = false;
  bool cgroup_pressure = false;
  Trial fast_trigger;               // a PSI trigger with a window of 500 ms
  Trial slow_trigger;               // ... of 2 s
  bool triggers_on_cgroup = false;  // they were tried on a cgroup, not on /proc/pressure

  Trial memory_high;
  Trial oom_counter;  // memory.events, memory.oom_control
  Trial memory_reclaim;
  Trial reclaim_swappiness;
  Trial usage_eventfd;  // v1
  Trial freezer;
  Trial process_madvise;

  std::optional<bool> mglru;           // absent: the kernel has none
  std::string transparent_huge_pages;  // "always", "madvise", "never"; empty: none
  core::Bytes swap = 0;

  std::uint32_t uid = 0;
  std::uint64_t capabilities = 0;  // the effective ones
  bool first_pid_namespace = false;
  bool first_cgroup_namespace = false;
  int kmsg_error = 0;

  std::uint64_t file_limit = 0;  // the hard one
  std::size_t clients_per_tenant = 0;
  std::uint64_t listen_queue = 0;  // net.core.somaxconn of our network namespace; 0: not known
  std::uint64_t inotify_watches = 0;
  std::uint64_t inotify_instances = 0;
  std::optional<std::uint64_t> memlock_limit;  // absent: none

  int socket_dir_error = 0;  // of making a file there
  int state_dir_error = 0;
  // Why what is kept there could not be believed (base/state_directory.h), with what to do; empty: it can be.
  std::string socket_dir_distrust;
  std::string state_dir_distrust;
  std::optional<int> daemon_pid;  // of a memgovd that serves the socket
};

// Takes some milliseconds, more with thousands of cgroups. Any thread; the caller has no other libcgroup call
// running.
NodeFacts ProbeNode(const ProbeRequest& request);

// Whether a capability (CAP_...) is in the set.
bool HasCapability(std::uint64_t set, unsigned capability);

// The owner of a flock on `file`, by /proc/locks: asking takes no lock. Absent: nobody, or not to be seen.
std::optional<int> LockOwner(const std::string& file);

}  // namespace memgov::kernel
