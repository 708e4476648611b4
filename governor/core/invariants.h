// What must hold in every tick, whatever the node and the clients do: the house rules as far as they show in
// an engine's arguments and decisions. The random test, the simulator and a replay all hold the engine to
// them.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"

namespace memgov::core {

class Invariants {
 public:
  // Takes one tick's arguments, the policy in force and what the engine made of them. Call for every tick of
  // an engine, in order. Returns what was broken, one line each; empty when all is well.
  std::vector<std::string> Check(Instant now, const Policy& policy, const Snapshot& snapshot,
                                 std::span<const ClientEvent> events, const Decisions& decisions);

 private:
  struct Cgroup {
    CgroupId parent{};
    std::string path;
    WorkloadNames names;
    std::optional<CgroupSample> last;
    std::set<Bytes> our_highs;  // what we have written to memory.high
    Instant high_written_at;
    std::optional<Instant> braking_since;
    Duration longest_brake{};
  };
  struct Client {
    CgroupId cgroup{};
    std::optional<ClientReport> report;
    std::optional<DirectiveId> giving;
    Instant free_at;
    Instant free_in_haste_at;
  };

  void TakeIn(const Snapshot& snapshot);
  void TakeIn(const ClientEvent& event);
  void CheckNote(const Note& note, const Decisions& decisions);
  void CheckDirective(const Directive& directive);
  void CheckGiving(const Directive& directive, Client& client);
  void CheckWire(const SetWire& wire);
  void CheckFreeze(const SetFreeze& freeze);
  void CheckTimes(const Decisions& decisions);
  const Rule& RuleOf(CgroupId id) const;
  bool Enforces(CgroupId id) const { return RuleOf(id).mode == Mode::kEnforce; }
  bool IsBelow(CgroupId id, CgroupId above) const;
  // Says so when `holds` is false.
  void Expect(bool holds, const char* rule, const std::string& what);

  std::map<CgroupId, Cgroup> cgroups_{{kNodeId, {.path = "/"}}};
  std::map<ClientId, Client> clients_;
  std::map<CgroupId, Instant> frozen_since_;
  DirectiveId last_directive_{0};

  // Of the tick that is checked.
  Instant now_;
  const Policy* policy_ = nullptr;
  std::vector<std::string> broken_;
};

}  // namespace memgov::core
