// One report for each kill of the kernel's, from two witnesses that see different halves of it.
//
// The counters (memory.events, memory.oom_control) are certain and nameless: they say how many died, on v2
// again in every cgroup above, on v1 in the victim's own only, and they are read seconds apart or, when the
// cgroup is removed, never. The kernel's log names the victim and the limit that was hit, at once, but can be
// overrun, denied, or rate-limited (10 dumps in 5 s), and then knows only who died. So a kill that the log
// places is reported at once, and the counters that rise by it later are explained already; what the counters
// count beyond that is reported from them alone, after a grace in which a record, or the reading of a deeper
// cgroup, may still come.
//
// Cgroups are named by path, because a victim's cgroup is often gone before it can be reported.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

// One kill; from the counters alone it may be several, which nothing tells apart.
struct KillReport {
  std::string domain;  // whose limit was hit, "/" for the node's memory; empty: not known
  std::string cgroup;  // the victim's, or the deepest one above it that counted the kill; empty: not known
  std::uint64_t count = 1;
  std::optional<KilledProcess> victim;  // absent: the log did not say
};

class OomKills {
 public:
  // Longer than the tree takes to read a parent and then its child: a cgroup at rest is read every 4 s.
  static constexpr Duration kGrace = std::chrono::seconds(5);
  // A victim that no counter has claimed by then is reported without a place: its cgroup came and went
  // unseen.
  static constexpr Duration kUnclaimed = 2 * kGrace;
  // For so long a kill that was reported waits for the counters to show it.
  static constexpr Duration kExplained = std::chrono::seconds(20);

  // Whether a cgroup's counter includes the kills in the cgroups below it (v2) or not (v1).
  void SetHierarchical(bool hierarchical) { hierarchical_ = hierarchical; }

  // The counter of the cgroup at `path` rose by `kills`.
  void Count(Instant now, const std::string& path, std::uint64_t kills);
  // The kernel's log has named a victim.
  void Record(KilledProcess victim);

  // What is to be reported by now, each kill once.
  std::vector<KillReport> Take(Instant now);

  // When Take has more to say even if nothing is heard until then.
  std::optional<Instant> NextDue() const;

 private:
  // Kills counted but not reported, at one cgroup; negative: reported but not counted yet.
  struct Tally {
    std::int64_t open = 0;
    Instant since;  // of the last change of sign
  };
  struct Roaming {
    std::uint64_t kills = 0;
    Instant since;
  };

  void Explain(Instant now, const std::string& cgroup, std::uint64_t kills);
  void ExplainAbove(Instant now, std::string_view cgroup, std::uint64_t kills);
  void Add(Instant now, const std::string& path, std::int64_t kills);
  void Forget(Instant now);
  void SpendRoaming(Instant now);
  std::map<std::string, std::uint64_t> OwnKills() const;
  void ReportCounted(Instant now, const std::string& path, std::uint64_t kills, bool alone);

  bool hierarchical_ = false;
  std::map<std::string, Tally> tallies_;
  std::map<std::string, Roaming> roaming_;  // reported somewhere below this path, by memory.oom.group
  std::deque<KilledProcess> unplaced_;      // named, but nobody said where
  std::vector<KillReport> ready_;
};

}  // namespace memgov::core
