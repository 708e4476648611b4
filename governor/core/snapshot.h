// What the kernel said since the last tick: cgroups that came and went, and samples of some of them.
//
// A snapshot is a difference, not the whole world: a node with a thousand calm cgroups hands over only the
// few that were due. The engine keeps the last sample of each.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "governor/core/units.h"
#include "governor/core/workload.h"

namespace memgov::core {

// Names one cgroup for the life of the daemon; never reused, so a stale id names nothing.
enum class CgroupId : std::uint32_t {};

// The node itself: usage is MemTotal - MemAvailable, limit is MemTotal. It is always there.
inline constexpr CgroupId kNodeId{0};

// The parts of memory.stat that decisions need; kernel words. Hierarchical (v1: the total_ fields), bytes.
struct MemoryStat {
  Bytes anon = 0;
  Bytes file = 0;
  Bytes shmem = 0;
  Bytes inactive_anon = 0;
  Bytes active_anon = 0;
  Bytes inactive_file = 0;
  Bytes active_file = 0;
  Bytes unevictable = 0;
  std::optional<Bytes> slab;     // v2 only
  std::uint64_t pgmajfault = 0;  // cumulative count
  // Pages of files that were read again soon after they had been reclaimed, cumulative. Linux 5.9 and newer.
  std::optional<std::uint64_t> workingset_refault_file;
};

// Cumulative stall totals of memory.pressure, microseconds.
struct PressureTotals {
  std::uint64_t some_us = 0;
  std::uint64_t full_us = 0;
};

// One reading of one cgroup. What the kernel does not offer here is absent, never zero.
struct CgroupSample {
  CgroupId id{};
  Instant taken_at;
  Bytes usage = 0;
  std::optional<Bytes> limit;              // its own limit; absent: none
  std::optional<Bytes> memory_high;        // v2; absent: none is set, or v1
  std::optional<MemoryStat> stat;          // only when it was due
  std::optional<PressureTotals> pressure;  // comes with stat
  std::optional<Bytes> swap_left;          // of its own swap allowance; absent: no bound. The node: SwapFree
  std::uint64_t oom_kills = 0;             // cumulative; v2: in the subtree, v1: in this cgroup itself
};

struct CgroupAppeared {
  CgroupId id{};
  CgroupId parent{};              // kNodeId below the root of the hierarchy
  std::string path;               // below the root of the memory hierarchy, for example "/kubepods/burstable"
  bool has_brake = false;         // memory.high exists (v2)
  bool kills_of_subtree = false;  // oom_kills counts those in the cgroups below as well (v2)
  WorkloadNames names = {};       // as far as they are known at once
};

// The names of a cgroup that had come before them, or other ones.
struct CgroupNamed {
  CgroupId id{};
  WorkloadNames names;
};

struct ProcessSize {
  int pid = 0;
  std::string name;
  Bytes rss = 0;
};

// A process that the kernel's OOM killer ended, as the kernel's log has it.
struct KilledProcess {
  Instant at;   // when we read it
  int pid = 0;  // in the first pid namespace
  std::string name;
  std::string domain;     // the cgroup whose limit was hit; "/" for the node's memory; empty: not known
  std::string cgroup;     // the process's own; empty: not known
  bool or_below = false;  // ... or one below it (memory.oom.group)
  // Possibly outside of what is watched: not reported unless a counter tells of it too.
  bool maybe_elsewhere = false;
  std::vector<ProcessSize> processes;  // who was in the domain then, the largest first
};

enum class ReclaimId : std::uint64_t {};

// What became of a request to the kernel's own levers (decision.h, Reclaim).
struct ReclaimOutcome {
  ReclaimId id{};
  Instant finished_at;
  Bytes before = 0;  // usage of the cgroup
  Bytes after = 0;
  std::uint64_t refaults = 0;  // file pages read again while it went on
  std::string why;             // the error when it could not be done; empty otherwise
};

// A brake that we set is not there any more, though no decision took it away.
struct BrakeLost {
  CgroupId cgroup{};
  bool foreign = false;  // somebody else wrote memory.high; otherwise it could not stay for a reason of ours
};

// A cgroup that we decided to freeze is not frozen.
struct FreezeFailed {
  CgroupId cgroup{};
  std::string why;
};

struct Snapshot {
  std::vector<CgroupAppeared> appeared;  // parents before children
  std::vector<CgroupNamed> named;        // of earlier snapshots or of this one
  std::vector<CgroupId> vanished;        // children before parents
  std::vector<CgroupSample> samples;     // at most one for each cgroup
  std::vector<ReclaimOutcome> reclaims;
  std::vector<KilledProcess> kills;  // from the kernel's log, once each
  std::vector<BrakeLost> brakes_lost;
  std::vector<FreezeFailed> freezes_failed;
};

}  // namespace memgov::core
