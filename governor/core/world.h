// What the engine remembers of the node's cgroups between snapshots: the tree, the last sample of each, and
// the state of those that are limit domains.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "governor/core/brake.h"
#include "governor/core/cadence.h"
#include "governor/core/client_event.h"
#include "governor/core/detector.h"
#include "governor/core/forecast.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"

namespace memgov::core {

struct CgroupState {
  CgroupId id{};
  CgroupId parent{};
  std::string path;
  bool has_brake = false;
  int depth = 0;
  const Rule* rule = nullptr;  // of the present policy
  std::optional<CgroupSample> last;
  std::optional<Instant> read_wanted_at;  // a reading was asked for, and none has come since
  Forecast forecast;
  std::set<ClientId> clients;  // attached from here or from below
  int requests = 0;            // in flight to clients of this very cgroup

  // Of limit domains only.
  std::optional<Bytes> limit;  // its own; the node's is MemTotal less the reserve
  Detector detector;
  Brake brake;
  std::optional<Bytes> wire;  // v1: where the alarm stands
  Instant in_need_since;
  Instant settled_at;     // memory that was asked for had left by then: an older reading still counts it
  unsigned withheld = 0;  // what was said in this episode about a need that nobody was asked to meet, as bits
  Cadence cadence;

  double UsagePercent() const;
};

class World {
 public:
  World();

  // The policy must outlive the world or the next SetPolicy.
  void SetPolicy(const Policy* policy);

  // Registers the client with its cgroup and all cgroups above; with none when the cgroup is not known. A
  // cgroup that vanishes takes its clients from those above.
  void Attach(ClientId client, CgroupId cgroup);
  void Detach(ClientId client, CgroupId cgroup);

  struct OomKill {
    CgroupId cgroup{};
    std::uint64_t count = 0;
  };
  struct Changes {
    std::vector<CgroupId> sampled;  // known ones, in the order of the snapshot
    std::vector<OomKill> oom_kills;
  };
  Changes Apply(const Snapshot& snapshot);

  CgroupState* Find(CgroupId id);
  const CgroupState* Find(CgroupId id) const;
  const std::map<CgroupId, CgroupState>& cgroups() const { return cgroups_; }

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
  void Vanish(CgroupId id);
  void ApplySample(const CgroupSample& sample, Changes* changes);

  const Policy* policy_ = nullptr;
  std::map<CgroupId, CgroupState> cgroups_;
};

}  // namespace memgov::core
