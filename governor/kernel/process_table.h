// Who is in a cgroup and holds how much, to be kept from shortly before a kill.
//
// The kernel prints such a table with a kill, but at most ten times in 5 s, and only to those who may read
// its log. This one is ours: bounded in pids, in time and in size, because it is read while milliseconds
// count.

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

struct ProcessEntry {
  int pid = 0;         // in our pid namespace
  std::string name;    // comm
  std::string cgroup;  // of the memory hierarchy
  core::Bytes rss = 0;
  core::Bytes anon = 0;  // what of it is not backed by files
  std::optional<int> oom_score_adj;
};

struct ProcessTable {
  std::vector<ProcessEntry> processes;  // the largest first
  std::size_t seen = 0;                 // how many were looked at
  bool complete = true;                 // false: a bound was reached, larger ones may be missing
};

struct ProcessTableBounds {
  std::size_t most_kept = 20;
  std::size_t most_pids = 2048;
  std::size_t most_cgroups = 256;
  std::chrono::nanoseconds longest = std::chrono::milliseconds(3);
};

// Of the cgroup at `path` and all below it. What ends meanwhile is left out. Empty for a cgroup that is gone.
ProcessTable ReadProcessTable(const CgroupLayout& layout, const std::string& path,
                              const ProcessTableBounds& bounds = {});

// The cgroup in the memory hierarchy of "/proc/PID/cgroup". Absent for one that is outside of our view (a
// private cgroup namespace) and for the root, where v1 shows a process that is ending.
std::optional<std::string> ParseProcessCgroup(MemoryVersion version, std::string_view text);

// The same of a process, if it is still called `name`: a pid may have a new owner.
std::optional<std::string> CgroupOfProcess(MemoryVersion version, int pid, std::string_view name);

}  // namespace memgov::kernel
