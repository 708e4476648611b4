#include "governor/core/ledger.h"

#include <algorithm>

namespace memgov::core {
namespace {

constexpr double kYieldLearning = 0.3;  // weight of the newest observation
constexpr double kLeastYield = 0.05;    // so that a client that once gave nothing can prove itself again
constexpr int kMostDoublings = 6;
// One that has no lazy mode never will; one that was busy may be told again.
constexpr auto kNotLazyFor = std::chrono::minutes(10);
// Below this nothing came back: the kernel's per-CPU charge caches alone move usage by some 100 KiB.
constexpr Bytes kNothing = kMiB / 2;
// Of what was asked: a cache that gives less is as good as empty.
constexpr Bytes kNextToNothingDivisor = 50;
// A request may take this part of a client's time: one that was over quickly may soon be repeated, a long
// collection may not (M3 caps a client's duty cycle at 10 % for Go; half of that leaves room for refills).
constexpr int kDutyDivisor = 20;
constexpr int kShortestPart = 10;  // of the policy's cooldown
// When time is short (engine_haste.cc) a client may work a fifth of its time.
constexpr int kHasteDivisor = 4;
constexpr int kShortestPartInHaste = 50;
// One that left, as a restart does, may answer once it is back.
constexpr int kLeftDivisor = 5;
// What attaches later than that after a kill in its cgroup has not been started in the victim's place.
constexpr auto kRestartsWithin = std::chrono::minutes(5);
// An outcome waits so long for a reading of its cgroup: the slowest cadence.
constexpr auto kReadingOverdue = std::chrono::seconds(1);
// By its deadline a directive has to begin: a slow client ends later, and what it gives then counts too.
constexpr int kLateBy = 2;
// The address space of a process on x86-64 and arm64: 47 bits.
constexpr Bytes kMostOfOneProcess = Bytes{1} << 47;

// Measured by our clock, so that a client cannot shorten it by its word alone.
Cooldowns CooldownsAfter(const InFlight& request) {
  const Duration least = request.cooldown / kShortestPartInHaste;
  if (!request.outcome) return {.usual = request.cooldown, .in_haste = request.cooldown, .least = least};
  const Duration took = request.outcome->received_at - request.sent_at;
  return {.usual = std::clamp(took * kDutyDivisor, request.cooldown / kShortestPart, request.cooldown),
          .in_haste = std::clamp(took * kHasteDivisor, least, request.cooldown),
          .least = least};
}

// How long the CPU time of a collection lasts at its share. The client names that time, so that it counts at
// most as if four threads had worked for as long as we waited.
Duration PaidOffAfter(const InFlight& request) {
  constexpr int kCollectorThreads = 4;
  const Duration took = request.outcome->received_at - request.sent_at;
  const Duration cpu = std::clamp(request.outcome->cpu, took, took * kCollectorThreads);
  return std::chrono::duration_cast<Duration>(cpu * (100 / request.gc_cpu_percent));
}

Bytes Possible(Bytes bytes) { return std::clamp<Bytes>(bytes, 0, kMostOfOneProcess); }

ClientReport Possible(ClientReport report) {
  for (Bytes* bytes : {&report.live, &report.retained, &report.lazily_freed, &report.non_heap}) {
    *bytes = Possible(*bytes);
  }
  return report;
}

}  // namespace

void Learned::CoolDown(Instant now, const Cooldowns& cooldowns, bool brought_something) {
  fruitless = brought_something ? 0 : std::min(fruitless + 1, kMostDoublings);
  const int times = 1 << fruitless;
  ask_again_at = now + cooldowns.usual * times;
  ask_again_in_haste_at = now + cooldowns.in_haste * times;
  ask_again_at_earliest = now + cooldowns.least * times;
}

Instant InFlight::ClosesAt() const {
  return outcome ? outcome->received_at + kReadingOverdue : sent_at + directive.deadline * kLateBy;
}

void Ledger::Apply(Instant now, const ClientEvent& event) {
  if (const auto* attached = std::get_if<ClientAttached>(&event)) {
    Attach(now, *attached);
  } else if (const auto* report = std::get_if<ClientReport>(&event)) {
    if (const auto it = clients_.find(report->client); it != clients_.end()) {
      it->second.report = Possible(*report);
      it->second.price.Report(now, it->second.report->live, it->second.report->retained);
    }
  } else if (const auto* outcome = std::get_if<ClientOutcome>(&event)) {
    const auto it = in_flight_.find(outcome->directive);
    // Late, repeated or foreign outcomes name nothing that is in flight for this client.
    if (it != in_flight_.end() && it->second.directive.client == outcome->client && !it->second.outcome) {
      it->second.outcome = *outcome;
    }
  } else if (const auto* detached = std::get_if<ClientDetached>(&event)) {
    Detach(now, detached->client);
  }
}

void Ledger::Attach(Instant now, const ClientAttached& attached) {
  const auto [it, is_new] = clients_.try_emplace(attached.client);
  it->second.info = attached;
  if (!is_new) return;
  std::erase_if(departed_, [now](const auto& entry) { return entry.second.ask_again_at <= now; });
  ForgetKills(now);
  if (killed_.erase(attached.cgroup) > 0) departed_.erase(attached.cgroup);
  if (const auto left = departed_.find(attached.cgroup); left != departed_.end()) {
    it->second.learned = left->second;
  }
}

void Ledger::Killed(Instant now, CgroupId cgroup) {
  ForgetKills(now);
  killed_[cgroup] = now;
}

void Ledger::ForgetKills(Instant now) {
  std::erase_if(killed_, [now](const auto& entry) { return now - entry.second > kRestartsWithin; });
}

void Ledger::Detach(Instant now, ClientId client) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return;
  Learned& learned = it->second.learned;
  if (it->second.giving) {
    const InFlight& request = in_flight_.at(*it->second.giving);
    Cooldowns cooldowns = CooldownsAfter(request);
    cooldowns.in_haste = request.cooldown / kLeftDivisor;
    if (!request.outcome) {
      learned.CoolDown(now, cooldowns, false);
      // It has not shown that it holds nothing.
      learned.ask_again_at_earliest = now + cooldowns.least;
    }
  }
  if (learned.ask_again_at > now) {
    const auto [left, is_first] = departed_.try_emplace(it->second.info.cgroup, learned);
    if (!is_first && left->second.ask_again_at < learned.ask_again_at) left->second = learned;
  }
  clients_.erase(it);
}

