#include "governor/core/engine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "governor/core/explain.h"

namespace memgov::core {

Engine::Engine(Policy policy) { SetPolicy(std::move(policy)); }

void Engine::SetPolicy(Policy policy) {
  policy_ = std::move(policy);
  world_.SetPolicy(&policy_);
}

Decisions Engine::Tick(Instant now, const Snapshot& snapshot, std::span<const ClientEvent> events) {
  now_ = now;
  decisions_ = {};
  const World::Changes changes = world_.Apply(snapshot);
  for (const ClientEvent& event : events) ledger_.Apply(event);
  std::erase_if(in_need_, [this](const NeedOrder& need) { return world_.Find(need.second) == nullptr; });

  for (const World::OomKill& kill : changes.oom_kills) {
    const CgroupState& cgroup = *world_.Find(kill.cgroup);
    Note note = NoteOn(cgroup, NoteKind::kOomKill);
    note.text = absl::StrCat(kill.count, " OOM kill", kill.count == 1 ? "" : "s", " in ", cgroup.path);
    decisions_.notes.push_back(std::move(note));
  }
  CloseRequests();
  for (const CgroupId id : changes.sampled) Judge(*world_.Find(id));
  for (const auto& [depth, id] : in_need_) Ask(*world_.Find(id));
  SendSoftLimits();
  for (const CgroupId id : changes.sampled) {
    SetWireOf(*world_.Find(id));
    SetCadenceOf(*world_.Find(id));
  }
  ScheduleNextTick();
  return std::move(decisions_);
}

void Engine::CloseRequests() {
  const auto usage_of = [this](CgroupId id) -> std::optional<Ledger::Reading> {
    const CgroupState* cgroup = world_.Find(id);
    if (cgroup == nullptr || !cgroup->last) return std::nullopt;
    return Ledger::Reading{cgroup->last->usage, cgroup->last->taken_at};
  };
  for (Closed& closed : ledger_.Close(now_, usage_of)) {
    const Directive& directive = closed.request.directive;
    if (!closed.request.gives && closed.kind == NoteKind::kReturned) continue;  // a setting that was taken
    Note note{.kind = closed.kind, .at = now_, .domain = directive.domain};
    if (const CgroupState* domain = world_.Find(directive.domain)) note = NoteOn(*domain, closed.kind);
    if (const auto client = ledger_.clients().find(directive.client); client != ledger_.clients().end()) {
      note.cgroup = client->second.info.cgroup;
    }
    note.client = directive.client;
    note.directive = directive.id;
    note.action = NameOf(directive.action);
    note.bytes = closed.returned;
    note.took = now_ - closed.request.sent_at;
    note.reason = directive.reason;
    note.text = std::move(closed.why);
    decisions_.notes.push_back(std::move(note));
  }
}

void Engine::Judge(CgroupState& domain) {
  if (!domain.limit || *domain.limit <= 0) {
    in_need_.erase({-domain.depth, domain.id});
    return;
  }
  const DomainView view{.usage_percent = domain.UsagePercent(),
                        .time_to_limit = domain.forecast.TimeToUse(*domain.limit - domain.last->usage)};
  const bool was_in_need = domain.detector.level() != Level::kCalm;
  const auto changed = domain.detector.Observe(now_, *domain.rule, view);
  if (!changed) return;

  const bool in_need = *changed != Level::kCalm;
  if (in_need && !was_in_need) {
    domain.in_need_since = now_;
    domain.withheld.clear();
    in_need_.insert({-domain.depth, domain.id});
  } else if (!in_need) {
    in_need_.erase({-domain.depth, domain.id});
  }
  const NoteKind kind = *changed == Level::kCritical ? NoteKind::kCritical
                        : in_need                    ? NoteKind::kWoke
                                                     : NoteKind::kRelaxed;
  decisions_.notes.push_back(NoteOn(domain, kind));
}

void Engine::SetWireOf(CgroupState& domain) {
  const Rule& rule = *domain.rule;
  const bool enforce = rule.mode == Mode::kEnforce && domain.limit && *domain.limit > 0;
  if (domain.has_brake) {
    const BrakeView view{.allowed = enforce && rule.brake.enabled && HelpIsPossible(domain),
                         .help_coming = HelpIsComing(domain),
                         .usage = domain.last->usage,
                         .limit = domain.limit.value_or(0),
                         .memory_high = domain.memory_high,
                         .sampled_at = domain.last->taken_at};
    const auto change = domain.brake.Observe(now_, rule, view);
    if (!change) return;
    if (change->write) {
      decisions_.wires.push_back({.cgroup = domain.id, .at = change->high, .brake = true});
    }
    Note note = NoteOn(domain, change->kind);
    note.bytes = change->high.value_or(0);
    note.text = change->why;
    decisions_.notes.push_back(std::move(note));
    return;
  }
  // v1: an alarm only; it slows nobody. The node has no file to arm.
  std::optional<Bytes> at;
  if (enforce && rule.wake.usage_percent && domain.id != kNodeId) {
    at = static_cast<Bytes>(static_cast<double>(*domain.limit) * *rule.wake.usage_percent / 100);
  }
  if (at == domain.wire) return;
  domain.wire = at;
  decisions_.wires.push_back({.cgroup = domain.id, .at = at});
}

void Engine::SetCadenceOf(CgroupState& cgroup) {
  CadenceInput input{.in_need = cgroup.detector.level() != Level::kCalm || cgroup.brake.braking()};
  if (input.in_need) input.in_need_for = now_ - cgroup.in_need_since;
  if (cgroup.limit) {
    const double wire_percent = cgroup.rule->wake.usage_percent.value_or(100);
    const auto wire = static_cast<Bytes>(static_cast<double>(*cgroup.limit) * wire_percent / 100);
    input.to_wire = std::max<Bytes>(wire - cgroup.last->usage, 0);
    input.limit = *cgroup.limit;
    input.bytes_per_second = cgroup.forecast.BytesPerSecond();
  }
  const Cadence cadence = CadenceFor(input);
  if (cadence == cgroup.cadence) return;
  cgroup.cadence = cadence;
  decisions_.cadences.push_back(
      {.cgroup = cgroup.id, .usage_every = cadence.usage_every, .stat_every = cadence.stat_every});
}

void Engine::ScheduleNextTick() {
  auto& next = decisions_.next_tick;
  const auto at = [&next](std::optional<Instant> when) {
    if (when && (!next || *when < *next)) next = when;
  };
  at(ledger_.NextDeadline());
  for (const auto& [depth, id] : in_need_) {
    const CgroupState& domain = *world_.Find(id);
    at(domain.brake.ends_at());
    // Some client may be asked again: not before its cooldown is over.
    for (const auto& [client_id, client] : ledger_.clients()) {
      if (client.ask_again_at > now_ && world_.IsWithin(client.info.cgroup, id)) at(client.ask_again_at);
    }
  }
}

Note Engine::NoteOn(const CgroupState& domain, NoteKind kind) const {
  return Note{.kind = kind,
              .at = now_,
              .domain = domain.id,
              .usage = domain.last ? domain.last->usage : 0,
              .limit = domain.limit,
              .reason = domain.detector.ReasonAt(now_)};
}

}  // namespace memgov::core
