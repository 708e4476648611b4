// What it costs to keep nothing: every file of a sample is opened by its path, read and closed for each
// sample.
//
// The plainest governor there is, and a lean one: paths are ready, buffers are on the stack, what is read is
// parsed by the same functions and ends in the same samples as CgroupTree's. It has no inotify to say that a
// limit was written and remembers no usage, so a limit and the kills are read as often as usage is; stat and
// pressure as seldom as CgroupTree reads those of a calm cgroup.

#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::bench {

class ReopeningReader {
 public:
  explicit ReopeningReader(kernel::CgroupLayout layout) : layout_(std::move(layout)) {}

  void Add(const core::CgroupAppeared& cgroup);

  // Appends a sample of each cgroup that is there; with stat and pressure in one of `stat_in` rounds, another
  // part of them in each.
  void ReadAll(core::Instant now, std::size_t stat_in, core::Snapshot* out);

 private:
  struct Cgroup {
    core::CgroupId id{};
    std::string usage, limit, high, events, stat, pressure;  // empty: not to be had here
  };

  kernel::CgroupLayout layout_;
  std::vector<Cgroup> cgroups_;
  std::size_t round_ = 0;
};

}  // namespace memgov::bench
