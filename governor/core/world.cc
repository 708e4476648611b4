#include "governor/core/world.h"

#include <algorithm>
#include <utility>

namespace memgov::core {

double CgroupState::PressingPercent() const {
  if (!last || !limit || *limit <= 0) return 0;
  return 100.0 * static_cast<double>(pressing) / static_cast<double>(*limit);
}

double CgroupState::ChargedPercent() const {
  if (!last || !limit || *limit <= 0) return 0;
  return 100.0 * static_cast<double>(last->usage) / static_cast<double>(*limit);
}

Bytes PressingOf(Bytes usage, const std::optional<MemoryStat>& stat, bool collects) {
  if (!stat) return usage;
  const Bytes lazily_freed = collects ? LazilyFreedBounds(*stat).at_least : 0;
  return std::max<Bytes>(usage - std::max<Bytes>(stat->inactive_file - lazily_freed, 0), 0);
}

World::World() {
  CgroupState& node = cgroups_[kNodeId];
  by_id_[kNodeId] = &node;
  node.id = kNodeId;
  node.parent = kNodeId;
  node.path = "/";
}

void World::SetPolicy(const Policy* policy) {
  policy_ = policy;
  for (auto& [id, cgroup] : cgroups_) cgroup.rule = &RuleFor(*policy_, cgroup.path, cgroup.names);
}

void World::Attach(ClientId client, CgroupId cgroup) {
  CgroupState* home = Find(cgroup);
  VisitUpwards(cgroup, [client, home](CgroupState& at) { at.clients.insert_or_assign(client, home); });
}

void World::Detach(ClientId client, CgroupId cgroup) {
  VisitUpwards(cgroup, [client](CgroupState& at) { at.clients.erase(client); });
}

World::Changes World::Apply(const Snapshot& snapshot) {
  Changes changes;
  changes.sampled.reserve(snapshot.samples.size());
  for (const CgroupAppeared& appeared : snapshot.appeared) Appear(appeared);
  for (const CgroupNamed& named : snapshot.named) SetNames(named, &changes);
  // After the newcomers, because one may come and go within one snapshot.
  for (const CgroupId id : snapshot.vanished) Vanish(id);
  std::erase_if(changes.governed_anew, [this](CgroupId id) { return Find(id) == nullptr; });
  for (const CgroupSample& sample : snapshot.samples) ApplySample(sample, &changes);
  return changes;
}

void World::Appear(const CgroupAppeared& appeared) {
  const CgroupState* parent = Find(appeared.parent);
  if (parent == nullptr) return;
  const auto [it, is_new] = cgroups_.try_emplace(appeared.id);
  if (!is_new) return;
  CgroupState& cgroup = it->second;
  by_id_[appeared.id] = &cgroup;
  cgroup.id = appeared.id;
  cgroup.parent = appeared.parent;
  cgroup.path = appeared.path;
  cgroup.names = appeared.names;
  cgroup.has_brake = appeared.has_brake;
  cgroup.depth = parent->depth + 1;
  cgroup.rule = &RuleFor(*policy_, cgroup.path, cgroup.names);
}

void World::SetNames(const CgroupNamed& named, Changes* changes) {
  CgroupState* cgroup = Find(named.id);
  if (cgroup == nullptr || cgroup->names == named.names) return;
  cgroup->names = named.names;
  const Rule* rule = &RuleFor(*policy_, cgroup->path, cgroup->names);
  if (std::exchange(cgroup->rule, rule) != rule) changes->governed_anew.push_back(named.id);
}

void World::Vanish(CgroupId id) {
  const auto it = cgroups_.find(id);
  if (id == kNodeId || it == cgroups_.end()) return;
  const auto clients = std::move(it->second.clients);
  VisitUpwards(it->second.parent, [&clients](CgroupState& above) {
    for (const auto& [client, home] : clients) above.clients.erase(client);
  });
  lazy_.erase(id);
  by_id_.erase(id);
  cgroups_.erase(it);
}

void World::ApplySample(const CgroupSample& sample, Changes* changes) {
  CgroupState* cgroup = Find(sample.id);
  if (cgroup == nullptr) return;
  if (cgroup->last && sample.oom_kills > cgroup->last->oom_kills) {
    changes->oom_kills.push_back({sample.id, sample.oom_kills - cgroup->last->oom_kills});
  }
  if (sample.stat) {
    cgroup->stat = sample.stat;
    cgroup->stat_at = sample.taken_at;
    cgroup->lazily_freed = LazilyFreedBounds(*sample.stat);
    if (collects_ && cgroup->lazily_freed.at_least >= ReclaimPace::kLeastWorthCollecting) {
      lazy_.insert(cgroup->id);
    } else {
      lazy_.erase(cgroup->id);
    }
  }
  cgroup->pressing = PressingOf(sample.usage, cgroup->stat, collects_);
  cgroup->forecast.Observe(sample.taken_at, cgroup->pressing);
  cgroup->stall.Observe(sample);
  cgroup->last = sample;
  cgroup->read_wanted_at.reset();
  cgroup->limit = sample.limit;
  if (sample.id == kNodeId && cgroup->limit) {
    cgroup->limit = std::max<Bytes>(*cgroup->limit - policy_->node.reserve, 0);
  }
  changes->sampled.push_back(cgroup);
}

Bytes World::SwapLeftOf(const CgroupState& cgroup) const {
  // Most machines with containers have no swap, and this is asked at every reading.
  if (cgroup.last && cgroup.last->swap_left == 0) return 0;
  std::optional<Bytes> least;
  for (const CgroupState* at = &cgroup; at != nullptr; at = Find(at->parent)) {
    if (at->last && at->last->swap_left) {
      least = std::min(least.value_or(*at->last->swap_left), *at->last->swap_left);
    }
    if (at->id == kNodeId) break;
  }
  return least.value_or(0);
}

DomainFacts World::FactsOf(const CgroupState& domain) const {
  DomainFacts facts{.pressing = domain.pressing,
                    .stat = domain.stat,
                    .lazily_freed_at_least = domain.lazily_freed.at_least,
                    .lazily_freed_at_most = domain.lazily_freed.at_most,
                    .growth = domain.forecast.BytesPerSecond(),
                    .swap_left = SwapLeftOf(domain)};
  for (const CgroupState* at = &domain; at != nullptr; at = Find(at->parent)) {
    if (at->limit && at->last) {
      facts.headroom.push_back({.domain = at->id, .bytes = *at->limit - at->pressing});
    }
    if (at->id == kNodeId) break;
  }
  return facts;
}

bool World::IsBelow(const CgroupState& cgroup, const CgroupState& above) const {
  const CgroupState* at = &cgroup;
  while (at != nullptr && at->depth > above.depth) at = Find(at->parent);
  return at == &above;
}

CgroupState* World::Find(CgroupId id) {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

const CgroupState* World::Find(CgroupId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

const CgroupState* World::FindByPath(const std::string& path) const {
  const auto it = std::find_if(cgroups_.begin(), cgroups_.end(),
                               [&path](const auto& entry) { return entry.second.path == path; });
  return it == cgroups_.end() ? nullptr : &it->second;
}

const CgroupState* World::TightestAbove(const CgroupState* cgroup) const {
  const CgroupState* tightest = nullptr;
  double fullest = -1;
  for (; cgroup != nullptr; cgroup = cgroup->id == kNodeId ? nullptr : Find(cgroup->parent)) {
    if (!cgroup->last || cgroup->limit.value_or(0) <= 0) continue;
    const double full = static_cast<double>(cgroup->last->usage) / static_cast<double>(*cgroup->limit);
    if (full > fullest) {
      fullest = full;
      tightest = cgroup;
    }
  }
  return tightest;
}

}  // namespace memgov::core
