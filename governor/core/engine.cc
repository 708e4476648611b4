#include "governor/core/engine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "governor/core/explain.h"
#include "governor/core/range.h"
#include "governor/core/words.h"

namespace memgov::core {
namespace {

// A wire must be above usage when it is armed; at full speed a thread fills 2.4 MiB in this time.
constexpr auto kArmableReading = std::chrono::milliseconds(1);
// A fiftieth of the limit.
constexpr Bytes kArmBelowWire = 50;
// Of the limit, too: more page cache than this moves no alarm, and one that stands too high by less stays.
constexpr Bytes kMostCacheAtAlarm = 50;
constexpr Bytes kAlarmTolerance = 256;

// Where a domain's v1 alarm stands, so that what is pressing has reached `wire` when it rings: the kernel
// compares usage. With the least page cache between the two an alarm at `wire` rings too early, and then no
// more.
Bytes AlarmFor(const CgroupState& domain, Bytes wire) {
  const Bytes limit = *domain.limit;
  const Bytes most = std::min(limit / kMostCacheAtAlarm, (limit - wire) / 2);
  const Bytes at = wire + std::clamp<Bytes>(domain.last->usage - domain.pressing, 0, most);
  const bool stands = domain.wire && *domain.wire >= at && *domain.wire - at <= limit / kAlarmTolerance;
  return stands ? *domain.wire : at;
}

}  // namespace

Engine::Engine(Policy policy) { SetPolicy(std::move(policy)); }

void Engine::SetPolicy(Policy policy) {
  policy_ = std::move(policy);
  world_.SetPolicy(&policy_);
  policy_is_new_ = true;
}

Decisions Engine::Tick(Instant now, const Snapshot& snapshot, std::span<const ClientEvent> events) {
  now_ = now;
  decisions_ = {};
  touched_.clear();
  const World::Changes changes = world_.Apply(snapshot);
  for (const ClientEvent& event : events) TakeIn(event);
  std::erase_if(in_need_, [this](const NeedOrder& need) { return world_.Find(need.second) == nullptr; });
  std::erase_if(braking_, [this](CgroupId id) { return world_.Find(id) == nullptr; });

  ReportKills(snapshot, changes);
  const bool closed = CloseRequests();
  CloseReclaims(snapshot);

  for (CgroupState* cgroup : changes.sampled) Touch(*cgroup);
  for (const CgroupId id : changes.governed_anew) Touch(*world_.Find(id));
  const bool policy_is_new = std::exchange(policy_is_new_, false);
  if (policy_is_new) {
    for (auto& [id, cgroup] : world_.cgroups()) Touch(cgroup);
  }
  for (const auto& [id, cgroup] : touched_) Judge(*cgroup);

  // A request that waited for a reading in the last tick has it now, or goes to somebody else.
  const bool waited = std::exchange(waits_for_reading_, false);
  MeetNeeds(!events.empty() || closed || waited || policy_is_new);
  FreezeAndThaw(snapshot);
  for (const ClientEvent& event : events) {
    if (const auto* report = std::get_if<ClientReport>(&event)) {
      SendSoftLimit(report->client);
      FollowLimits(*report);
      SendLazyMode(report->client);
    }
  }

  lost_.clear();
  for (const BrakeLost& lost : snapshot.brakes_lost) {
    CgroupState* cgroup = world_.Find(lost.cgroup);
    if (cgroup == nullptr) continue;
    lost_[lost.cgroup] = lost;
    Touch(*cgroup);
  }
  for (const CgroupId id : braking_) Touch(*world_.Find(id));
  for (const auto& [id, cgroup] : touched_) {
    if (!cgroup->last) continue;
    SetWireOf(*cgroup);
    SetPressureAlarmOf(*cgroup);
    SetCadenceOf(*cgroup);
  }
  for (const CgroupId id : braking_) WakeAt(world_.Find(id)->brake.ends_at());
  WakeAt(ledger_.NextDeadline(now_));
  return std::move(decisions_);
}

void Engine::TakeIn(const ClientEvent& event) {
  const auto leave = [this](ClientId client) {
    if (const ClientState* known = ledger_.Find(client)) world_.Detach(client, known->info.cgroup);
  };
  if (const auto* attached = std::get_if<ClientAttached>(&event)) {
    leave(attached->client);  // attached anew: its process has moved
    world_.Attach(attached->client, attached->cgroup);
    // Where help was not possible before, no brake is armed, and the next reading may be a second away.
    world_.VisitUpwards(attached->cgroup, [this](CgroupState& at) {
      const bool armable = at.has_brake && at.limit && !at.brake.holds();
      if (armable && at.last && !WasJustRead(at)) WantReading(at);
    });
  } else if (const auto* detached = std::get_if<ClientDetached>(&event)) {
    leave(detached->client);
  }
  ledger_.Apply(now_, event);
}

void Engine::ReportKills(const Snapshot& snapshot, const World::Changes& changes) {
  for (const CgroupAppeared& cgroup : snapshot.appeared) oom_kills_.SetHierarchical(cgroup.kills_of_subtree);
  for (const World::OomKill& kill : changes.oom_kills) {
    oom_kills_.Count(now_, world_.Find(kill.cgroup)->path, kill.count);
    ledger_.Killed(now_, kill.cgroup);
  }
  for (const KilledProcess& victim : snapshot.kills) oom_kills_.Record(victim);
  for (KillReport& report : oom_kills_.Take(now_)) {
    const CgroupState* domain = world_.FindByPath(report.domain.empty() ? report.cgroup : report.domain);
    if (report.domain.empty()) {
      domain = world_.TightestAbove(domain);
      report.domain = domain == nullptr ? report.cgroup : domain->path;
    }
    Note note{.kind = NoteKind::kOomKill, .at = now_, .domain = kNodeId};
    if (domain != nullptr) note = NoteOn(*domain, NoteKind::kOomKill);
    note.text = TextOf(report);
    note.kill = std::move(report);
    decisions_.notes.push_back(std::move(note));
  }
  WakeAt(oom_kills_.NextDue());
}

bool Engine::CloseRequests() {
  const auto reading_of = [this](CgroupId id) -> std::optional<Ledger::Reading> {
    const CgroupState* cgroup = world_.Find(id);
    if (cgroup == nullptr || !cgroup->last) return std::nullopt;
    return Ledger::Reading{cgroup->last->usage, cgroup->last->taken_at};
  };
  std::vector<Closed> all = ledger_.Close(now_, reading_of);
  for (Closed& closed : all) {
    const InFlight& request = closed.request;
    if (CgroupState* cgroup = request.gives ? world_.Find(request.cgroup) : nullptr) {
      --cgroup->requests;
      Touch(*cgroup);
    }
    if (closed.returned > 0) {
      world_.VisitUpwards(request.cgroup, [&](CgroupState& at) {
        at.settled_at = std::max(at.settled_at, request.outcome->received_at);
        at.soft_limits_at = {};  // there is room to share out
      });
    }
    const Directive& directive = request.directive;
    if (!request.gives && closed.kind == NoteKind::kReturned) continue;  // a setting that was taken
    Note note{.kind = closed.kind, .at = now_, .domain = directive.domain};
    if (const CgroupState* domain = world_.Find(directive.domain)) note = NoteOn(*domain, closed.kind);
    note.cgroup = request.cgroup;
    note.client = directive.client;
    note.directive = directive.id;
    note.action = NameOf(directive.action);
    note.bytes = closed.returned;
    note.took = now_ - request.sent_at;
    note.reason = directive.reason;
    note.text = std::move(closed.why);
    decisions_.notes.push_back(std::move(note));
  }
  return !all.empty();
}

void Engine::Judge(CgroupState& domain) {
  const bool was_in_need = domain.detector.level() != Level::kCalm;
  if (!domain.last || !domain.limit || *domain.limit <= 0) {
    if (!was_in_need) return;
    Note note = NoteOn(domain, NoteKind::kRelaxed);
    note.text = "its limit is gone";
    decisions_.notes.push_back(std::move(note));
    domain.detector = {};
    in_need_.erase({-domain.depth, domain.id});
    return;
  }
  const DomainView view = ViewOf(domain);
  WatchForLeak(domain);
  if (NeedsStat(domain, view)) return;
  const auto changed = domain.detector.Observe(now_, *domain.rule, view);
  const auto stall = view.stall_percent ? domain.stall.view() : std::nullopt;
  const bool stalls = stall && domain.detector.ReasonAt(now_).signal == Signal::kStall &&
                      domain.detector.level() != Level::kCalm;
  if (stalls && !domain.stalls) NoteStall(domain, *stall);
  // Once for an episode.
  domain.stalls = stalls || (domain.stalls && domain.detector.level() != Level::kCalm);
  if (!changed) return;

  const bool in_need = *changed != Level::kCalm;
  if (in_need && !was_in_need) {
    domain.in_need_since = now_;
    domain.withheld = 0;
    in_need_.insert({-domain.depth, domain.id});
  } else if (!in_need) {
    in_need_.erase({-domain.depth, domain.id});
  }
  const NoteKind kind = *changed == Level::kCritical ? NoteKind::kCritical
                        : in_need                    ? NoteKind::kWoke
                                                     : NoteKind::kRelaxed;
  Note note = NoteOn(domain, kind);
  if (in_need) note.facts = world_.FactsOf(domain);
  decisions_.notes.push_back(std::move(note));
}

std::optional<Duration> Engine::TimeToLimit(const CgroupState& domain) const {
  return domain.forecast.TimeToUse(SaturatedSum(*domain.limit, world_.SwapLeftOf(domain)) - domain.pressing);
}

DomainView Engine::ViewOf(const CgroupState& domain) const {
  DomainView view{.usage_percent = domain.PressingPercent(),
                  .charged_percent = domain.ChargedPercent(),
                  .time_to_limit = TimeToLimit(domain)};
  if (const auto stall = domain.stall.view()) view.stall_percent = stall->full_percent;
  return view;
}

// A level rises only by a stat that was read together with the usage: page cache that has come since the last
// one would be taken for need. Asks for it once; the reading counts even if it brings none.
bool Engine::NeedsStat(CgroupState& domain, const DomainView& view) {
  const bool known = !domain.stat || domain.stat_at == domain.last->taken_at;
  if (known || domain.stat_wanted || !domain.detector.WouldRaise(*domain.rule, view)) {
    domain.stat_wanted = false;
    return false;
  }
  domain.stat_wanted = true;
  decisions_.read_now.push_back(domain.id);
  return true;
}

bool Engine::WasJustRead(const CgroupState& cgroup) const {
  return now_ - cgroup.last->taken_at < kArmableReading;
}

void Engine::SetWireOf(CgroupState& domain) {
  if (domain.has_brake) return SetBrakeOf(domain);
  // v1: an alarm only; it slows nobody. The node has no file to arm.
  const Rule& rule = *domain.rule;
  std::optional<Bytes> at;
  if (rule.mode == Mode::kEnforce && rule.wake.usage_percent && domain.limit && domain.id != kNodeId) {
    at = AlarmFor(domain, BytesOf(static_cast<double>(*domain.limit) * *rule.wake.usage_percent / 100));
  }
  if (at == domain.wire || (at && !WasJustRead(domain))) return;
  // Above the wire the polling of a domain in need takes over; it is armed when usage has fallen well below,
  // because arming is dear and usage often swings around the wire.
  const Bytes armable = at.value_or(0) - (domain.wire ? 0 : domain.limit.value_or(0) / kArmBelowWire);
  if (at && domain.last->usage >= armable) {
    if (!domain.wire) return;
    at.reset();
  }
  domain.wire = at;
  decisions_.wires.push_back({.cgroup = domain.id, .at = at});
}

void Engine::SetBrakeOf(CgroupState& domain) {
  const Rule& rule = *domain.rule;
  const bool may_brake = rule.mode == Mode::kEnforce && rule.brake.enabled && domain.limit.value_or(0) > 0;
  const auto stall = domain.stall.view();
  const bool thrashes = stall && stall->full_percent >= rule.critical.stall_percent.value_or(100);
  BrakeView view{.allowed = may_brake && HelpIsPossible(domain),
                 .help_coming = domain.brake.braking() && HelpIsComing(domain),
                 .thrashes = thrashes,
                 .usage = domain.last->usage,
                 .pressing = domain.pressing,
                 .limit = domain.limit.value_or(0),
                 .time_to_limit = domain.limit ? TimeToLimit(domain) : std::nullopt,
                 .memory_high = domain.last->memory_high,
                 .sampled_at = domain.last->taken_at,
                 .just_read = WasJustRead(domain),
                 .lost = std::nullopt};
  if (const auto lost = lost_.find(domain.id); lost != lost_.end()) view.lost = lost->second;
  const auto change = domain.brake.Observe(now_, rule, view);
  if (!change) return;
  if (domain.brake.braking()) {
    braking_.insert(domain.id);
  } else if (braking_.erase(domain.id) > 0) {
    domain.in_need_since = now_;  // what was held back grows on at full speed: look as often as at first
  }
  if (change->write) {
    decisions_.wires.push_back({.cgroup = domain.id, .at = change->high, .brake = true});
  }
  Note note = NoteOn(domain, change->kind);
  note.bytes = change->high.value_or(0);
  note.reason = {.rule = rule.name,
                 .signal = Signal::kUsage,
                 .observed = domain.PressingPercent(),
                 .threshold = Brake::PercentFor(rule)};
  note.text = change->why;
  decisions_.notes.push_back(std::move(note));
}

void Engine::SetCadenceOf(CgroupState& cgroup) {
  CadenceInput input{.in_need = cgroup.detector.level() != Level::kCalm || cgroup.brake.braking()};
  if (input.in_need) input.in_need_for = now_ - cgroup.in_need_since;
  if (cgroup.requests > 0) {
    input.in_need = true;
    input.in_need_for = {};
  }
  input.alarmed = !cgroup.limit || cgroup.wire || cgroup.brake.holds();
  if (cgroup.limit) {
    const double wire_percent = cgroup.rule->wake.usage_percent.value_or(100);
    const Bytes wire = BytesOf(static_cast<double>(*cgroup.limit) * wire_percent / 100);
    input.to_wire = std::max<Bytes>(wire - cgroup.pressing, 0);
    input.full_of_cache = cgroup.last->usage >= wire;
    input.limit = *cgroup.limit;
    input.bytes_per_second = cgroup.forecast.BytesPerSecond();
  }
  const Cadence cadence = CadenceFor(input);
  if (cadence == cgroup.cadence) return;
  cgroup.cadence = cadence;
  decisions_.cadences.push_back({.cgroup = cgroup.id,
                                 .usage_every = cadence.usage_every,
                                 .stat_every = cadence.stat_every,
                                 .may_rest = cadence.may_rest});
}

void Engine::WakeAt(std::optional<Instant> when) {
  auto& next = decisions_.next_tick;
  if (when && (!next || *when < *next)) next = when;
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
