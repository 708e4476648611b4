#include "governor/core/world.h"

#include <algorithm>

namespace memgov::core {

double CgroupState::UsagePercent() const {
  if (!last || !limit || *limit <= 0) return 0;
  return 100.0 * static_cast<double>(last->usage) / static_cast<double>(*limit);
}

World::World() {
  CgroupState& node = cgroups_[kNodeId];
  node.id = kNodeId;
  node.parent = kNodeId;
  node.path = "/";
}

void World::SetPolicy(const Policy* policy) {
  policy_ = policy;
  for (auto& [id, cgroup] : cgroups_) cgroup.rule = &RuleFor(*policy_, cgroup.path);
}

World::Changes World::Apply(const Snapshot& snapshot) {
  Changes changes;
  for (const CgroupAppeared& appeared : snapshot.appeared) {
    const auto parent = cgroups_.find(appeared.parent);
    if (parent == cgroups_.end() || appeared.id == kNodeId) continue;
    CgroupState& cgroup = cgroups_[appeared.id];
    cgroup.id = appeared.id;
    cgroup.parent = appeared.parent;
    cgroup.path = appeared.path;
    cgroup.has_brake = appeared.has_brake;
    cgroup.depth = parent->second.depth + 1;
    cgroup.rule = &RuleFor(*policy_, cgroup.path);
  }
  // After the newcomers, because one may come and go within one snapshot.
  for (const CgroupId id : snapshot.vanished) {
    if (id != kNodeId && cgroups_.erase(id) > 0) changes.vanished.push_back(id);
  }
  for (const CgroupSample& sample : snapshot.samples) ApplySample(sample, &changes);
  return changes;
}

void World::ApplySample(const CgroupSample& sample, Changes* changes) {
  CgroupState* cgroup = Find(sample.id);
  if (cgroup == nullptr) return;
  if (cgroup->last && sample.oom_kills > cgroup->last->oom_kills) {
    changes->oom_kills.push_back({sample.id, sample.oom_kills - cgroup->last->oom_kills});
  }
  cgroup->forecast.Observe(sample.taken_at, sample.usage);
  cgroup->last = sample;
  cgroup->memory_high = sample.memory_high;
  cgroup->limit = sample.limit;
  if (sample.id == kNodeId && cgroup->limit) {
    cgroup->limit = std::max<Bytes>(*cgroup->limit - policy_->node.reserve, 0);
  }
  changes->sampled.push_back(sample.id);
}

CgroupState* World::Find(CgroupId id) {
  const auto it = cgroups_.find(id);
  return it == cgroups_.end() ? nullptr : &it->second;
}

const CgroupState* World::Find(CgroupId id) const {
  const auto it = cgroups_.find(id);
  return it == cgroups_.end() ? nullptr : &it->second;
}

bool World::IsWithin(CgroupId cgroup, CgroupId domain) const {
  const CgroupState* at = Find(cgroup);
  while (at != nullptr) {
    if (at->id == domain) return true;
    if (at->id == kNodeId) return false;
    at = Find(at->parent);
  }
  return false;
}

}  // namespace memgov::core
