// What the tree knows of one cgroup. Private to cgroup_tree.cc (readings) and cgroup_scan.cc (comings and
// goings).

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/cgroup_files.h"
#include "governor/kernel/cgroup_tree.h"

namespace memgov::kernel {

struct CgroupTree::Entry {
  Entry(const CgroupLayout& layout, FdBudget& budget) : files(layout, budget) {}

  core::CgroupId id{};
  core::CgroupId parent{};
  std::string path;
  TreeTenants::Tenant* tenant = nullptr;
  std::uint64_t inode = 0;
  int watch = -1;                           // inotify: its directory
  std::array<int, 2> knob_watches{-1, -1};  // inotify: its limit, and memory.high (v2)
  bool polls_knobs = false;                 // one of them could not be watched
  std::uint64_t seen_in = 0;                // the last scan that found it
  bool gone = false;                        // a reading said so; the next scan confirms it

  core::Duration usage_every = kUsageEvery;
  core::Duration stat_every = kStatEvery;
  std::optional<core::Instant> read_at;  // usage
  std::optional<core::Instant> stat_read_at;
  std::optional<core::Instant> slow_read_at;  // limit, memory.high, events
  core::Instant next_usage;                   // the epoch: at once, the first reading is still to come
  core::Instant next_stat;  // taken with the first usage from then on, so that it costs no wake-up of its own
  std::optional<core::Instant> due;  // its key in due_

  core::Bytes usage = -1;
  bool may_rest = false;
  int repeats = 0;  // readings in a row that gave the same usage
  std::optional<core::Bytes> limit;
  std::optional<core::Bytes> memory_high;
  std::optional<core::Bytes> swap_left;
  std::uint64_t oom_kills = 0;
  // A limit that has to be polled leaves no rest.
  bool AtRest() const {
    return may_rest && !polls_knobs && usage_every >= kUsageEvery && repeats >= kRepeats;
  }

  // Into the processor's cache, where it cannot be still when its turn comes. It spans several lines.
  void Prefetch() const {
    constexpr std::size_t kLine = 64;
    const auto* bytes = reinterpret_cast<const char*>(this);
    for (std::size_t at = 0; at < sizeof(Entry); at += kLine) __builtin_prefetch(bytes + at);
  }

  std::size_t slot = 0;  // where the last sample was put; a hint
  CgroupFiles files;
};

}  // namespace memgov::kernel
