// What a keyframe has to say of the node: kept up to date beside the engine, from the same inputs.

#pragma once

#include <map>
#include <span>

#include "governor/core/client_event.h"
#include "governor/core/snapshot.h"
#include "governor/journal/records.h"

namespace memgov::journal {

class KnownWorld {
 public:
  void Apply(const core::Snapshot& snapshot, std::span<const core::ClientEvent> events);

  // Cgroups with parents first (a parent is always known, and so numbered, before its children).
  void FillIn(Keyframe* keyframe) const;

 private:
  std::map<core::CgroupId, KnownCgroup> cgroups_;
  std::map<core::ClientId, KnownClient> clients_;
};

// What tells an engine that knows nothing of the world of `keyframe`, in one tick.
core::Snapshot SnapshotOf(const Keyframe& keyframe);
std::vector<core::ClientEvent> EventsOf(const Keyframe& keyframe);

}  // namespace memgov::journal
