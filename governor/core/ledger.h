// Who is attached, what was asked of whom, what really came back. The ledger closes a request by the drop
// seen in the client's cgroup, never by the client's word, and learns from it what an estimate of this client
// is worth.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/units.h"

namespace memgov::core {

struct ClientState {
  ClientAttached info;
  std::optional<ClientReport> report;
  double yield = 1;   // bytes that left the cgroup / bytes estimated, learned; 0.05 to 1
  int fruitless = 0;  // consecutive askings that brought nothing
  Instant ask_again_at;
  std::optional<DirectiveId> giving;       // the request for memory in flight, at most one
  Instant eager_until;                     // the TTL of the last SetReleaseMode(eager)
  std::optional<CgroupId> soft_limit_due;  // a Collect for this domain worked: keep the heap from regrowing
};

struct InFlight {
  Directive directive;
  Instant sent_at;
  Bytes usage_at_send = 0;  // of the client's cgroup
  Bytes estimated = 0;      // the part of the client's own estimate that this request is about
  Bytes expected = 0;       // what we count on
  bool gives = false;       // asks for memory, as opposed to a setting
  Duration cooldown{};      // of the rule that asked
  std::optional<ClientOutcome> outcome;
};

// A request that came to its end.
struct Closed {
  NoteKind kind = NoteKind::kReturned;  // or kDeclined, kExpired
  InFlight request;
  Bytes returned = 0;
  std::string why;
};

class Ledger {
 public:
  void Apply(const ClientEvent& event);

  void Add(InFlight request);

  // Closes what has an outcome and a cgroup reading taken after it, what is overdue, and what belonged to a
  // client that left. `usage_of` reads the engine's last sample of a cgroup; absent: the cgroup is gone.
  struct Reading {
    Bytes usage = 0;
    Instant taken_at;
  };
  template <typename UsageOf>
  std::vector<Closed> Close(Instant now, UsageOf usage_of) {
    std::vector<Closed> closed;
    for (auto it = in_flight_.begin(); it != in_flight_.end();) {
      const auto client = clients_.find(it->second.directive.client);
      std::optional<Reading> reading;
      if (client != clients_.end()) reading = usage_of(client->second.info.cgroup);
      if (auto done = TryClose(now, it->second, reading)) {
        closed.push_back(std::move(*done));
        it = in_flight_.erase(it);
      } else {
        ++it;
      }
    }
    return closed;
  }

  // Expected bytes of all requests in flight that serve `domain` or that `counts(client's cgroup)` accepts.
  template <typename Counts>
  Bytes ExpectedBytes(Counts counts) const {
    Bytes sum = 0;
    for (const auto& [id, request] : in_flight_) {
      const auto client = clients_.find(request.directive.client);
      if (client != clients_.end() && counts(client->second.info.cgroup)) sum += request.expected;
    }
    return sum;
  }

  std::optional<Instant> NextDeadline() const;

  std::map<ClientId, ClientState>& clients() { return clients_; }
  const std::map<ClientId, ClientState>& clients() const { return clients_; }
  const std::map<DirectiveId, InFlight>& in_flight() const { return in_flight_; }

 private:
  std::optional<Closed> TryClose(Instant now, const InFlight& request, std::optional<Reading> reading);
  Closed Settle(Instant now, const InFlight& request, std::optional<Reading> reading);

  std::map<ClientId, ClientState> clients_;
  std::map<DirectiveId, InFlight> in_flight_;
};

}  // namespace memgov::core
