// What the engine remembers of the node's cgroups between snapshots: the tree, the last sample of each, and
// the state of those that are limit domains.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "governor/core/brake.h"
#include "governor/core/cadence.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/detector.h"
#include "governor/core/forecast.h"
#include "governor/core/freeze.h"
#include "governor/core/lazily_freed.h"
#include "governor/core/leak.h"
#include "governor/core/policy.h"
#include "governor/core/reclaim_pace.h"
#include "governor/core/snapshot.h"
#include "governor/core/stall.h"

namespace memgov::core {

struct CgroupState {
  CgroupId id{};
  CgroupId parent{};
  std::string path;
  WorkloadNames names;
  bool has_brake = false;
  int depth = 0;
  const Rule* rule = nullptr;  // of the present policy
  std::optional<CgroupSample> last;
  std::optional<MemoryStat> stat;         // the last one that was read
  Instant stat_at;                        // when
  Bytes pressing = 0;                     // see PressingOf
  LazyBounds lazily_freed;                // as of stat
  bool stat_wanted = false;               // before its level rises
  std::optional<Instant> read_wanted_at;  // a reading was asked for, and none has come since
  Forecast forecast;
  absl::btree_map<ClientId, CgroupState*> clients;  // attached from here or from below, and from where
  int requests = 0;                                 // in flight to clients of this very cgroup
  ReclaimPace reclaim;
  ReclaimPace pretended_reclaim;  // of observe mode, apart, so that it never holds up what is really done

  // Of limit domains only.
  std::optional<Bytes> limit;  // its own; the node's is MemTotal less the reserve
  Detector detector;
  Brake brake;
  Freeze freeze;
  Stall stall;
  bool stalls = false;  // it has been said
  bool pressure_alarm = false;
  std::optional<Bytes> wire;  // v1: where the alarm stands
  Leak leak;
  bool unsavable = false;  // it has been said
  bool hopeless = false;   // ... and with all returned it would still be critical
  Instant soft_limits_at;  // when they were shared out last
  Instant in_need_since;
  Instant settled_at;  // memory that was asked for had left by then: an older reading still counts it
  std::optional<Instant> look_again_at;  // when somebody's cooldown ends
  unsigned withheld = 0;  // what was said in this episode about a need that nobody was asked to meet, as bits
  Cadence cadence;

  // Pressing usage in percent of the limit, and all usage.
  double PressingPercent() const;
  double ChargedPercent() const;
};

// The part of a cgroup's usage that can end in a kill: all but the page cache that the kernel takes back by
// itself (inactive_file), as of the last stat. Any service that reads files fills its limit with cache and is
// in no need. It is what kubelet calls the working set, but for lazily freed memory: that counts here where
// `collects` says that we can collect it, and is left to the kernel where we cannot.
Bytes PressingOf(Bytes usage, const std::optional<MemoryStat>& stat, bool collects);

class World {
 public:
  World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // The policy must outlive the world or the next SetPolicy.
  void SetPolicy(const Policy* policy);
  // Whether lazily freed memory can be collected on this node.
  void SetCollects(bool collects) { collects_ = collects; }

  // Registers the client with its cgroup and all cgroups above; with none when the cgroup is not known. A
  // cgroup that vanishes takes its clients from those above.
  void Attach(ClientId client, CgroupId cgroup);
  void Detach(ClientId client, CgroupId cgroup);

  struct OomKill {
    CgroupId cgroup{};
    std::uint64_t count = 0;
  };
  struct Changes {
    std::vector<CgroupState*> sampled;    // known ones, in the order of the snapshot
    std::vector<CgroupId> governed_anew;  // names came, and with them another rule
    std::vector<OomKill> oom_kills;
  };
  Changes Apply(const Snapshot& snapshot);

  CgroupState* Find(CgroupId id);
  const CgroupState* Find(CgroupId id) const;
  const std::map<CgroupId, CgroupState>& cgroups() const { return cgroups_; }
  std::map<CgroupId, CgroupState>& cgroups() { return cgroups_; }
  // Looks at every cgroup: for what happens seldom.
  const CgroupState* FindByPath(const std::string& path) const;
  // Of the cgroup and those above it the one nearest to its limit; null for null, or when none has a limit.
  const CgroupState* TightestAbove(const CgroupState* cgroup) const;

  // What may still go to swap when this cgroup's memory is full: the least that it and those above have left.
  Bytes SwapLeftOf(const CgroupState& cgroup) const;
  DomainFacts FactsOf(const CgroupState& domain) const;
  // Those whose last stat shows lazily freed memory that is worth collecting.
  const std::set<CgroupId>& lazy() const { return lazy_; }
  bool IsBelow(const CgroupState& cgroup, const CgroupState& above) const;

  // Calls `visit` with the cgroup and each one above it, the node last, as far as they are known.
  template <typename Visit>
  void VisitUpwards(CgroupId cgroup, Visit visit) {
    for (CgroupState* at = Find(cgroup); at != nullptr; at = Find(at->parent)) {
      visit(*at);
      if (at->id == kNodeId) return;
    }
  }

 private:
  void Appear(const CgroupAppeared& appeared);
  void SetNames(const CgroupNamed& named, Changes* changes);
  void Vanish(CgroupId id);
  void ApplySample(const CgroupSample& sample, Changes* changes);

  const Policy* policy_ = nullptr;
  bool collects_ = false;
  std::set<CgroupId> lazy_;
  std::map<CgroupId, CgroupState> cgroups_;  // in order, so that what follows from it is always the same
  absl::flat_hash_map<CgroupId, CgroupState*> by_id_;  // into cgroups_; for Find, which every sample needs
};

}  // namespace memgov::core
