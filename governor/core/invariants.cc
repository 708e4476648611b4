#include "governor/core/invariants.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/core/explain.h"
#include "governor/core/ledger.h"

namespace memgov::core {
namespace {

constexpr auto kArmableReading = std::chrono::milliseconds(1);
// A client that was quick may be asked again after this part of the cooldown, one that gave nothing after
// twice that.
constexpr int kShortestPart = 10;
constexpr int kShortestPartInHaste = 50;  // where time is short, or the domain would be full before an answer
constexpr auto kWriteSettles = std::chrono::seconds(3);
constexpr Bytes kNothing = kMiB / 2;
constexpr double kSoftLimitFloor = 1.2;  // of live

std::string Text(CgroupId id) { return absl::StrCat("cgroup ", static_cast<std::uint32_t>(id)); }
std::string Text(DirectiveId id) { return absl::StrCat("directive ", static_cast<std::uint64_t>(id)); }

}  // namespace

std::vector<std::string> Invariants::Check(Instant now, const Policy& policy, const Snapshot& snapshot,
                                           std::span<const ClientEvent> events, const Decisions& decisions) {
  Expect(now >= now_, "time never runs backwards", "this tick");
  now_ = now;
  policy_ = &policy;
  TakeIn(snapshot);
  for (const ClientEvent& event : events) TakeIn(event);
  // In the order in which they happened: what closed a client's request comes before its next one.
  for (const Note& note : decisions.notes) CheckNote(note, decisions);
  for (const Directive& directive : decisions.directives) CheckDirective(directive);
  for (const SetWire& wire : decisions.wires) CheckWire(wire);
  for (const SetFreeze& freeze : decisions.freezes) CheckFreeze(freeze);
  for (const Reclaim& reclaim : decisions.reclaims) {
    Expect(cgroups_.contains(reclaim.cgroup), "only what is there is reclaimed from", Text(reclaim.cgroup));
    Expect(Enforces(reclaim.cgroup) && Enforces(reclaim.domain), "observe mode writes nothing", "a reclaim");
    Expect(reclaim.bytes > 0 && reclaim.longest > Duration{}, "a reclaim is bounded", Text(reclaim.cgroup));
    Expect(!reclaim.reason.rule.empty(), "everything has a reason", "a reclaim");
  }
  for (const SetPressureAlarm& alarm : decisions.pressure_alarms) {
    Expect(cgroups_.contains(alarm.cgroup), "only what is there is watched", Text(alarm.cgroup));
  }
  for (const SetCadence& cadence : decisions.cadences) {
    Expect(cgroups_.contains(cadence.cgroup), "only what is there is watched", Text(cadence.cgroup));
    Expect(cadence.usage_every > Duration{} && cadence.stat_every >= cadence.usage_every,
           "a stat is never read more often than usage", Text(cadence.cgroup));
  }
  for (const CgroupId id : decisions.read_now) {
    Expect(cgroups_.contains(id), "only what is there is read", Text(id));
  }
  CheckTimes(decisions);
  return std::exchange(broken_, {});
}

void Invariants::Expect(bool holds, const char* rule, const std::string& what) {
  if (!holds) broken_.push_back(absl::StrCat(rule, ": ", what));
}

const Rule& Invariants::RuleOf(CgroupId id) const {
  const auto it = cgroups_.find(id);
  if (it == cgroups_.end()) return RuleFor(*policy_, "/");
  return RuleFor(*policy_, it->second.path, it->second.names);
}

bool Invariants::IsBelow(CgroupId id, CgroupId above) const {
  while (id != above) {
    const auto it = cgroups_.find(id);
    if (id == kNodeId || it == cgroups_.end()) return false;
    id = it->second.parent;
  }
  return true;
}

void Invariants::TakeIn(const Snapshot& snapshot) {
  for (const CgroupAppeared& appeared : snapshot.appeared) {
    cgroups_[appeared.id] = {.parent = appeared.parent, .path = appeared.path, .names = appeared.names};
  }
  for (const CgroupNamed& named : snapshot.named) {
    if (const auto it = cgroups_.find(named.id); it != cgroups_.end()) it->second.names = named.names;
  }
  for (const CgroupId id : snapshot.vanished) cgroups_.erase(id);
  for (const CgroupSample& sample : snapshot.samples) {
    if (const auto it = cgroups_.find(sample.id); it != cgroups_.end()) it->second.last = sample;
  }
}

void Invariants::TakeIn(const ClientEvent& event) {
  if (const auto* attached = std::get_if<ClientAttached>(&event)) {
    clients_[attached->client].cgroup = attached->cgroup;
  } else if (const auto* detached = std::get_if<ClientDetached>(&event)) {
    clients_.erase(detached->client);
  } else if (const auto* report = std::get_if<ClientReport>(&event)) {
    if (const auto it = clients_.find(report->client); it != clients_.end()) it->second.report = *report;
  }
}

void Invariants::CheckNote(const Note& note, const Decisions& decisions) {
  const auto cgroup = cgroups_.find(note.domain);
  switch (note.kind) {
    case NoteKind::kReturned:
    case NoteKind::kDeclined:
    case NoteKind::kExpired: {
      Expect(note.bytes >= 0, "nothing negative comes back", "a note");
      const auto it = note.client ? clients_.find(*note.client) : clients_.end();
      if (it == clients_.end() || !it->second.giving || it->second.giving != note.directive) break;
      const Duration cooldown = RuleOf(it->second.cgroup).pace.cooldown;
      const int times = note.bytes < kNothing ? 2 : 1;
      it->second.giving.reset();
      it->second.free_at = note.at + cooldown / kShortestPart * times;
      it->second.free_in_haste_at = note.at + cooldown / kShortestPartInHaste * times;
      break;
    }
    case NoteKind::kAsked:
      if (!note.directive) break;
      Expect(std::any_of(decisions.directives.begin(), decisions.directives.end(),
                         [&](const Directive& d) { return d.id == note.directive; }),
             "what is said to be asked is asked", Text(*note.directive));
      break;
    case NoteKind::kBraking:
      if (cgroup == cgroups_.end()) break;
      cgroup->second.braking_since = note.at;
      cgroup->second.longest_brake = RuleOf(note.domain).brake.longest;
      break;
    case NoteKind::kBrakeArmed:
    case NoteKind::kBrakeReleased:
      if (cgroup != cgroups_.end()) cgroup->second.braking_since.reset();
      break;
    default:
      break;
  }
}

void Invariants::CheckDirective(const Directive& directive) {
  const std::string what = Text(directive.id);
  Expect(directive.id > last_directive_, "ids are never used again", what);
  last_directive_ = directive.id;
  Expect(
      !directive.reason.rule.empty() && directive.reason.threshold > 0 && directive.reason.held >= Duration{},
      "everything has a reason", what);
  Expect(directive.deadline > Duration{} && directive.ttl > Duration{}, "every directive ends", what);
  const auto client = clients_.find(directive.client);
  Expect(client != clients_.end(), "only who is attached is asked", what);
  if (client == clients_.end()) return;
  Expect(Enforces(directive.domain) && Enforces(client->second.cgroup), "observe mode sends nothing", what);
  Expect(IsBelow(client->second.cgroup, directive.domain), "only clients in the domain are asked", what);
  if (GivesMemory(directive.action)) CheckGiving(directive, client->second);
  const auto* limit = std::get_if<SetSoftLimit>(&directive.action);
  if (limit == nullptr || !client->second.report) return;
  Expect(
      static_cast<double>(limit->bytes) >= kSoftLimitFloor * static_cast<double>(client->second.report->live),
      "a soft limit leaves a heap room to work", what);
}

void Invariants::CheckGiving(const Directive& directive, Client& client) {
  const std::string what = Text(directive.id);
  Expect(!client.giving, "one request at a time", what);
  const auto domain = cgroups_.find(directive.domain);
  const bool in_haste = directive.level == Level::kCritical || directive.reason.signal != Signal::kUsage ||
                        (domain != cgroups_.end() && domain->second.braking_since);
  Expect(now_ >= (in_haste ? client.free_in_haste_at : client.free_at), "nobody is asked within its cooldown",
         what);
  const Bytes bytes = BytesOf(directive.action);
  Expect(bytes >= kMiB, "small sums are not worth a request", what);
  Expect(client.report.has_value(), "only who has reported is asked", what);
  const bool estimates = client.report && client.report->retained_kind != EstimateKind::kNone &&
                         KindOf(directive.action) != ActionKind::kShed;
  if (estimates) {
    // What has died in a heap since its last collection still counts as live.
    const bool may_hide = in_haste && std::holds_alternative<Collect>(directive.action);
    const Bytes reported =
        may_hide ? std::max(client.report->retained, client.report->live) : client.report->retained;
    Expect(bytes <= reported, "nobody is asked for more than it reported",
           absl::StrCat(what, ", ", TextOf(bytes), " of ", TextOf(reported)));
  }
  client.giving = directive.id;
}

void Invariants::CheckWire(const SetWire& wire) {
  const auto it = cgroups_.find(wire.cgroup);
  Expect(it != cgroups_.end(), "only what is there gets a wire", Text(wire.cgroup));
  if (it == cgroups_.end() || !wire.at) return;
  Cgroup& cgroup = it->second;
  Expect(Enforces(wire.cgroup), "observe mode writes nothing", "a wire");
  Expect(cgroup.last.has_value(), "a wire comes from a reading", cgroup.path);
  if (!cgroup.last) return;
  Expect(*wire.at > cgroup.last->usage, "a wire is armed above usage", cgroup.path);
  Expect(cgroup.last->limit && *wire.at < *cgroup.last->limit, "a wire is armed below the limit",
         cgroup.path);
  Expect(now_ - cgroup.last->taken_at < kArmableReading, "a wire is armed from a fresh reading", cgroup.path);
  if (!wire.brake) return;
  // A reading soon after a write may show what was there before it; then the writer itself has to look.
  const auto high = cgroup.last->memory_high;
  const bool settled = now_ - cgroup.high_written_at >= kWriteSettles;
  cgroup.high_written_at = now_;
  Expect(!settled || !high || cgroup.our_highs.contains(*high), "a foreign memory.high stays", cgroup.path);
  cgroup.our_highs.insert(*wire.at);
}

void Invariants::CheckFreeze(const SetFreeze& freeze) {
  const std::string what = Text(freeze.cgroup);
  if (!freeze.on) {
    Expect(frozen_since_.erase(freeze.cgroup) == 1, "only who stands still is thawed", what);
    return;
  }
  Expect(Enforces(freeze.cgroup), "observe mode writes nothing", "a freeze");
  Expect(frozen_since_.emplace(freeze.cgroup, now_).second, "nobody is frozen twice", what);
  Expect(std::none_of(clients_.begin(), clients_.end(),
                      [&](const auto& client) { return client.second.cgroup == freeze.cgroup; }),
         "a client never stands still", what);
}

void Invariants::CheckTimes(const Decisions& decisions) {
  Expect(!decisions.next_tick || *decisions.next_tick >= now_, "the next tick is not in the past",
         "this tick");
  for (const auto& [id, since] : frozen_since_) {
    Expect(now_ - since <= RuleOf(id).brake.freeze_longest, "nobody stands still too long", Text(id));
  }
  for (const auto& [id, cgroup] : cgroups_) {
    if (!cgroup.braking_since) continue;
    Expect(now_ - *cgroup.braking_since <= cgroup.longest_brake, "no brake is held too long", cgroup.path);
  }
}

}  // namespace memgov::core
