// Who is attached, what was asked of whom, what really came back. The ledger closes a request by the drop
// seen in the client's cgroup, never by the client's word, and learns from it what an estimate of this client
// is worth.

#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/node_hash_map.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/price.h"
#include "governor/core/soft_limit.h"
#include "governor/core/units.h"

namespace memgov::core {

// For how long a client is left alone after a request.
struct Cooldowns {
  Duration usual{};
  Duration in_haste{};  // when time is short
  Duration least{};     // when the domain would be full before that
};

// What experience with a client taught, and until when it is left alone.
struct Learned {
  // Bytes that left the cgroup / bytes estimated, 0.05 to 1, for each ActionKind that gives.
  std::array<double, std::variant_size_v<Action>> yields{1, 1, 1, 1, 1};
  int fruitless = 0;  // consecutive askings that brought nothing
  Instant ask_again_at;
  Instant ask_again_in_haste_at;  // when time is short
  Instant ask_again_at_earliest;  // when the domain would be full before that
  Duration took{};                // the last answer; 0: there was none
  Instant closed_at;              // the last request for memory; one that was declined is none
  // Until then what the last collection cost is more than its share of CPU.
  Instant collect_again_at;

  double yield(ActionKind kind) const { return yields[static_cast<std::size_t>(kind)]; }
  double& yield(ActionKind kind) { return yields[static_cast<std::size_t>(kind)]; }
  // Twice as long for each request in a row that brought nothing.
  void CoolDown(Instant now, const Cooldowns& cooldowns, bool brought_something);
};

// What observe mode would have done, kept apart so that it never holds up what is really done.
struct Pretended {
  Bytes expected = 0;
  Instant ask_again_at;
  Instant eager_until;
  Instant lazy_until;
  SoftLimit soft_limit;
};

struct InFlight {
  Directive directive;
  CgroupId cgroup{};  // the client's
  Instant sent_at;
  Bytes usage_before =
      0;                  // of that cgroup: the highest reading since the request, the one before it included
  Bytes estimated = 0;    // the part of the client's own estimate that this request is about; 0: it had none
  Bytes expected = 0;     // what we count on
  Duration patience{};    // ... for this long after sending
  bool outdated = false;  // nothing is, because its last word was: nothing
  bool gives = false;     // asks for memory, as opposed to a setting
  Duration cooldown{};    // of the rule that asked
  double gc_cpu_percent = 100;  // likewise
  std::optional<ClientOutcome> outcome;

  // Whether the expected bytes may still come. A client that is silent past our patience is not counted on,
  // so that others are asked in its place; it may still answer until its deadline.
  bool CountsAt(Instant now) const { return outcome || now < sent_at + patience; }
  // When this request is closed even if nothing more is heard.
  Instant ClosesAt() const;
};

struct ClientState {
  ClientAttached info;
  std::optional<ClientReport> report;
  Learned learned;
  Price price;
  std::optional<DirectiveId> giving;  // the request for memory in flight, at most one
  Instant eager_until;                // the TTL of the last SetReleaseMode(eager)
  Instant lazy_until;                 // ... (lazy), unless it was made eager since
  Pretended pretended;
  SoftLimit soft_limit;
  std::map<CgroupId, Bytes> shares;  // of the limits above, as a soft limit
  bool keeps_own_limit = false;      // it declined one: its user has set another
  Instant lazy_again_at;             // it did not take up the lazy mode, and is left alone until then
  // A Collect that worked: a lowered soft limit follows it, to keep the heap from regrowing.
  std::optional<InFlight> soft_limit_after;
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
  // Numbers that no process can mean are cut to what one can hold.
  void Apply(Instant now, const ClientEvent& event);

  void Add(InFlight request);

  // The kernel has killed in this cgroup: who attaches next from there is a new program and inherits nothing.
  void Killed(Instant now, CgroupId cgroup);

  // Closes what has an outcome and a cgroup reading taken after it, what is overdue, and what belonged to a
  // client that left. `reading_of` gives the engine's last sample of a cgroup; absent: the cgroup is gone.
  struct Reading {
    Bytes usage = 0;
    Instant taken_at;
  };
  template <typename ReadingOf>
  std::vector<Closed> Close(Instant now, ReadingOf reading_of) {
    std::vector<Closed> closed;
    for (auto it = in_flight_.begin(); it != in_flight_.end();) {
      if (auto done = TryClose(now, it->second, reading_of(it->second.cgroup))) {
        closed.push_back(std::move(*done));
        it = in_flight_.erase(it);
      } else {
        ++it;
      }
    }
    return closed;
  }

  // When the next request closes, or is no longer counted on.
  std::optional<Instant> NextDeadline(Instant now) const;

  // Null: not attached.
  ClientState* Find(ClientId client) {
    const auto it = clients_.find(client);
    return it == clients_.end() ? nullptr : &it->second;
  }
  // Of one that is attached.
  ClientState& At(ClientId client) { return clients_.at(client); }
  const ClientState& At(ClientId client) const { return clients_.at(client); }
  std::size_t size() const { return clients_.size(); }
  const std::map<DirectiveId, InFlight>& in_flight() const { return in_flight_; }
  // Collections that run, as far as is known.
  int collecting(Instant now) const;

 private:
  void Attach(Instant now, const ClientAttached& attached);
  void Detach(Instant now, ClientId client);
  void ForgetKills(Instant now);
  std::optional<Closed> TryClose(Instant now, InFlight& request, std::optional<Reading> reading);
  Closed Settle(Instant now, const InFlight& request, std::optional<Reading> reading);
  void CreditOnce(const InFlight& request, Bytes returned, Bytes usage);

  // For look-ups only: its order differs from run to run.
  absl::node_hash_map<ClientId, ClientState> clients_;
  std::map<DirectiveId, InFlight> in_flight_;
  // Clients that left while they were to be left alone. Whoever attaches next from that cgroup inherits, so
  // that a reconnect forgets neither a cooldown nor a failure.
  std::map<CgroupId, Learned> departed_;
  std::map<CgroupId, Instant> killed_;  // of late; before or after the client's connection broke
};

}  // namespace memgov::core
