// What the engine remembers of the node's cgroups between snapshots: the tree, the last sample of each, and
// the state of those that are limit domains.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "governor/core/brake.h"
#include "governor/core/cadence.h"
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
  std::optional<Bytes> memory_high;  // the last one sampled
  Forecast forecast;

  // Of limit domains only.
  std::optional<Bytes> limit;  // its own; the node's is MemTotal less the reserve
  Detector detector;
  Brake brake;
  std::optional<Bytes> wire;  // v1: where the alarm stands
  Instant in_need_since;
  std::string withheld;  // the last thing said about a need that nobody was asked to meet
  Cadence cadence;

  double UsagePercent() const;
};

class World {
 public:
  World();

  // The policy must outlive the world or the next SetPolicy.
  void SetPolicy(const Policy* policy);

  struct OomKill {
    CgroupId cgroup{};
    std::uint64_t count = 0;
  };
  struct Changes {
    std::vector<CgroupId> sampled;  // known ones, in the order of the snapshot
    std::vector<CgroupId> vanished;
    std::vector<OomKill> oom_kills;
  };
  Changes Apply(const Snapshot& snapshot);

  CgroupState* Find(CgroupId id);
  const CgroupState* Find(CgroupId id) const;
  std::map<CgroupId, CgroupState>& cgroups() { return cgroups_; }

  // True when `cgroup` is `domain` or lies below it. Everything lies below the node.
  bool IsWithin(CgroupId cgroup, CgroupId domain) const;

 private:
  void ApplySample(const CgroupSample& sample, Changes* changes);

  const Policy* policy_ = nullptr;
  std::map<CgroupId, CgroupState> cgroups_;
};

}  // namespace memgov::core
