#include "governor/core/testing.h"

#include <algorithm>

namespace memgov::core::testing {
namespace {

constexpr int kMostRounds = 3;

std::string PathOf(const std::map<CgroupId, std::string>& paths, CgroupId id) {
  const auto it = paths.find(id);
  return it == paths.end() ? absl::StrCat("#", static_cast<std::uint32_t>(id)) : it->second;
}

void Join(Decisions from, Decisions* into) {
  const auto append = [](auto& source, auto& target) {
    target.insert(target.end(), std::make_move_iterator(source.begin()),
                  std::make_move_iterator(source.end()));
  };
  append(from.directives, into->directives);
  append(from.reclaims, into->reclaims);
  append(from.wires, into->wires);
  append(from.pressure_alarms, into->pressure_alarms);
  append(from.freezes, into->freezes);
  append(from.cadences, into->cadences);
  append(from.notes, into->notes);
  append(from.read_now, into->read_now);
  into->next_tick = from.next_tick;
}

}  // namespace

CgroupId Node::Add(const std::string& path, std::optional<Bytes> limit, bool has_brake) {
  const CgroupId id{next_cgroup_++};
  const std::string above = path.substr(0, path.rfind('/'));
  CgroupId parent = kNodeId;
  for (const auto& [other, cgroup] : cgroups_) {
    if (cgroup.path == above) parent = other;
  }
  cgroups_[id] = {.path = path, .parent = parent, .limit = limit, .memory_high = std::nullopt};
  changes_.appeared.push_back(
      {.id = id, .parent = parent, .path = path, .has_brake = has_brake, .kills_of_subtree = true});
  return id;
}

void Node::Say(ClientEvent event) { events_.push_back(std::move(event)); }

void Node::Remove(CgroupId id) {
  cgroups_.erase(id);
  changes_.vanished.push_back(id);
}

void Node::Charge(CgroupId id, Bytes bytes) {
  for (auto it = cgroups_.find(id); it != cgroups_.end(); it = cgroups_.find(it->second.parent)) {
    it->second.usage += bytes;
  }
}

ClientId Node::Attach(CgroupId cgroup, const Capabilities& can) {
  const ClientId client{next_client_++};
  clients_[client] = cgroup;
  events_.emplace_back(ClientAttached{.client = client,
                                      .cgroup = cgroup,
                                      .pid = static_cast<int>(next_client_),
                                      .name = "test",
                                      .runtime = "test",
                                      .capabilities = can});
  return client;
}

void Node::Report(ClientId client, Bytes retained, EstimateKind kind, Bytes live) {
  events_.emplace_back(ClientReport{
      .client = client, .received_at = now_, .live = live, .retained = retained, .retained_kind = kind});
}

void Node::Answer(const Directive& directive, Bytes claimed, OutcomeStatus status) {
  events_.emplace_back(ClientOutcome{.client = directive.client,
                                     .directive = directive.id,
                                     .received_at = now_,
                                     .status = status,
                                     .why = status == OutcomeStatus::kDone ? "" : "no",
                                     .before = 4 * kGiB,
                                     .after = 4 * kGiB - claimed});
}

void Node::Deliver(const Directive& directive, Bytes bytes) {
  Charge(clients_.at(directive.client), -bytes);
  Answer(directive, bytes);
}

void Node::Reclaimed(const Reclaim& request, Bytes bytes, std::uint64_t refaults) {
  const Bytes before = cgroups_.at(request.cgroup).usage;
  Charge(request.cgroup, -bytes);
  changes_.reclaims.push_back({.id = request.id,
                               .finished_at = now_,
                               .before = before,
                               .after = before - bytes,
                               .refaults = refaults});
}

CgroupSample Node::SampleOf(CgroupId id, bool with_stat) const {
  const Cgroup& cgroup = cgroups_.at(id);
  with_stat = with_stat || cgroup.stat_often;
  return {.id = id,
          .taken_at = now_,
          .usage = cgroup.usage,
          .limit = cgroup.limit,
          .memory_high = cgroup.memory_high,
          .stat = with_stat ? cgroup.stat : std::nullopt,
          .pressure = with_stat ? cgroup.pressure : std::nullopt,
          .swap_left = cgroup.swap_left,
          .oom_kills = cgroup.oom_kills};
}

Decisions Node::Tick() {
  std::vector<CgroupId> all;
  for (const auto& [id, cgroup] : cgroups_) all.push_back(id);
  return Tick(all);
}

Decisions Node::Tick(const std::vector<CgroupId>& read) {
  Decisions joined;
  std::vector<CgroupId> due = read;
  for (int round = 0; round < kMostRounds; ++round) {
    Snapshot snapshot = std::exchange(changes_, {});
    for (const CgroupId id : due) {
      if (cgroups_.contains(id) && cgroups_.at(id).readable)
        snapshot.samples.push_back(SampleOf(id, round > 0));
    }
    for (const CgroupSample& sample : snapshot.samples) last_read_[sample.id] = sample;
    const std::vector<ClientEvent> events = std::exchange(events_, {});
    Decisions decisions = engine_.Tick(now_, snapshot, events);
    if (observer_) observer_(now_, snapshot, events, decisions);
    due = decisions.read_now;
    for (const SetWire& wire : decisions.wires) {
      if (wire.brake && cgroups_.contains(wire.cgroup)) cgroups_.at(wire.cgroup).memory_high = wire.at;
    }
    Join(std::move(decisions), &joined);
    if (due.empty()) break;
    now_ += std::chrono::microseconds(10);
  }
  return joined;
}

std::vector<std::string> Node::Lines(const Decisions& decisions) const {
  std::map<CgroupId, std::string> paths{{kNodeId, "/"}};
  for (const auto& [id, cgroup] : cgroups_) paths[id] = cgroup.path;
  std::vector<std::string> lines;
  for (const Note& note : decisions.notes) {
    std::string line(NameOf(note.kind));
    if (note.client) {
      absl::StrAppend(&line, " c", static_cast<std::uint64_t>(*note.client), " ", note.action);
    } else {
      absl::StrAppend(&line, " ", PathOf(paths, note.domain));
      if (note.cgroup) absl::StrAppend(&line, " ", PathOf(paths, *note.cgroup), " ", note.action);
    }
    if (note.bytes != 0) absl::StrAppend(&line, " ", TextOf(note.bytes));
    if (!note.text.empty()) absl::StrAppend(&line, ": ", note.text);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> Node::Lines(const Decisions& decisions, std::vector<NoteKind> kinds) const {
  Decisions some;
  for (const Note& note : decisions.notes) {
    if (std::find(kinds.begin(), kinds.end(), note.kind) != kinds.end()) some.notes.push_back(note);
  }
  return Lines(some);
}

}  // namespace memgov::core::testing
