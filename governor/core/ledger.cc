#include "governor/core/ledger.h"

#include <algorithm>

namespace memgov::core {
namespace {

constexpr double kYieldLearning = 0.3;  // weight of the newest observation
constexpr double kLeastYield = 0.05;    // so that a client that once gave nothing can prove itself again
constexpr int kMostDoublings = 6;
// Below this nothing came back: the kernel's per-CPU charge caches alone move usage by some 100 KiB.
constexpr Bytes kNothing = kMiB;

}  // namespace

void Ledger::Apply(const ClientEvent& event) {
  if (const auto* attached = std::get_if<ClientAttached>(&event)) {
    clients_[attached->client].info = *attached;
  } else if (const auto* report = std::get_if<ClientReport>(&event)) {
    if (const auto it = clients_.find(report->client); it != clients_.end()) it->second.report = *report;
  } else if (const auto* outcome = std::get_if<ClientOutcome>(&event)) {
    const auto it = in_flight_.find(outcome->directive);
    // Late, repeated or foreign outcomes name nothing that is in flight for this client.
    if (it != in_flight_.end() && it->second.directive.client == outcome->client && !it->second.outcome) {
      it->second.outcome = *outcome;
    }
  } else if (const auto* detached = std::get_if<ClientDetached>(&event)) {
    clients_.erase(detached->client);
  }
}

void Ledger::Add(InFlight request) {
  const DirectiveId id = request.directive.id;
  if (request.gives) clients_[request.directive.client].giving = id;
  in_flight_.emplace(id, std::move(request));
}

std::optional<Closed> Ledger::TryClose(Instant now, const InFlight& request, std::optional<Reading> reading) {
  if (!clients_.contains(request.directive.client)) {
    return Closed{.kind = NoteKind::kExpired, .request = request, .why = "the client left"};
  }
  if (request.outcome) {
    const bool fresh = reading && reading->taken_at >= request.outcome->received_at;
    if (fresh || !reading || !request.gives) return Settle(now, request, reading);
  }
  if (now >= request.sent_at + request.directive.deadline) {
    Closed closed = Settle(now, request, reading);
    if (!request.outcome) {
      closed.kind = NoteKind::kExpired;
      closed.why = "no outcome by the deadline";
    }
    return closed;
  }
  return std::nullopt;
}

Closed Ledger::Settle(Instant now, const InFlight& request, std::optional<Reading> reading) {
  Closed closed{.kind = NoteKind::kReturned, .request = request};
  const Bytes seen = reading ? std::max<Bytes>(request.usage_at_send - reading->usage, 0) : 0;
  if (request.outcome) {
    // Others in the same cgroup give back too: a client is credited with no more than it claims.
    const Bytes claimed = std::max<Bytes>(request.outcome->before - request.outcome->after, 0);
    closed.returned = std::min(seen, claimed);
    if (request.outcome->status != OutcomeStatus::kDone) closed.kind = NoteKind::kDeclined;
    closed.why = request.outcome->why;
  }
  if (!request.gives) return closed;

  ClientState& client = clients_.at(request.directive.client);
  client.giving.reset();
  if (request.estimated > 0) {
    const double worth =
        std::min(1.0, static_cast<double>(closed.returned) / static_cast<double>(request.estimated));
    client.yield = std::clamp(client.yield + kYieldLearning * (worth - client.yield), kLeastYield, 1.0);
  }
  client.fruitless = closed.returned < kNothing ? std::min(client.fruitless + 1, kMostDoublings) : 0;
  client.ask_again_at = now + request.cooldown * (1 << client.fruitless);
  if (closed.returned >= kNothing && std::holds_alternative<Collect>(request.directive.action)) {
    client.soft_limit_due = request.directive.domain;
  }
  return closed;
}

std::optional<Instant> Ledger::NextDeadline() const {
  std::optional<Instant> next;
  for (const auto& [id, request] : in_flight_) {
    const Instant deadline = request.sent_at + request.directive.deadline;
    if (!next || deadline < *next) next = deadline;
  }
  return next;
}

}  // namespace memgov::core