void Ledger::Add(InFlight request) {
  const DirectiveId id = request.directive.id;
  if (request.gives) clients_.at(request.directive.client).giving = id;
  in_flight_.emplace(id, std::move(request));
}

std::optional<Closed> Ledger::TryClose(Instant now, InFlight& request, std::optional<Reading> reading) {
  if (!clients_.contains(request.directive.client)) {
    return Closed{.kind = NoteKind::kExpired, .request = request, .why = "the client left"};
  }
  const bool after_outcome = request.outcome && reading && reading->taken_at >= request.outcome->received_at;
  // What grew while the client was at work would hide what it gave.
  if (reading && !after_outcome) request.usage_before = std::max(request.usage_before, reading->usage);

  const bool decided = request.outcome && (after_outcome || !reading || !request.gives);
  if (!decided && now < request.ClosesAt()) return std::nullopt;
  return Settle(now, request, reading);
}

Closed Ledger::Settle(Instant now, const InFlight& request, std::optional<Reading> reading) {
  Closed closed{.kind = NoteKind::kReturned, .request = request};
  if (request.outcome) {
    // Others in the same cgroup give back too: a client is credited with no more than it claims.
    const Bytes seen = reading ? std::max<Bytes>(request.usage_before - reading->usage, 0) : 0;
    const Bytes claimed = Possible(request.outcome->before) - Possible(request.outcome->after);
    closed.returned = std::clamp<Bytes>(claimed, 0, seen);
    if (request.outcome->status != OutcomeStatus::kDone) closed.kind = NoteKind::kDeclined;
    closed.why = request.outcome->why;
  } else {
    closed.kind = NoteKind::kExpired;
    closed.why = "no outcome, long after the deadline";
  }
  ClientState& client = clients_.at(request.directive.client);
  if (!request.gives) {
    if (closed.kind == NoteKind::kDeclined) {
      const auto* mode = std::get_if<SetReleaseMode>(&request.directive.action);
      client.keeps_own_limit |= std::holds_alternative<SetSoftLimit>(request.directive.action);
      if (mode != nullptr && mode->mode == ReleaseMode::kLazy) client.lazy_again_at = now + kNotLazyFor;
    }
    return closed;
  }
  if (closed.returned > 0) CreditOnce(request, closed.returned, reading->usage);

  client.giving.reset();
  // A refusal says nothing about what it holds, nor about the estimate.
  const bool refused = request.outcome && request.outcome->status == OutcomeStatus::kDeclined;
  if (!refused) {
    client.learned.closed_at = now;
    client.learned.took = request.outcome ? request.outcome->received_at - request.sent_at : Duration{};
  }
  client.learned.CoolDown(
      now, CooldownsAfter(request),
      closed.returned >= std::max(kNothing, BytesOf(request.directive.action) / kNextToNothingDivisor));
  if (closed.returned >= kNothing) {
    client.price.Paid(now, closed.returned, request.outcome->received_at - request.sent_at, reading->usage);
  }
  if (request.outcome && std::holds_alternative<Collect>(request.directive.action)) {
    client.learned.collect_again_at = now + PaidOffAfter(request);
  }
  if (request.estimated > 0 && !refused) {
    // One that stops at its target never shows more than was asked, so a target that is met counts as full.
    const double worth = closed.returned >= request.expected
                             ? 1.0
                             : static_cast<double>(closed.returned) / static_cast<double>(request.estimated);
    double& yield = client.learned.yield(KindOf(request.directive.action));
    yield = std::clamp(yield + kYieldLearning * (worth - yield), kLeastYield, 1.0);
  }
  if (closed.returned >= kNothing && std::holds_alternative<Collect>(request.directive.action)) {
    client.soft_limit_after = request;
  }
  return closed;
}

// The same drop does not count for a second client of the same cgroup.
void Ledger::CreditOnce(const InFlight& request, Bytes returned, Bytes usage) {
  for (auto& [id, other] : in_flight_) {
    if (&other == &request || other.cgroup != request.cgroup || !other.gives) continue;
    other.usage_before -= std::min(returned, std::max<Bytes>(other.usage_before - usage, 0));
  }
}

int Ledger::collecting(Instant now) const {
  return static_cast<int>(std::count_if(in_flight_.begin(), in_flight_.end(), [now](const auto& entry) {
    const InFlight& request = entry.second;
    return std::holds_alternative<Collect>(request.directive.action) && !request.outcome &&
           request.CountsAt(now);
  }));
}

std::optional<Instant> Ledger::NextDeadline(Instant now) const {
  std::optional<Instant> next;
  const auto at = [&next](Instant when) {
    if (!next || when < *next) next = when;
  };
  for (const auto& [id, request] : in_flight_) {
    at(request.ClosesAt());
    const Instant given_up_at = request.sent_at + request.patience;
    if (request.gives && !request.outcome && given_up_at > now) at(given_up_at);
  }
  return next;
}

}  // namespace memgov::core
