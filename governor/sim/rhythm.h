// When which cgroup is read: the daemon's rhythm (kernel/cgroup_tree.h) without the files. Cgroups of one
// cadence share slots, so that many are read in one tick; one at rest is read less often.

#pragma once

#include <map>
#include <optional>
#include <vector>

#include "governor/core/decision.h"
#include "governor/core/snapshot.h"
#include "governor/sim/kernel_law.h"
#include "governor/sim/machine.h"

namespace memgov::sim {

class Rhythm {
 public:
  void Add(core::CgroupId id);
  void Forget(core::CgroupId id);
  void Set(const core::SetCadence& cadence);
  std::optional<Instant> NextDue() const;
  // Reads what is due.
  void CollectDue(Machine& machine, core::Snapshot* out);
  // Reads this one whole. A second reading in one snapshot replaces the first.
  void Sample(Machine& machine, core::CgroupId id, core::Snapshot* out);

 private:
  struct Entry {
    bool known = false;
    Duration usage_every{}, stat_every{};
    std::optional<Instant> read_at, stat_read_at;
    Instant next_usage, next_stat;
    std::optional<Instant> due;
    Bytes usage = -1;
    bool may_rest = false;
    int repeats = 0;
    std::optional<Bytes> limit, memory_high;
    bool AtRest() const;
  };
  Entry& EntryOf(core::CgroupId id);
  void CollectOne(Machine& machine, core::CgroupId id, Instant horizon, core::Snapshot* out);
  void Read(Machine& machine, core::CgroupId id, bool with_stat, bool only_news, core::Snapshot* out);
  void Reschedule(core::CgroupId id);
  void Unschedule(core::CgroupId id);

  std::vector<Entry> entries_;
  std::map<Instant, std::vector<core::CgroupId>> due_;
};

}  // namespace memgov::sim
