#include "governor/journal/known_world.h"

#include <utility>

namespace memgov::journal {
namespace {

void Remember(const core::CgroupSample& sample, KnownCgroup* known) {
  auto stat = known->last ? known->last->stat : std::nullopt;
  auto pressure = known->last ? known->last->pressure : std::nullopt;
  known->last = sample;
  if (!sample.stat) known->last->stat = stat;
  if (!sample.pressure) known->last->pressure = pressure;
}

}  // namespace

void KnownWorld::Apply(const core::Snapshot& snapshot, std::span<const core::ClientEvent> events) {
  for (const core::CgroupAppeared& cgroup : snapshot.appeared) {
    cgroups_.try_emplace(cgroup.id, KnownCgroup{.cgroup = cgroup, .last = std::nullopt});
  }
  for (const core::CgroupNamed& named : snapshot.named) {
    if (const auto it = cgroups_.find(named.id); it != cgroups_.end()) it->second.cgroup.names = named.names;
  }
  for (const core::CgroupSample& sample : snapshot.samples) {
    // The node is there without having appeared.
    if (sample.id == core::kNodeId) cgroups_.try_emplace(core::kNodeId);
    if (const auto it = cgroups_.find(sample.id); it != cgroups_.end()) Remember(sample, &it->second);
  }
  for (const core::CgroupId id : snapshot.vanished) cgroups_.erase(id);
  for (const core::ClientEvent& event : events) {
    if (const auto* attached = std::get_if<core::ClientAttached>(&event)) {
      clients_[attached->client] = {.client = *attached, .report = std::nullopt};
    } else if (const auto* report = std::get_if<core::ClientReport>(&event)) {
      if (const auto it = clients_.find(report->client); it != clients_.end()) it->second.report = *report;
    } else if (const auto* detached = std::get_if<core::ClientDetached>(&event)) {
      clients_.erase(detached->client);
    }
  }
}

void KnownWorld::FillIn(Keyframe* keyframe) const {
  for (const auto& [id, cgroup] : cgroups_) keyframe->cgroups.push_back(cgroup);
  for (const auto& [id, client] : clients_) keyframe->clients.push_back(client);
}

core::Snapshot SnapshotOf(const Keyframe& keyframe) {
  core::Snapshot snapshot;
  for (const KnownCgroup& known : keyframe.cgroups) {
    if (known.cgroup.id != core::kNodeId) snapshot.appeared.push_back(known.cgroup);
    if (known.last) snapshot.samples.push_back(*known.last);
  }
  return snapshot;
}

std::vector<core::ClientEvent> EventsOf(const Keyframe& keyframe) {
  std::vector<core::ClientEvent> events;
  for (const KnownClient& known : keyframe.clients) {
    events.emplace_back(known.client);
    if (known.report) events.emplace_back(*known.report);
  }
  return events;
}

}  // namespace memgov::journal
